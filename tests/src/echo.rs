//! The echo example as a process of its own, as its users run it.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use crate::process::Process;
use crate::until::until;

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
        let program = program();
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
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.expect("kill(1) is there").success());
        let status = until("the end after SIGTERM", || self.ended());
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

/// The example's binary, built once if it is not what the source says.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = env::current_exe().expect("a test is a file");
        // target/<profile>/deps/<test>
        let profile = test.parent().and_then(Path::parent).expect("cargo's tree");
        let target = profile.parent().expect("cargo's tree");
        let name = profile.file_name().expect("cargo's tree");
        // The whole workspace, as `cargo test` has it: then the features are the same, and
        // everything but the example itself is there already.
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--example", "echo"])
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .args(match name.to_str() {
                Some("release") => &["--release"][..],
                _ => &[],
            })
            .status();
        assert!(status.expect("cargo is there").success());
        profile.join("examples/echo")
    })
}
