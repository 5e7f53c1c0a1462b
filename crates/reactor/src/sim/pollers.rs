//! Waiting: what is reported when, and how virtual time passes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::faults::Fault;
use super::peer::{Link, Peer};
use super::state::{Connect, Owner, PeerId, PeerState, PollerId, State, Watched};
use crate::{Os, Readiness};

/// What one look at the network takes, in nanoseconds.
///
/// Not zero, so that those who sleep get their turn even if the system under test never does.
const STEP: u64 = 1_000;

/// How long a remote end waits before it knocks again at a full backlog: what TCP does.
const RETRY: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct PollerState {
    news: VecDeque<Watched>,
    woken: bool,
    /// The thread that waited last. The others of its pollers cannot run while it waits.
    thread: Option<ThreadId>,
    /// Set while a thread waits and has nothing to do.
    idle: Option<Idle>,
}

/// Waiting for something to happen, at most until then.
#[derive(Clone, Copy, Debug)]
struct Idle {
    deadline: Option<u64>,
}

impl State {
    pub(super) fn queue(&mut self, poller: PollerId, watched: Watched) {
        if let Some(state) = self.pollers.get_mut(&poller) {
            state.news.push_back(watched);
            if state.idle.take().is_some() {
                self.changed.notify_all();
            }
        }
    }

    pub(super) fn wake(&mut self, poller: PollerId) {
        if let Some(state) = self.pollers.get_mut(&poller) {
            state.woken = true;
            state.idle = None;
            self.changed.notify_all();
        }
    }

    /// The network has something to do: whoever waits may do it.
    pub(super) fn rouse(&mut self) {
        let mut any = false;
        for poller in self.pollers.values_mut() {
            any |= poller.idle.take().is_some();
        }
        if any {
            self.changed.notify_all();
        }
    }

    pub(super) fn is_quiescent(&self) -> bool {
        self.pollers.values().all(|poller| poller.idle.is_some())
    }

    pub(super) fn advance(&mut self, period: Duration) {
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        self.now = self.now.saturating_add(nanos);
        self.rouse();
    }

    fn tick(&mut self) {
        if !self.manual_clock {
            self.now += STEP;
        }
    }

    /// Lets the network and the remote ends do what they can do now, once. Tells whether
    /// they may have more to do at this time.
    fn step(&mut self) -> bool {
        self.resolve_connects();
        let now = self.now;
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let mut able: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.runnable || due(peer.wake_at))
            .map(|(&id, _)| id)
            .collect();
        self.dice.rng.shuffle(&mut able);
        for id in able {
            if !self.dice.strikes(Fault::PeerStall) {
                self.step_peer(id);
            }
        }
        !self.connecting.is_empty()
            || self
                .peers
                .values()
                .any(|peer| peer.runnable || due(peer.wake_at))
    }

    pub(super) fn add_peer(&mut self, machine: Box<dyn Peer>, to: Option<SocketAddr>) -> PeerId {
        let id = self.id();
        let peer = PeerState {
            machine: Some(machine),
            end: None,
            dialing: to,
            runnable: true,
            wake_at: None,
        };
        self.peers.insert(id, peer);
        self.rouse();
        id
    }

    fn step_peer(&mut self, id: PeerId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.runnable = false;
        peer.wake_at = peer.wake_at.filter(|&at| at > now);
        if let Some(addr) = peer.dialing {
            match self.dial(id, addr) {
                Dialled::Connected | Dialled::Refused => {}
                Dialled::Later => return,
            }
        }
        let peer = self.peers.get_mut(&id).expect("nobody else removes it");
        let end = peer.end;
        let mut machine = peer.machine.take().expect("steps do not nest");
        let mut link = Link {
            state: self,
            peer: id,
            end,
            progress: false,
            over: end.is_none(),
        };
        machine.step(&mut link);
        let over = link.over || link.was_reset();
        let (closed, progress) = (link.over, link.progress);
        if over {
            if let Some(end) = end.filter(|_| !closed) {
                self.close(end);
            }
            self.peers.remove(&id);
        } else if let Some(peer) = self.peers.get_mut(&id) {
            peer.machine = Some(machine);
            peer.runnable |= progress;
        }
    }

    fn dial(&mut self, id: PeerId, addr: SocketAddr) -> Dialled {
        let listener = self
            .listeners
            .iter()
            .find(|(_, listener)| listener.addr == addr);
        let Some((&listener, state)) = listener else {
            return Dialled::Refused;
        };
        let full = state.backlog.len() >= state.limit;
        if full {
            let at = self.now.saturating_add(RETRY);
            self.peers
                .get_mut(&id)
                .expect("it is being stepped")
                .wake_at = Some(at);
            return Dialled::Later;
        }
        let local = SocketAddr::new([10, 0, 0, 1].into(), self.port());
        let theirs = self.new_end(local, addr, Owner::Peer(id));
        let ours = self.new_end(addr, local, Owner::Backlog);
        self.join(theirs, ours);
        let peer = self.peers.get_mut(&id).expect("it is being stepped");
        peer.end = Some(theirs);
        peer.dialing = None;
        self.listeners
            .get_mut(&listener)
            .expect("just found")
            .backlog
            .push_back(ours);
        self.listener_news(listener);
        Dialled::Connected
    }

    fn resolve_connects(&mut self) {
        for id in std::mem::take(&mut self.connecting) {
            if self.dice.strikes(Fault::Delay) {
                self.connecting.push(id);
                continue;
            }
            let (local, remote) = (self.ends[&id].local, self.ends[&id].remote);
            if self.dice.strikes(Fault::ConnectError) {
                const KINDS: [std::io::ErrorKind; 3] = [
                    std::io::ErrorKind::ConnectionRefused,
                    std::io::ErrorKind::TimedOut,
                    std::io::ErrorKind::HostUnreachable,
                ];
                let kind = KINDS[self.dice.rng.index(KINDS.len())];
                self.end(id).connect = Connect::Failed(kind);
            } else if let Some((&listener, state)) = self
                .listeners
                .iter()
                .find(|(_, listener)| listener.addr == remote)
            {
                if state.backlog.len() >= state.limit {
                    self.connecting.push(id);
                    continue;
                }
                let theirs = self.new_end(remote, local, Owner::Backlog);
                self.join(id, theirs);
                self.listeners
                    .get_mut(&listener)
                    .expect("just found")
                    .backlog
                    .push_back(theirs);
                self.listener_news(listener);
                self.end(id).connect = Connect::Done;
            } else if let Some(mut factory) = self.factories.remove(&remote) {
                let machine = factory(local);
                self.factories.insert(remote, factory);
                let peer = self.add_peer(machine, None);
                let theirs = self.new_end(remote, local, Owner::Peer(peer));
                self.peers.get_mut(&peer).expect("just added").end = Some(theirs);
                self.join(id, theirs);
                self.end(id).connect = Connect::Done;
            } else {
                let refused = std::io::ErrorKind::ConnectionRefused;
                self.end(id).connect = Connect::Failed(refused);
            }
            self.news(id);
        }
    }

    /// Reports news to one poller. Tells whether some was held back.
    fn collect(&mut self, poller: PollerId, ready: &mut Vec<Readiness>) -> bool {
        let state = self
            .pollers
            .get_mut(&poller)
            .expect("a poller waits while it lives");
        let mut news: Vec<Watched> = state.news.drain(..).collect();
        // The order in which a batch is reported is the system's business.
        self.dice.rng.shuffle(&mut news);
        let mut held = VecDeque::new();
        for watched in news {
            if ready.len() >= super::SimOs::EVENTS_PER_WAIT || self.dice.strikes(Fault::Delay) {
                held.push_back(watched);
                continue;
            }
            match watched {
                Watched::End(id) => {
                    if let Some(end) = self.ends.get_mut(&id)
                        && let Some(registration) = &mut end.registration
                    {
                        registration.queued = false;
                        ready.extend(self.readiness(id));
                    }
                }
                Watched::Listener(id) => {
                    if let Some(listener) = self.listeners.get_mut(&id)
                        && let Some(registration) = &mut listener.registration
                    {
                        registration.queued = false;
                        if !listener.backlog.is_empty() {
                            let token = registration.token;
                            ready.push(Readiness {
                                token,
                                readable: true,
                                ..Default::default()
                            });
                        }
                    }
                }
            }
        }
        let state = self
            .pollers
            .get_mut(&poller)
            .expect("a poller waits while it lives");
        state.news.append(&mut held);
        !state.news.is_empty()
    }

    /// Reports something that did not happen to something that is watched.
    fn invent(&mut self, poller: PollerId, ready: &mut Vec<Readiness>) {
        let ends = self.ends.values().filter_map(|end| end.registration);
        let listeners = self
            .listeners
            .values()
            .filter_map(|listener| listener.registration);
        let watched: Vec<(usize, bool)> = ends
            .chain(listeners)
            .filter(|registration| registration.poller == poller)
            .map(|registration| (registration.token, registration.room))
            .collect();
        if !watched.is_empty() {
            let (token, writable) = watched[self.dice.rng.index(watched.len())];
            ready.push(Readiness {
                token,
                readable: true,
                writable,
                ..Default::default()
            });
        }
    }

    /// Lets time pass up to the next thing that waits for it, if everybody waits.
    fn skip_idle_time(&mut self, me: ThreadId) -> bool {
        let others_wait = self
            .pollers
            .values()
            .all(|poller| poller.idle.is_some() || poller.thread.is_none_or(|it| it == me));
        if self.manual_clock || !others_wait {
            return false;
        }
        let deadlines = self
            .pollers
            .values()
            .filter_map(|poller| poller.idle?.deadline);
        let sleepers = self.peers.values().filter_map(|peer| peer.wake_at);
        let Some(next) = deadlines.chain(sleepers).min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.rouse();
        true
    }
}

enum Dialled {
    Connected,
    Refused,
    Later,
}

/// Waits on behalf of one poller; the guard is given back when there is something to tell.
pub(super) fn wait<'a>(
    mut state: MutexGuard<'a, State>,
    poller: PollerId,
    timeout: Option<Duration>,
    ready: &mut Vec<Readiness>,
) -> MutexGuard<'a, State> {
    let me = thread::current().id();
    state
        .pollers
        .get_mut(&poller)
        .expect("a poller waits while it lives")
        .thread = Some(me);
    let nanos = timeout.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let deadline = nanos.map(|nanos| state.now.saturating_add(nanos));
    state.tick();
    if state.dice.strikes(Fault::Interrupt) {
        return state;
    }
    if !state.manual_clock && state.dice.strikes(Fault::ClockGap) {
        let most = u64::try_from(state.dice.faults.gap.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        state.now += state.dice.rng.below(most);
        // SIGCONT interrupts the wait (signal(7)), so it ends without a look at the sockets.
        return state;
    }
    loop {
        let network_busy = state.step();
        let held = state.collect(poller, ready);
        if state.dice.strikes(Fault::Spurious) {
            state.invent(poller, ready);
        }
        let now = state.now;
        let this = state
            .pollers
            .get_mut(&poller)
            .expect("a poller waits while it lives");
        let woken = std::mem::take(&mut this.woken);
        if woken || !ready.is_empty() || deadline.is_some_and(|deadline| deadline <= now) {
            return state;
        }
        if network_busy || held {
            state.tick();
            continue;
        }
        this.idle = Some(Idle { deadline });
        if state.skip_idle_time(me) {
            continue;
        }
        // Also for those who wait for everybody to wait.
        let changed: Arc<Condvar> = Arc::clone(&state.changed);
        changed.notify_all();
        let idle = |state: &mut State| {
            state
                .pollers
                .get(&poller)
                .is_some_and(|poller| poller.idle.is_some())
        };
        state = changed
            .wait_while(state, idle)
            .unwrap_or_else(PoisonError::into_inner);
    }
}
