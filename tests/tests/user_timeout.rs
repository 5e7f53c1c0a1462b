//! An option that nothing shows but the system call that sets it. In a program of its own, because
//! tracing slows down everything in it.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use socktree::TcpConnection;
use socktree_tests::{Ask, Probe, Served, until};

/// How long the system waits for an acknowledgement, on what is accepted and on what is made.
#[test]
fn user_timeout_on_both_kinds_of_connections() {
    let at_most = Duration::from_millis(12_345);
    let served = Served::start(Served::any().user_timeout(at_most), Probe::new());
    let addr = served.addr();
    let log = std::env::temp_dir().join(format!("socktree-timeout-{}", std::process::id()));
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=setsockopt", "-o"])
        .arg(&log)
        .args(["-p", &std::process::id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is there");
    // It says so when it is attached; before, it would miss calls.
    let mut said = [0; 16];
    let mut stderr = strace.stderr.take().expect("it is piped");
    stderr.read_exact(&mut said).expect("strace attaches");

    let made = served.parent.ask(move |ctx| {
        let to = TcpConnection::connect(addr).user_timeout(at_most);
        ctx.spawn_meta(to).expect("it listens")
    });
    let ends = [served.watch.connect(), served.watch.connect()];
    assert!(ends.contains(&made));
    until("both in the trace", || {
        let calls = fs::read_to_string(&log).unwrap_or_default();
        let set = |line: &&str| line.contains("TCP_USER_TIMEOUT, [12345], 4) = 0");
        (calls.lines().filter(set).count() == 2).then_some(())
    });
    strace.kill().expect("it was ours");
    strace.wait().expect("a child");
    let _left_behind = fs::remove_file(&log);
    made.reset();
    served.watch.disconnect();
    served.watch.disconnect();
    served.finish();
}
