//! The system calls of this very process, for what nothing else shows. Tracing slows down everything
//! in the program, so such a test is alone in its file.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, fs, process};

use crate::example::end_by;

/// strace(1), attached to all threads.
#[derive(Debug)]
pub struct Trace {
    strace: Child,
    log: PathBuf,
}

impl Trace {
    /// Writes down this call from now on.
    pub fn start(call: &str) -> Self {
        let pid = process::id().to_string();
        let log = env::temp_dir().join(format!("socktree-{call}-{pid}"));
        let mut strace = Command::new("strace")
            .args(["-f", "-e", &format!("trace={call}"), "-o"])
            .arg(&log)
            .args(["-p", &pid])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is there");
        // It says so when it is attached; before, it would miss calls.
        let mut said = [0; 16];
        let stderr = strace.stderr.as_mut().expect("it is piped");
        stderr.read_exact(&mut said).expect("strace attaches");
        Self { strace, log }
    }

    /// Lets go, and gives out a line for each call.
    pub fn finish(mut self) -> String {
        end_by("-INT", &mut self.strace);
        fs::read_to_string(&self.log).expect("it has written")
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // After `finish` it has ended already; after a failure it must not outlive the test.
        let _ended = self.strace.kill();
        let _status = self.strace.wait();
        let _left_behind = fs::remove_file(&self.log);
    }
}
