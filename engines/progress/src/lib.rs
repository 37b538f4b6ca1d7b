//! What a run says while it works, and how it is told to stop.
