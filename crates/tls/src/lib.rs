//! Certificates that can be replaced while running, and a sans-IO TLS session over rustls.
#![forbid(unsafe_code)]
