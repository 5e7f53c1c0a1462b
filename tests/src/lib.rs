//! What the tests share: nodes with a scripted owner, the examples as child processes, clients,
//! and looks at a process from outside.
#![expect(
    clippy::missing_panics_doc,
    reason = "a helper that finds something wrong fails its test, and so does one without a result"
)]

mod echo;
mod example;
mod net;
mod probe;
mod process;
mod random;
mod served;
mod system;
mod tls;
mod tool;
mod trace;
mod until;

pub use echo::EchoServer;
pub use example::{end_by, example};
pub use net::{connect, connect_small, free_port, read_to_end, receive, reset};
pub use probe::{Ask, Do, Ear, Notice, Probe, Said, Watch};
pub use process::Process;
pub use random::Random;
pub use served::Served;
pub use system::{Crowded, Hooks, SystemWith};
pub use tls::{Authority, Issued, TlsPeer};
pub use tool::{mirrored, number, run_tool, start_tool};
pub use trace::Trace;
pub use until::{DEADLINE, until};
