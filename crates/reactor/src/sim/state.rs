//! The simulated network: ends, listeners, buffers and edges.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use super::faults::{Fault, Injector};
use super::peer::Peer;
use super::pollers::PollerState;
use crate::Readiness;

pub(super) type EndId = u64;
pub(super) type ListenerId = u64;
pub(super) type PeerId = u64;
pub(super) type PollerId = u64;
pub(super) type Factory = Box<dyn FnMut(SocketAddr) -> Box<dyn Peer> + Send>;

/// Everything there is. Ordered maps only: the order of a hash map is not in the seed.
pub(super) struct State {
    pub(super) dice: Injector,
    /// When the simulation was made; only differences to it are the same in every run.
    pub(super) base: Instant,
    pub(super) now: u64,
    pub(super) manual_clock: bool,
    /// How long others keep the core when it is offered to them.
    pub(super) rivals_keep: Duration,
    pub(super) ends: BTreeMap<EndId, End>,
    pub(super) listeners: BTreeMap<ListenerId, ListenerState>,
    pub(super) peers: BTreeMap<PeerId, PeerState>,
    pub(super) pollers: BTreeMap<PollerId, PollerState>,
    pub(super) factories: BTreeMap<SocketAddr, Factory>,
    pub(super) black_holes: Vec<SocketAddr>,
    /// Attempts of the system under test whose outcome is open.
    pub(super) connecting: Vec<EndId>,
    pub(super) descriptors: usize,
    pub(super) descriptor_limit: Option<usize>,
    pub(super) trace: u64,
    pub(super) changed: Arc<Condvar>,
    next_id: u64,
    next_port: u16,
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The other side, once there is a connection.
    pub(super) other: Option<EndId>,
    pub(super) owner: Owner,
    pub(super) inbox: VecDeque<u8>,
    pub(super) capacity: usize,
    /// The other side sends no more.
    pub(super) fin_in: bool,
    /// We send no more.
    pub(super) fin_out: bool,
    pub(super) reset: Reset,
    pub(super) closed: bool,
    pub(super) connect: Connect,
    /// A write found too little room, so room is news.
    pub(super) wants_room: bool,
    pub(super) reset_on_close: bool,
    pub(super) registration: Option<Registration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    System,
    Peer(PeerId),
    /// Connected and not yet accepted.
    Backlog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    No,
    /// The next call fails with it.
    Untold,
    Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connect {
    Done,
    UnderWay,
    Failed(std::io::ErrorKind),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    pub(super) poller: PollerId,
    pub(super) token: usize,
    /// Room is reported as well.
    pub(super) room: bool,
    /// It stands in the poller's list of news.
    pub(super) queued: bool,
}

#[derive(Debug)]
pub(super) struct ListenerState {
    pub(super) addr: SocketAddr,
    pub(super) backlog: VecDeque<EndId>,
    pub(super) limit: usize,
    pub(super) registration: Option<Registration>,
}

pub(super) struct PeerState {
    /// Out for the time of a step.
    pub(super) machine: Option<Box<dyn Peer>>,
    pub(super) end: Option<EndId>,
    /// Where it wants to, before it is there.
    pub(super) dialing: Option<SocketAddr>,
    pub(super) runnable: bool,
    pub(super) wake_at: Option<u64>,
}

/// What a poller has news of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    End(EndId),
    Listener(ListenerId),
}

impl State {
    pub(super) fn new(dice: Injector, changed: Arc<Condvar>) -> Self {
        Self {
            dice,
            base: Instant::now(),
            now: 0,
            manual_clock: false,
            rivals_keep: Duration::ZERO,
            ends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            peers: BTreeMap::new(),
            pollers: BTreeMap::new(),
            factories: BTreeMap::new(),
            black_holes: Vec::new(),
            connecting: Vec::new(),
            descriptors: 0,
            descriptor_limit: None,
            trace: 0xcbf2_9ce4_8422_2325,
            changed,
            next_id: 1,
            next_port: 32_768,
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(32_768);
        self.next_port
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    pub(super) fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Folds what the system under test was told into the run's fingerprint (FNV-1a).
    pub(super) fn note(&mut self, call: u8, value: u64) {
        for byte in std::iter::once(call).chain(value.to_le_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(super) fn end(&mut self, id: EndId) -> &mut End {
        self.ends
            .get_mut(&id)
            .expect("an end lives as long as somebody holds it")
    }

    /// Makes an end that is not connected yet.
    pub(super) fn new_end(&mut self, local: SocketAddr, remote: SocketAddr, owner: Owner) -> EndId {
        let id = self.id();
        let end = End {
            local,
            remote,
            other: None,
            owner,
            inbox: VecDeque::new(),
            capacity: self.dice.buffer(),
            fin_in: false,
            fin_out: false,
            reset: Reset::No,
            closed: false,
            connect: Connect::Done,
            wants_room: false,
            reset_on_close: false,
            registration: None,
        };
        self.ends.insert(id, end);
        id
    }

    pub(super) fn join(&mut self, a: EndId, b: EndId) {
        self.end(a).other = Some(b);
        self.end(b).other = Some(a);
    }

    /// How much an end may send now. What is sent to one that is gone vanishes.
    pub(super) fn room(&self, id: EndId) -> usize {
        let other = self.ends[&id].other.and_then(|other| self.ends.get(&other));
        match other {
            Some(other) if !other.closed => other.capacity - other.inbox.len(),
            _ => usize::MAX,
        }
    }

    /// Moves bytes to the other side; there must be room for them.
    pub(super) fn send(&mut self, id: EndId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let other = self.ends[&id]
            .other
            .filter(|other| self.ends.contains_key(other));
        match other {
            Some(other) if !self.ends[&other].closed => {
                self.end(other).inbox.extend(bytes);
                self.news(other);
            }
            // Nobody is there any more: the answer to the bytes is a reset.
            _ => self.reset_end(id),
        }
    }

    /// Takes bytes that have arrived; there must be that many.
    pub(super) fn receive(&mut self, id: EndId, buf: &mut [u8]) {
        if buf.is_empty() {
            return;
        }
        let end = self.end(id);
        let n = buf.len();
        for (place, byte) in buf.iter_mut().zip(end.inbox.drain(..n)) {
            *place = byte;
        }
        if let Some(other) = end.other {
            self.offer_room(other);
        }
    }

    fn offer_room(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id)
            && end.wants_room
        {
            end.wants_room = false;
            self.news(id);
        }
    }

    pub(super) fn half_close(&mut self, id: EndId) {
        if std::mem::replace(&mut self.end(id).fin_out, true) {
            return;
        }
        if let Some(other) = self.ends[&id].other
            && let Some(end) = self.ends.get_mut(&other)
        {
            end.fin_in = true;
            self.news(other);
        }
    }

    /// A reset arrives at an end.
    pub(super) fn reset_end(&mut self, id: EndId) {
        let Some(end) = self.ends.get(&id) else {
            return;
        };
        if end.reset != Reset::No || end.closed {
            return;
        }
        let discards = !end.inbox.is_empty() && self.dice.strikes(Fault::ResetDiscards);
        let end = self.end(id);
        end.reset = Reset::Untold;
        if discards {
            end.inbox.clear();
        }
        self.news(id);
    }

    /// A reset from the middle of the network: both ends get it.
    pub(super) fn cut(&mut self, id: EndId) {
        self.reset_end(id);
        if let Some(other) = self.ends[&id].other {
            self.reset_end(other);
        }
    }

    /// The owner lets go of an end.
    pub(super) fn close(&mut self, id: EndId) {
        let end = self.end(id);
        assert!(!end.closed, "an end has one owner, who closes it once");
        end.closed = true;
        end.registration = None;
        // Closing with unread input resets (RFC 2525, 2.17).
        let resets = end.reset_on_close || !end.inbox.is_empty();
        end.inbox.clear();
        self.connecting.retain(|&other| other != id);
        let Some(other) = self.ends[&id]
            .other
            .filter(|other| self.ends.contains_key(other))
        else {
            self.ends.remove(&id);
            return;
        };
        if self.ends[&other].closed {
            self.ends.remove(&id);
            self.ends.remove(&other);
            return;
        }
        if resets {
            self.reset_end(other);
        } else {
            self.half_close(id);
        }
        self.offer_room(other);
    }

    /// Something happened to an end that its owner should hear about.
    pub(super) fn news(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        match end.owner {
            Owner::Backlog => {}
            Owner::Peer(peer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.runnable = true;
                    self.rouse();
                }
            }
            Owner::System => {
                if let Some(registration) = &mut end.registration
                    && !std::mem::replace(&mut registration.queued, true)
                {
                    let poller = registration.poller;
                    self.queue(poller, Watched::End(id));
                }
            }
        }
    }

    pub(super) fn listener_news(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(&id)
            && let Some(registration) = &mut listener.registration
            && !std::mem::replace(&mut registration.queued, true)
        {
            let poller = registration.poller;
            self.queue(poller, Watched::Listener(id));
        }
    }

    /// What a report on an end says: its present state, as `epoll_wait(2)` computes it.
    pub(super) fn readiness(&self, id: EndId) -> Option<Readiness> {
        let end = self.ends.get(&id)?;
        let Registration { token, room, .. } = end.registration?;
        let reset = end.reset != Reset::No;
        match end.connect {
            Connect::UnderWay => return None,
            Connect::Failed(_) => {
                let all = Readiness {
                    token,
                    readable: true,
                    writable: true,
                    ..Default::default()
                };
                return Some(Readiness {
                    read_closed: true,
                    write_closed: true,
                    error: true,
                    ..all
                });
            }
            Connect::Done => {}
        }
        let readiness = Readiness {
            token,
            readable: !end.inbox.is_empty() || end.fin_in || reset,
            writable: room && (reset || end.fin_out || self.room(id) > 0),
            read_closed: end.fin_in || reset,
            write_closed: reset || (end.fin_in && end.fin_out),
            error: end.reset == Reset::Untold,
            urgent: false,
        };
        (readiness.readable || readiness.writable).then_some(readiness)
    }
}
