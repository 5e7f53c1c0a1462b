//! What the campaigns share.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use socktree::CertManager;
use socktree_tests::{Process, Served, until};

/// Whether this is to be long.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SOCKTREE_CAMPAIGN").is_some()
}

/// So many in a campaign, so many in a test.
pub(crate) fn scale(campaign: usize, test: usize) -> usize {
    if is_long() { campaign } else { test }
}

/// A figure of a campaign, for whoever started it.
#[expect(clippy::print_stdout, reason = "it is what a campaign is run for")]
pub(crate) fn report(figure: &str) {
    if is_long() {
        println!("==== {figure}");
    }
}

/// This process, as it was when nobody else was using it.
pub(crate) struct Alone {
    _turn: MutexGuard<'static, ()>,
    process: Process,
    descriptors: usize,
    memory: u64,
}

impl Alone {
    /// Waits until no other campaign runs, and the node of the last one has gone.
    pub(crate) fn begin() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        until("nothing of the last node is left", || {
            let links = fs::read_dir("/proc/self/fd").expect("it is this process");
            let mut targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
            let left = targets.any(|target| target.to_string_lossy().contains("eventpoll"));
            (!left).then_some(())
        });
        let process = Process::new(std::process::id());
        Self {
            _turn: turn,
            process,
            descriptors: process.descriptors(),
            memory: process.memory(),
        }
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// The node is there, and no connection was: so many descriptors have to be there in the end.
    pub(crate) fn started(&mut self) {
        self.descriptors = self.process.descriptors();
    }

    /// What grows to its usual size has grown: memory counts from here.
    pub(crate) fn warmed_up(&mut self) {
        self.memory = self.process.memory();
    }

    /// Expects that the server has nothing left of its connections, and says how much memory is
    /// held that was not before, in KiB.
    pub(crate) fn settle(&self, served: &Served, certs: &CertManager) -> u64 {
        served.settle();
        until("no place of a handshake is taken", || {
            (certs.handshakes() == 0).then_some(())
        });
        let expected = self.descriptors;
        until(&format!("back to {expected} descriptors"), || {
            (self.process.descriptors() == expected).then_some(())
        });
        self.process.memory().saturating_sub(self.memory) / 1024
    }
}

/// How many handshakes have failed, whatever of.
pub(crate) fn failures(served: &Served) -> u64 {
    let by_kind = served.server.failed_handshakes();
    by_kind.iter().map(|(_, n)| n).sum()
}

/// A directory that is gone when the test is.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("socktree-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Puts a file there, whole from the first moment on.
    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.0.join(name), self.0.join("new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}
