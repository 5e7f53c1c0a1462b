//! What the examples share: their arguments, logging, and a clean end on a signal.

use std::ffi::OsString;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;

use lexopt::ValueExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use socktree::{Actor, Node, NodeBuilder, NodeError};

/// Reads the value of an option, and says which option it was if it cannot.
///
/// # Errors
///
/// If there is no value, or it is no `T`.
pub fn value<T>(parser: &mut lexopt::Parser, option: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let value: OsString = parser
        .value()
        .map_err(|_| format!("--{option} needs a value"))?;
    value
        .parse_with(T::from_str)
        .map_err(|error| format!("--{option}: {error}"))
}

/// Starts the log, on standard error. `RUST_LOG` overrides the level.
pub fn start_log(level: &str) {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
}

/// Runs one process on a node until it ends or a signal comes.
///
/// # Errors
///
/// If the node or the process cannot start, ends badly, or does not stop in time.
pub fn run<A: Actor>(node: NodeBuilder, first: A) -> Result<(), String> {
    let node = node.start().map_err(|error| error.to_string())?;
    stop_on_signal(&node).map_err(|error| error.to_string())?;
    let outcome = node
        .spawn_monitored(first)
        .map(|(_, ended)| ended.wait().reason);
    let stopped = node.stop();
    let reason = outcome.map_err(|error| error.to_string())?;
    if !reason.is_clean() {
        return Err(reason.to_string());
    }
    match stopped {
        Ok(report) if report.is_clean() => Ok(()),
        Ok(report) => Err(report.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The first SIGTERM or SIGINT stops the node in good order, the second ends the program.
fn stop_on_signal(node: &Node) -> Result<(), NodeError> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(NodeError::Io)?;
    let node = node.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for (n, _signal) in signals.forever().enumerate() {
                if n > 0 {
                    std::process::exit(1);
                }
                node.shutdown();
            }
        })?;
    Ok(())
}

/// One clear line on standard error for a failure, and the exit code that goes with it.
#[expect(
    clippy::print_stderr,
    reason = "a program's last word, where users look for it"
)]
pub fn exit(name: &str, outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
