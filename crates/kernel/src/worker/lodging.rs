//! Workers that are driven by another one's thread.
//!
//! A worker lodges with its host: the host's driver wakes for both, and the host's thread takes a turn at
//! the guest's wheel whenever there is something to do, as if that were a handler of its own. So the
//! host's wheel lies free meanwhile, and a guest's handler that blocks displaces the thread from both.
//!
//! The right to drive a guest is a thing, [`Guest`]: it lies with the host, or with the thread that is just
//! using it, and ceases when the guest's epoch rises because another thread drives it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::turn::Turn;
use super::wheel::InHand;
use super::{Core, Worker};
use crate::driver::Wait;
use crate::guard::caught;
use crate::spare::PANICS;
use crate::sync::lock;

/// No thread of a host's has driven yet.
pub(super) const NO_EPOCH: u64 = u64::MAX;

/// Whose thread drives a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Home {
    /// One of its own.
    Own,
    /// Another worker's.
    Host,
    /// One of its own: its driver cannot lodge with another.
    OwnForGood,
}

/// Where a worker is to be driven from now on.
pub(super) enum Move {
    /// By its own thread.
    Out,
    /// By this worker's.
    To(Arc<Worker>),
}

/// The right to drive a worker, and when to use it.
pub(super) struct Guest {
    worker: Arc<Worker>,
    epoch: u64,
    /// For how long the worker has nothing to do.
    wait: Wait,
    /// How often in a row its driver has panicked here, with no other thread to be had.
    panics: usize,
}

/// What a worker knows of others that it shares a thread with.
#[derive(Default)]
pub(super) struct Lodging {
    guests: VecDeque<Guest>,
    moves: Option<Move>,
}

impl Lodging {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    #[inline]
    pub(super) fn is_to_move(&self) -> bool {
        self.moves.is_some()
    }

    #[inline]
    pub(super) fn news(&mut self, guests: Vec<Guest>, moves: Option<Move>) {
        self.guests.extend(guests);
        if moves.is_some() {
            self.moves = moves;
        }
    }

    /// How long the thread may wait that drives all of them.
    #[inline]
    pub(super) fn earliest(&self, own: Wait) -> Wait {
        self.guests
            .iter()
            .fold(own, |earliest, guest| first(earliest, guest.wait))
    }

    fn rouse(&mut self, index: usize) {
        let same = |guest: &&mut Guest| guest.worker.id.index() == index;
        if let Some(guest) = self.guests.iter_mut().find(same) {
            guest.wait = Wait::No;
        }
    }
}

/// The shorter of two waits.
fn first(a: Wait, b: Wait) -> Wait {
    match (a, b) {
        (Wait::No, _) | (_, Wait::No) => Wait::No,
        (Wait::Until(a), Wait::Until(b)) => Wait::Until(a.min(b)),
        (Wait::Forever, other) | (other, Wait::Forever) => other,
    }
}

impl Worker {
    /// Whose thread drives this worker.
    pub(crate) fn home(&self) -> Home {
        let home = self.home.load(Ordering::Relaxed);
        [Home::Own, Home::Host, Home::OwnForGood]
            .into_iter()
            .find(|&one| one as u8 == home)
            .unwrap_or(Home::OwnForGood)
    }

    fn set_home(&self, home: Home) {
        self.home.store(home as u8, Ordering::Relaxed);
    }

    /// Whether the thread that drives `host` drives this worker as well. One that was displaced from
    /// the host may still take its turn here.
    pub(crate) fn is_driven_with(&self, host: &Self) -> bool {
        let epoch = self.hosts_epoch.load(Ordering::Relaxed);
        self.home() == Home::Host && !host.core.is_displaced(epoch)
    }

    /// Has the thread of `host` drive this worker too, from its next turn on. The host must stay at
    /// home.
    pub(crate) fn move_to(&self, host: Arc<Self>) {
        lock(&self.inbox).moves = Some(Move::To(host));
        self.announce();
    }

    /// Gives this worker a thread of its own again, from its next turn on.
    pub(crate) fn move_out(&self) {
        lock(&self.inbox).moves = Some(Move::Out);
        self.announce();
    }

    /// For a thread of the worker's own that begins to drive it.
    pub(super) fn be_at_home(&self, core: &mut InHand<'_, Core>) {
        // The last one may have been told of them, and have gone before it came to it.
        for guest in &mut core.lodging.guests {
            guest.wait = Wait::No;
        }
        if self.home() == Home::Host {
            core.driver.unnest();
            core.lodging.moves = None;
            self.set_home(Home::Own);
        }
    }

    /// For the worker's own thread: moves in with a host if that is wished and can be done; then
    /// `None`, and the thread no longer drives.
    pub(super) fn lodge<'a>(
        self: &'a Arc<Self>,
        mut core: InHand<'a, Core>,
    ) -> Option<InHand<'a, Core>> {
        let Some(Move::To(host)) = core.lodging.moves.take() else {
            return Some(core);
        };
        if !core.lodging.is_empty() || self.stopping.load(Ordering::Acquire) {
            return Some(core);
        }
        if !core.driver.nest(host.id) {
            self.set_home(Home::OwnForGood);
            return Some(core);
        }
        self.hosts_epoch.store(NO_EPOCH, Ordering::Relaxed);
        self.set_home(Home::Host);
        // Nobody drives under the old epoch any more, and nobody under the new one before the host
        // has the right to.
        let epoch = self.core.leave(&mut core);
        drop(core);
        host.take_in(Guest {
            worker: Arc::clone(self),
            epoch,
            wait: Wait::No,
            panics: 0,
        });
        None
    }

    /// Has whoever drives this worker drive the guest too; if nobody does any more, the calling
    /// thread drives the guest, for good.
    fn take_in(&self, guest: Guest) {
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            drop(inbox);
            guest.worker.drive(guest.epoch);
            return;
        }
        inbox.guests.push(guest);
        drop(inbox);
        self.announce();
    }

    /// For a worker that stops: refuses guests from now on, unless there is one.
    pub(super) fn close(&self) -> bool {
        let mut inbox = lock(&self.inbox);
        inbox.closed = inbox.guests.is_empty();
        inbox.closed
    }

    /// Takes a turn at the wheel of each guest that has something to do; `None` if another thread
    /// drives this worker now.
    pub(super) fn drive_guests<'a>(
        &'a self,
        mut core: InHand<'a, Core>,
        turn: &Turn<'_>,
    ) -> Option<InHand<'a, Core>> {
        while let Some(index) = core.driver.next_guest() {
            core.lodging.rouse(index);
        }
        let mut now = None;
        for _ in 0..core.lodging.guests.len() {
            let Some(guest) = core.lodging.guests.pop_front() else {
                break;
            };
            if guest.worker.core.is_displaced(guest.epoch) {
                continue;
            }
            if !guest.is_due(|| *now.get_or_insert_with(|| self.now())) {
                core.lodging.guests.push_back(guest);
                continue;
            }
            drop(core);
            let guest = turn.occupied(true, || guest.take_turn(turn));
            let Some(regained) = self.core.regain(turn.epoch()) else {
                // Whoever drives here now drives the guest, too. They may have been told of it
                // while it was with us.
                if let Some(mut guest) = guest {
                    guest.wait = Wait::No;
                    self.take_in(guest);
                }
                return None;
            };
            core = regained;
            turn.rest();
            core.lodging.guests.extend(guest);
        }
        Some(core)
    }

    /// One turn, by the host's thread. `None` if the worker is its guest no more.
    fn take_turn(self: &Arc<Self>, epoch: u64, host: &Turn<'_>) -> Option<Wait> {
        let _seat = self.sit_down(epoch);
        let mut core = self.core.regain(epoch)?;
        self.hosts_epoch.store(host.epoch(), Ordering::Relaxed);
        let turn = Turn::new(self, epoch, Some(host));
        core.driver.turn(Wait::No, &|| !self.is_pending());
        host.go_on();
        self.fire_timers();
        host.go_on();
        core = self.run_processes(core, &turn)?;
        core.driver.flush();
        if let Some(Move::Out) = core.lodging.moves {
            match self.pass_to_spare(&mut core) {
                Ok(()) => return None,
                // As soon as there is one: it stays where it is meanwhile.
                Err(error) => log::debug!("no thread for {} yet: {error}", self.id),
            }
        }
        let next_timer = lock(&self.timers).next();
        let wait = self.wait(&core, next_timer);
        if self.has_stopped(&core) {
            core.driver.unnest();
            return None;
        }
        match wait {
            Wait::No => Some(wait),
            _ => Some(first(core.driver.doze(&|| !self.is_pending()), wait)),
        }
    }
}

impl Guest {
    fn is_due(&self, now: impl FnOnce() -> Instant) -> bool {
        match self.wait {
            Wait::No => true,
            Wait::Until(at) => at <= now(),
            Wait::Forever => false,
        }
    }

    fn take_turn(mut self, host: &Turn<'_>) -> Option<Self> {
        let (worker, epoch) = (&self.worker, self.epoch);
        match caught(|| Ok(worker.take_turn(epoch, host))) {
            Ok(wait) => (self.wait, self.panics) = (wait?, 0),
            Err(panic) => {
                // As in a thread of its own: it goes on, in one if there is one, but not for ever.
                log::error!("{}: {panic}", worker.id);
                let mut core = worker.core.regain(epoch)?;
                self.panics += 1;
                if worker.pass_to_spare(&mut core).is_ok() || self.panics >= PANICS {
                    return None;
                }
                drop(core);
                self.wait = Wait::No;
            }
        }
        Some(self)
    }
}
