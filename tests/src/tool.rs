//! Programs as clients, such as those in `tests/tools`, which share no code with us.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread;

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

/// Gives a program its standard input, which then ends, and expects the same as its output.
pub fn mirrored(mut program: Command, input: &[u8]) {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads everything"));
        child.wait_with_output().expect("it is our child")
    });
    assert!(output.status.success(), "{program:?}: {}", output.status);
    assert_eq!(output.stdout.len(), input.len(), "{program:?}");
    assert!(
        output.stdout == input,
        "{program:?}: other bytes than were sent"
    );
}

/// A figure of a report.
pub fn number(report: &str, key: &str) -> u64 {
    let (_, rest) = report
        .split_once(&format!("\"{key}\": "))
        .unwrap_or_else(|| panic!("no {key} in {report}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}
