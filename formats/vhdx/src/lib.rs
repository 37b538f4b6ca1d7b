//! VHDX files: parse, resolve offsets, write; no input or output of its own.
