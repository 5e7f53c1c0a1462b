//! What TLS servers and clients have to stand: certificates that are replaced under load, clients
//! that stall, garbage, odd names, and connections that are cut anywhere (E01 to E03, E09, E14 and E15
//! of the fault list).
//!
//! Here each is short. `tests/tools/tls/campaigns.sh` makes them as long as docs/tls-interop.md
//! says. One after the other, because they look at the descriptors and the memory of this process.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "tls_campaigns/cuts.rs"]
mod cuts;
#[path = "tls_campaigns/garbage.rs"]
mod garbage;
#[path = "tls_campaigns/lab.rs"]
mod lab;
#[path = "tls_campaigns/names.rs"]
mod names;
#[path = "tls_campaigns/rotation.rs"]
mod rotation;
#[path = "tls_campaigns/stalls.rs"]
mod stalls;
#[path = "tls_campaigns/watching.rs"]
mod watching;
