//! Supervised actors: processes, mailboxes, links, monitors, timers and meta-processes.
#![forbid(unsafe_code)]
