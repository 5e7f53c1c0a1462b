//! A node with nothing to do does nothing: none of its threads wakes up.
//!
//! Alone in its file, because it looks at all threads of the program.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crossbeam_channel::bounded;
use lab::{Handle, hear, node, stop};

/// How often each of the node's threads has been switched to, by the system's count.
fn switches() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        // A thread may end while we look.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().trim().to_owned()
        };
        let name = field("Name:");
        // The kernel of the system cuts names after fifteen bytes.
        if name.starts_with("lab@localhost") || name.starts_with("socktree-watch") {
            found.insert(field("Pid:"), field("voluntary_ctxt_switches:"));
        }
    }
    found
}

#[test]
fn an_idle_node_has_no_wake_ups() {
    let node = node(2);
    let processes: Vec<_> = (0..100).map(|_| Handle::new(&node)).collect();
    for process in &processes {
        process.run(|ctx| {
            ctx.send_after(ctx.pid(), 1_u64, Duration::from_secs(86_400));
            // Leaves spare threads behind.
            ctx.blocking(|| ());
        });
    }
    let (_never, clock) = bounded::<()>(0);
    // The watchdog looks on for half a second, and spare threads wait for ten.
    let quiet = (0..60).any(|_| {
        let before = switches();
        assert!(
            before.len() >= 3,
            "two workers and a watchdog, not {before:?}"
        );
        let _a_second = clock.recv_timeout(Duration::from_secs(1));
        switches() == before
    });
    assert!(quiet, "there was no second without a wake-up in a minute");
    // And it wakes up all the same.
    let (done, over) = bounded(1);
    processes[0].tell(move |_| Ok(done.send(())?));
    hear(&over);
    stop(&node);
}
