//! Kopia's repository format: bytes and meaning, no input or output.
