//! Supervised TCP: every listener and connection is a meta-process with an owner, a mailbox and a reason when it ends.
#![forbid(unsafe_code)]
