//! A thread's stay at the wheel of a worker.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Worker;
use crate::message::Receipt;
use crate::process::{After, AnyProcess};
use crate::sync::lock;

/// How many receipts there is room for from the beginning: those of a whole message budget.
const RECEIPTS: usize = 256;

/// A thread's stay at the wheel of a worker, as its running processes see it.
pub(crate) struct Turn<'a> {
    worker: &'a Arc<Worker>,
    epoch: u64,
    /// The stay of the same thread at the wheel of the worker that this one lodges with.
    host: Option<&'a Self>,
    progress: Cell<u64>,
    /// The process that runs goes on although another thread drives: this one is its own.
    keeps_thread: Cell<bool>,
    receipts: RefCell<Vec<Receipt>>,
}

impl<'a> Turn<'a> {
    /// To be made with the wheel in hand.
    pub(super) fn new(worker: &'a Arc<Worker>, epoch: u64, host: Option<&'a Self>) -> Self {
        // A guest's turn is short, and has the list that its host's has.
        let receipts = match host {
            Some(host) => host.receipts.take(),
            None => Vec::with_capacity(RECEIPTS),
        };
        // Read under the lock, which whoever displaced the last driver held until it had made the
        // progress even: it must not be odd while nothing runs. A panic may have left it so.
        let progress = worker.core.progress().next_multiple_of(2);
        worker.core.set_progress(progress);
        Self {
            worker,
            epoch,
            host,
            progress: Cell::new(progress),
            keeps_thread: Cell::new(false),
            receipts: RefCell::new(receipts),
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn run(&self, process: &dyn AnyProcess, is_first: bool) -> After {
        let before = self.progress.get();
        let after = self.occupied(is_first, || process.run(self));
        if !self.is_displaced() {
            // By two for each message, and by one for the run.
            let handled = (self.progress.get() - before) / 2;
            let messages = self.worker.messages.load(Ordering::Relaxed);
            let messages = messages.wrapping_add(handled);
            self.worker.messages.store(messages, Ordering::Relaxed);
        }
        after
    }

    /// Does something during which the wheel lies free and the watchdog looks. When this thread has
    /// it in hand again, [`rest`](Self::rest) follows.
    pub(super) fn occupied<R>(&self, is_first: bool, work: impl FnOnce() -> R) -> R {
        self.advance(1);
        self.worker.watchdog.notice(is_first);
        work()
    }

    /// What occupied this thread is over. To be called with the wheel in hand: who is displaced just
    /// now would hide from the watchdog what a successor is at.
    pub(super) fn rest(&self) {
        self.advance(1);
    }

    /// Moves the progress on: by one, even to odd when a run begins, odd to even when it ends.
    #[inline]
    fn advance(&self, by: u64) {
        let progress = self.progress.get() + by;
        self.progress.set(progress);
        self.worker.core.set_progress(progress);
    }

    /// Tells the watchdog that what occupies this thread is not the same as before.
    pub(super) fn go_on(&self) {
        if !self.is_displaced() {
            self.advance(2);
        }
    }

    /// Called between two messages. False if this thread has been displaced and has to leave.
    #[inline]
    pub(crate) fn next_message(&self) -> bool {
        if self.is_displaced() {
            return self.keeps_thread.get();
        }
        self.advance(2);
        true
    }

    fn is_displaced(&self) -> bool {
        self.worker.core.is_displaced(self.epoch)
    }

    pub(crate) fn handled(&self, receipt: Receipt) {
        self.receipts.borrow_mut().push(receipt);
    }

    /// Hands the receipts to the driver, which empties the list.
    #[inline]
    pub(super) fn give_receipts(&self, to: impl FnOnce(&mut Vec<Receipt>)) {
        let mut receipts = self.receipts.borrow_mut();
        if !receipts.is_empty() {
            to(&mut receipts);
        }
    }

    /// Gives the loop away by intent, before this thread blocks, and that of a host as well. False
    /// if not both could be.
    pub(crate) fn hand_over(&self) -> bool {
        // The host's too, which waits for us to return.
        let host = self.host.is_none_or(Turn::hand_over);
        if self.is_displaced() {
            return host;
        }
        // The watchdog may have been faster.
        if let Some(mut core) = self.worker.core.regain(self.epoch) {
            return self.worker.displace(&mut core) && host;
        }
        host
    }

    /// Gives the loop away, and lets the process that runs keep the thread until it is idle or has
    /// used up its budget.
    pub(crate) fn take_thread(&self) {
        self.keeps_thread.set(self.hand_over());
    }

    /// What a displaced thread still owes: receipts, and its process back in the queue.
    pub(super) fn leave(&self, process: Arc<dyn AnyProcess>, after: After) {
        let mut inbox = lock(&self.worker.inbox);
        inbox.receipts.append(&mut self.receipts.borrow_mut());
        if after == After::Again {
            inbox.runnable.push_back(process);
        }
        drop(inbox);
        self.worker.announce();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(host) = self.host {
            let mut receipts = self.receipts.take();
            // After a panic some may be left, and they are none of the host's.
            receipts.clear();
            host.receipts.replace(receipts);
        }
    }
}
