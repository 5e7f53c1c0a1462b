//! A process as the system sees it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A process, this one or another.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// The process with this number.
    pub fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// Its number.
    pub fn pid(self) -> u32 {
        self.0
    }

    /// How many descriptors it holds.
    pub fn descriptors(self) -> usize {
        let found = fs::read_dir(format!("/proc/{}/fd", self.0)).expect("the process lives");
        found.count()
    }

    /// Lets it, and what it starts from now on, open so many: many systems allow 1024 unless
    /// asked for more.
    pub fn allow_descriptors(self, wanted: u32) {
        let allowed = Command::new("prlimit")
            .arg(format!("--pid={}", self.0))
            .arg(format!("--nofile={wanted}:"))
            .status();
        assert!(allowed.expect("prlimit is there").success());
    }

    /// Bytes of memory that it holds, counted page by page: what `status` says may be out by some
    /// hundred KiB, because the cores add up what they have counted only now and then.
    pub fn memory(self) -> u64 {
        self.field("smaps_rollup", "Rss:") * 1024
    }

    /// How often each of its threads has gone to sleep.
    pub fn sleeps(self) -> BTreeMap<String, u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process lives");
        tasks
            .filter_map(|task| {
                let name = task.expect("the process lives").file_name();
                let thread = name.into_string().expect("a number");
                let path = format!("/proc/{}/task/{thread}/status", self.0);
                // A thread may end while we look.
                let status = fs::read_to_string(path).ok()?;
                Some((thread, field(&status, "voluntary_ctxt_switches:")))
            })
            .collect()
    }

    /// How many threads it has.
    pub fn threads(self) -> u64 {
        self.status("Threads:")
    }

    /// Processor time used so far, by steps of 10 ms.
    pub fn cpu(self) -> Duration {
        let path = format!("/proc/{}/stat", self.0);
        let stat = fs::read_to_string(path).expect("the process lives");
        // The name, which may hold spaces, is in parentheses; after it utime is the 12th field.
        let (_, fields) = stat.rsplit_once(')').expect("the format of proc(5)");
        let mut ticks = fields.split_whitespace().skip(11);
        let mut next = || -> u64 {
            let field = ticks.next().expect("the format of proc(5)");
            field.parse().expect("a number of ticks")
        };
        Duration::from_millis((next() + next()) * 10)
    }

    fn status(self, key: &str) -> u64 {
        self.field("status", key)
    }

    fn field(self, file: &str, key: &str) -> u64 {
        let path = format!("/proc/{}/{file}", self.0);
        field(&fs::read_to_string(path).expect("the process lives"), key)
    }
}

fn field(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_whitespace().next());
    value
        .and_then(|value| value.parse().ok())
        .expect("the format of proc(5)")
}
