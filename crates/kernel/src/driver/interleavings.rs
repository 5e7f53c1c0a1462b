//! The wake flag, in every order that the threads can take: run by `crates/kernel/loom/run.sh`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::{DriverFactory, ParkingFactory, Wait};
use crate::sync::seam::{Mutex, lock};
use crate::worker::WorkerId;

/// As in the worker: what is to be done is left in the inbox and announced, and the driver woken
/// then. A wake-up that is lost leaves the driver asleep for good, which loom reports.
fn no_wake_up_is_lost(wakers: usize) {
    loom::model(move || {
        let parts = ParkingFactory.make(WorkerId(0));
        let parts = parts.expect("a condition variable is always to be had");
        let pending = Arc::new(AtomicBool::new(false));
        let inbox = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..wakers)
            .map(|_| {
                let (remote, pending) = (Arc::clone(&parts.remote), Arc::clone(&pending));
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    *lock(&inbox) += 1;
                    pending.store(true, Ordering::Release);
                    remote.wake();
                })
            })
            .collect();
        let (mut driver, mut seen) = (parts.driver, 0);
        loop {
            if pending.load(Ordering::Acquire) {
                pending.store(false, Ordering::SeqCst);
                seen = *lock(&inbox);
            }
            if seen == wakers {
                break;
            }
            driver.turn(Wait::Forever, &|| !pending.load(Ordering::SeqCst));
        }
        for waker in threads {
            waker.join().expect("a waker does not panic");
        }
    });
}

#[test]
fn one_wake_up_is_not_lost() {
    no_wake_up_is_lost(1);
}

#[test]
fn one_of_two_wake_ups_is_not_lost() {
    no_wake_up_is_lost(2);
}
