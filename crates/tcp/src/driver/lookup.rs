//! Outgoing connections to a name that is still to be looked up.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use socktree_kernel::Alias;
use socktree_reactor::{Os, TimerKey};

use crate::driver::connect::Connecting;
use crate::driver::{Command, TcpDriver, end_of_attempt};
use crate::endpoint::Endpoint;
use crate::event::DisconnectReason;

/// How many names one worker looks up at a time; others wait their turn, within their own time
/// limits. A lookup has a thread for itself, because getaddrinfo(3) blocks and cannot be
/// interrupted.
const LOOKUPS_AT_ONCE: usize = 32;

/// The attempts that wait for an address.
#[derive(Default)]
pub(super) struct Lookups {
    attempts: BTreeMap<Alias, Waiting>,
    queue: VecDeque<(Alias, Endpoint)>,
    under_way: usize,
}

struct Waiting {
    connecting: Box<Connecting>,
    deadline: Option<TimerKey>,
}

impl<O: Os> TcpDriver<O> {
    /// Takes an attempt until its name has been looked up.
    pub(super) fn look_up(&mut self, endpoint: Endpoint, connecting: Box<Connecting>) {
        let alias = connecting.shared().alias();
        let deadline = connecting
            .deadline()
            .map(|at| self.reactor.schedule(at, Command::LookFor(alias)));
        let waiting = Waiting {
            connecting,
            deadline,
        };
        let Lookups {
            attempts, queue, ..
        } = &mut self.lookups;
        attempts.insert(alias, waiting);
        queue.push_back((alias, endpoint));
        // Attempts that end while no lookup does would fill the queue otherwise.
        if queue.len() > 2 * attempts.len() {
            queue.retain(|(alias, _)| attempts.contains_key(alias));
        }
        // It may have been told to end before it came here.
        self.look_for(alias);
        self.start_lookups();
    }

    fn start_lookups(&mut self) {
        while self.lookups.under_way < LOOKUPS_AT_ONCE
            && let Some((alias, endpoint)) = self.lookups.queue.pop_front()
        {
            if !self.lookups.attempts.contains_key(&alias) {
                continue;
            }
            let line = Arc::clone(&self.line);
            let started = thread::Builder::new()
                .name("socktree-lookup".into())
                .spawn(move || {
                    // A driver that has gone has ended the attempt.
                    let _gone = line.post(Command::LookedUp(alias, endpoint.resolve()));
                });
            match started {
                Ok(_) => self.lookups.under_way += 1,
                Err(error) => self.go_on(alias, Err(error)),
            }
        }
    }

    pub(super) fn looked_up(&mut self, alias: Alias, found: io::Result<Vec<SocketAddr>>) {
        self.lookups.under_way -= 1;
        self.go_on(alias, found);
        self.start_lookups();
    }

    /// Connects to what was found, if that is still wanted.
    fn go_on(&mut self, alias: Alias, found: io::Result<Vec<SocketAddr>>) {
        let Some(mut connecting) = self.forget(alias) else {
            return;
        };
        match found {
            Ok(addrs) => {
                connecting.will_try(addrs);
                let nothing = DisconnectReason::Io(io::ErrorKind::NotFound);
                self.try_next(connecting, nothing);
            }
            Err(error) => connecting.fail(DisconnectReason::Unresolved(error.to_string().into())),
        }
    }

    /// Ends an attempt that waits for its name, if its time is over or it was told to end.
    pub(super) fn look_for(&mut self, alias: Alias) {
        let Some(Waiting { connecting, .. }) = self.lookups.attempts.get(&alias) else {
            return;
        };
        let shared = connecting.shared();
        shared.look();
        let reason = if let Some(why) = shared.take_early_exit() {
            end_of_attempt(&why)
        } else if let Some(reason) = shared.given_up() {
            reason
        } else if connecting.is_late(self.reactor.refresh_now()) {
            DisconnectReason::ConnectTimeout
        } else {
            return;
        };
        if let Some(connecting) = self.forget(alias) {
            connecting.fail(reason);
        }
    }

    fn forget(&mut self, alias: Alias) -> Option<Box<Connecting>> {
        let waiting = self.lookups.attempts.remove(&alias)?;
        if let Some(deadline) = waiting.deadline {
            self.reactor.cancel(deadline);
        }
        Some(waiting.connecting)
    }
}
