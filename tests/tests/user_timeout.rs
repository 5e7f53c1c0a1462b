//! An option that nothing shows but the system call that sets it.

use std::time::Duration;

use socktree::TcpConnection;
use socktree_tests::{Ask, Probe, Served, Trace};

/// How long the system waits for an acknowledgement, on what is accepted and on what is made.
#[test]
fn user_timeout_on_both_kinds_of_connections() {
    let at_most = Duration::from_millis(12_345);
    let served = Served::start(Served::any().user_timeout(at_most), Probe::new());
    let addr = served.addr();
    let trace = Trace::start("setsockopt");
    let made = served.parent.ask(move |ctx| {
        let to = TcpConnection::connect(addr).user_timeout(at_most);
        ctx.spawn_meta(to).expect("it listens")
    });
    let ends = [served.watch.connect(), served.watch.connect()];
    assert!(ends.contains(&made));
    let calls = trace.finish();
    let set = |line: &&str| line.contains("TCP_USER_TIMEOUT, [12345], 4) = 0");
    assert_eq!(calls.lines().filter(set).count(), 2, "{calls}");
    made.reset();
    served.watch.disconnect();
    served.watch.disconnect();
    served.finish();
}
