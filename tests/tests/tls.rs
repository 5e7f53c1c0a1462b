//! TLS on servers and connections: what the owner hears and when, what becomes of handshakes that
//! fail, and that ends, pauses and limits mean what they mean without it.

#[path = "tls/accepting.rs"]
mod accepting;
#[path = "tls/closing.rs"]
mod closing;
#[path = "tls/connecting.rs"]
mod connecting;
#[path = "tls/flow.rs"]
mod flow;
#[path = "tls/regressions.rs"]
mod regressions;
#[path = "tls/simulation.rs"]
mod simulation;
