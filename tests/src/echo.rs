//! The echo example as a process of its own, as its users run it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use crate::example::{end_by, example};
use crate::process::Process;

/// A running echo server, ended with the value.
#[derive(Debug)]
pub struct EchoServer {
    child: Child,
    addr: SocketAddr,
    /// Kept open: a program that says more must not fail for it.
    _stdout: BufReader<ChildStdout>,
}

impl EchoServer {
    /// Starts it with these options on a port that the system chooses.
    pub fn start(options: &[&str]) -> Self {
        Self::start_under(&[], options)
    }

    /// Starts it under another program, such as `prlimit`, which must become it (`exec`).
    pub fn start_under(wrapper: &[&str], options: &[&str]) -> Self {
        let program = example("echo");
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--quiet"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let addr = line.trim().strip_prefix("listening on ");
        let addr = addr.unwrap_or_else(|| panic!("{options:?} says {line:?}"));
        Self {
            addr: addr.parse().expect("an address"),
            child,
            _stdout: stdout,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The process.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Asks it to end, as service managers do, and expects it to end well.
    pub fn stop(mut self) {
        let status = end_by("-TERM", &mut self.child);
        assert!(status.success(), "{status}");
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        // After `stop` it has ended already; after a failure it must not outlive the test.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
