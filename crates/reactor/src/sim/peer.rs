//! Remote ends: what the system under test talks to.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::faults::Fault;
use super::state::{End, EndId, PeerId, Reset, State};

/// A remote end, as a state machine driven by the simulation.
///
/// It runs inside the waits of the system under test, whenever something happened to its
/// connection, its sleep is over, or its last step moved something. Keep it a function of
/// what it reads and of [`Link::random`], and a run can be repeated from its seed. Closures
/// are peers too.
pub trait Peer: Send {
    /// Does what can be done now, without waiting.
    fn step(&mut self, link: &mut Link<'_>);
}

impl<F: FnMut(&mut Link<'_>) + Send> Peer for F {
    fn step(&mut self, link: &mut Link<'_>) {
        self(link);
    }
}

/// A remote end's side of its connection.
pub struct Link<'a> {
    pub(super) state: &'a mut State,
    pub(super) peer: PeerId,
    /// `None` if the connection was refused.
    pub(super) end: Option<EndId>,
    /// Something moved, so another step may move more.
    pub(super) progress: bool,
    pub(super) over: bool,
}

impl Link<'_> {
    /// Sends what there is room for, and returns how much that is.
    ///
    /// After less than everything there is another step when there is room again.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = self.live() else { return 0 };
        let room = self.state.room(end);
        if bytes.is_empty() || self.state.ends[&end].fin_out {
            return 0;
        }
        let most = room.min(bytes.len());
        let n = if most == 0 {
            0
        } else {
            self.state.dice.cut(Fault::PartialWrite, most)
        };
        self.state.send(end, &bytes[..n]);
        if most < bytes.len() {
            self.state.end(end).wants_room = true;
        }
        self.progress |= n > 0;
        n
    }

    /// Takes what has arrived, at most as much as fits, and returns how much that is.
    ///
    /// 0 means that nothing is there now; see [`at_end`](Self::at_end).
    pub fn read(&mut self, buf: &mut [u8]) -> usize {
        // Also after a reset: what had arrived before it is still there.
        let Some(end) = self.end.filter(|_| !self.over) else {
            return 0;
        };
        let n = buf.len().min(self.state.ends[&end].inbox.len());
        self.state.receive(end, &mut buf[..n]);
        self.progress |= n > 0;
        n
    }

    /// Whether the other side has ended its direction and everything of it was read.
    pub fn at_end(&self) -> bool {
        self.view()
            .is_some_and(|end| end.inbox.is_empty() && (end.fin_in || end.reset != Reset::No))
    }

    /// Whether the connection was reset. There is no further step.
    pub fn was_reset(&self) -> bool {
        self.view().is_some_and(|end| end.reset != Reset::No)
    }

    /// Whether nobody listened. There is no further step.
    pub fn was_refused(&self) -> bool {
        self.end.is_none()
    }

    /// Ends our direction; the other side may still send.
    pub fn half_close(&mut self) {
        if let Some(end) = self.live() {
            self.state.half_close(end);
            self.progress = true;
        }
    }

    /// Closes the connection. As with a real one, what arrived and was not read turns this
    /// into a reset.
    pub fn close(&mut self) {
        if let Some(end) = self.live() {
            self.state.close(end);
            self.over = true;
        }
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        if let Some(end) = self.live() {
            self.state.end(end).reset_on_close = true;
            self.state.close(end);
            self.over = true;
        }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.state.instant()
    }

    /// Has another step done at `at`, or earlier if something happens.
    pub fn sleep_until(&mut self, at: Instant) {
        let at = self.state.nanos(at);
        if let Some(peer) = self.state.peers.get_mut(&self.peer) {
            peer.wake_at = Some(at);
        }
    }

    /// Has another step done after `period`, or earlier if something happens.
    pub fn sleep(&mut self, period: Duration) {
        if let Some(at) = self.now().checked_add(period) {
            self.sleep_until(at);
        }
    }

    /// A number below `bound` from the simulation's seed; 0 if `bound` is.
    pub fn random(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.state.dice.rng.below(bound)
        }
    }

    /// Our own address, unless refused.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.view().map(|end| end.local)
    }

    fn view(&self) -> Option<&End> {
        self.end
            .filter(|_| !self.over)
            .and_then(|end| self.state.ends.get(&end))
    }

    fn live(&self) -> Option<EndId> {
        self.end
            .filter(|end| !self.over && self.state.ends[end].reset == Reset::No)
    }
}

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("end", &self.end)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}
