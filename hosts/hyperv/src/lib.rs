//! Hyper-V hosts: the port, the simulated host and the contract suite.
