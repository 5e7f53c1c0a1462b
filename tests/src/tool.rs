//! The clients in `tests/tools`, which share no code with us.

use std::process::{Child, Command, Stdio};

use crate::until::DEADLINE;

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(format!("{}/tools/{name}", env!("CARGO_MANIFEST_DIR")))
        .args(["--deadline", &DEADLINE.as_secs().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a client to its end, which must be a good one, and gives its report.
pub fn run_tool(name: &str, arguments: &[&str]) -> String {
    let output = command(name, arguments).output().expect("python3 is there");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    report
}

/// Starts a client that goes on until its standard input ends.
pub fn start_tool(name: &str, arguments: &[&str]) -> Child {
    command(name, arguments).spawn().expect("python3 is there")
}

/// A figure of a report.
pub fn number(report: &str, key: &str) -> u64 {
    let (_, rest) = report
        .split_once(&format!("\"{key}\": "))
        .unwrap_or_else(|| panic!("no {key} in {report}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}
