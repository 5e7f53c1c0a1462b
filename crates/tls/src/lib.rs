//! The place of TLS in socktree. This version holds no code yet: connections are plain TCP.
//!
//! What belongs here: a certificate manager whose certificates can be replaced while running, and
//! a sans-IO session over rustls. What does not: sockets and actors.
#![forbid(unsafe_code)]
