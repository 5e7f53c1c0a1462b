//! Push, run, park and close, in every order that the threads can take: run by
//! `crates/kernel/loom/run.sh`.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Mailbox, Next, Pushed, Refused, Signal, Urgent};
use crate::message::{Priority, Receipt, Source};
use crate::reason::Reason;

/// A process without an actor: whoever schedules it also runs it.
struct Process {
    mailbox: Mailbox<u64>,
    running: AtomicUsize,
    handled: AtomicUsize,
    signals: AtomicUsize,
}

impl Process {
    fn idle() -> Arc<Self> {
        let mailbox = Mailbox::new(None);
        assert_eq!(
            mailbox.open_for_runs(),
            Pushed::Scheduled,
            "there is nothing to do yet"
        );
        Arc::new(Self {
            mailbox,
            running: AtomicUsize::new(0),
            handled: AtomicUsize::new(0),
            signals: AtomicUsize::new(0),
        })
    }

    fn send(&self, message: u64) -> bool {
        match self
            .mailbox
            .push(Source::Outside, Receipt::NONE, message, false)
        {
            Ok(pushed) => self.follow_up(pushed),
            Err(_) => return false,
        }
        true
    }

    fn send_ahead(&self, message: u64) {
        let pushed = self.mailbox.push_ahead(
            Source::Outside,
            Priority::High,
            message,
            Ok::<_, Refused<u64>>,
        );
        match pushed {
            Ok(pushed) => self.follow_up(pushed),
            Err(_) => unreachable!("it is open and has no bound"),
        }
    }

    fn signal(&self) {
        let signal = Signal::ordered(crate::id::Counter::new().next_pid(), Reason::Normal);
        if let Some(pushed) = self.mailbox.signal(signal) {
            self.follow_up(pushed);
        }
    }

    fn follow_up(&self, pushed: Pushed) {
        if pushed == Pushed::Schedule {
            self.run();
        }
    }

    /// As a worker runs it: until there is nothing left, and never twice at a time.
    fn run(&self) {
        assert_eq!(
            self.running.fetch_add(1, Ordering::SeqCst),
            0,
            "one run at a time"
        );
        let mut batch = VecDeque::new();
        loop {
            while let Some(urgent) = self.mailbox.take_urgent() {
                match urgent {
                    Urgent::Signal(_) => {
                        self.signals.fetch_add(1, Ordering::SeqCst);
                    }
                    Urgent::Message(_) => self.count(),
                }
            }
            if batch.pop_front().is_some() {
                self.count();
                continue;
            }
            // From the moment in which it is idle on, another thread may run it.
            self.running.fetch_sub(1, Ordering::SeqCst);
            let next = self.mailbox.refill(&mut batch);
            if matches!(next, Next::Rest) {
                return;
            }
            assert_eq!(
                self.running.fetch_add(1, Ordering::SeqCst),
                0,
                "one run at a time"
            );
            if matches!(next, Next::Message(_)) {
                self.count();
            }
        }
    }

    fn count(&self) {
        self.handled.fetch_add(1, Ordering::SeqCst);
        self.mailbox.count_handled();
    }
}

fn both(f: impl FnOnce() + Send + 'static, g: impl FnOnce() + Send + 'static) {
    let (f, g) = (thread::spawn(f), thread::spawn(g));
    f.join().expect("no thread panics");
    g.join().expect("no thread panics");
}

#[test]
fn every_message_is_handled_and_one_run_at_a_time() {
    loom::model(|| {
        let process = Process::idle();
        let (one, two) = (Arc::clone(&process), Arc::clone(&process));
        both(move || assert!(one.send(1)), move || assert!(two.send(2)));
        assert_eq!(process.handled.load(Ordering::SeqCst), 2);
        assert_eq!(process.mailbox.depth(), (0, 2, true));
    });
}

#[test]
fn no_signal_waits_in_an_idle_process() {
    loom::model(|| {
        let process = Process::idle();
        let (one, two) = (Arc::clone(&process), Arc::clone(&process));
        both(move || assert!(one.send(1)), move || two.signal());
        assert_eq!(process.handled.load(Ordering::SeqCst), 1);
        assert_eq!(process.signals.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn no_message_of_priority_waits_in_an_idle_process() {
    loom::model(|| {
        let process = Process::idle();
        let (one, two) = (Arc::clone(&process), Arc::clone(&process));
        both(move || assert!(one.send(1)), move || two.send_ahead(2));
        assert_eq!(process.handled.load(Ordering::SeqCst), 2);
    });
}

/// M-04: what was accepted is handed out at the end, or was handled; never neither.
#[test]
fn m_04_what_a_closing_mailbox_accepts_it_gives_back() {
    loom::model(|| {
        let process = Process::idle();
        let sender = Arc::clone(&process);
        // As when it is just being run: what comes in does not schedule it.
        let accepted = thread::spawn(move || {
            let pushed = sender
                .mailbox
                .push(Source::Outside, Receipt::NONE, 1_u64, false);
            pushed.is_ok()
        });
        let left = process.mailbox.close();
        let accepted = accepted.join().expect("no thread panics");
        assert_eq!(left.messages.count(), usize::from(accepted));
        assert!(!process.send(2), "it is closed for good");
    });
}
