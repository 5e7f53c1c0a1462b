//! TCP listeners and connections as meta-processes of actors.
#![forbid(unsafe_code)]
