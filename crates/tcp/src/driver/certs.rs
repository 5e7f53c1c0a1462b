//! Certificates that are looked at from time to time, while a listener serves them.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socktree_reactor::{Os, Token};
use socktree_tls::{CertEvent, CertManager};

use crate::driver::{Command, Owned, TcpDriver};
use crate::node::Line;

/// The least time between two looks, whatever the manager says.
const NOT_BEFORE: Duration = Duration::from_millis(100);

/// When it is tried again after there was no thread for it.
const RETRY: Duration = Duration::from_secs(10);

impl<O: Os> TcpDriver<O> {
    /// Has watched files read and dates checked, on a thread of its own: a disk may take its time,
    /// and the loop must not.
    pub(super) fn poll_certs(&mut self, listener: Token) {
        let Some(Owned::Listener(listening)) = self.reactor.data(listener) else {
            return;
        };
        let Some(certs) = listening.server.certs().cloned() else {
            return;
        };
        let now = self.reactor.now();
        let line = Arc::clone(&self.line);
        let alias = listening.server.alias();
        let started = thread::Builder::new()
            .name("socktree-certs".into())
            .spawn(move || {
                // Goes on even if whoever hears of events has a fault.
                let polled = Polled {
                    line,
                    listener,
                    certs,
                };
                for event in polled.certs.poll(now) {
                    match event {
                        CertEvent::Reloaded { .. } | CertEvent::ClientCaReloaded { .. } => {
                            log::info!("{alias}: {event}");
                        }
                        CertEvent::ExpiresSoon { .. } => log::warn!("{alias}: {event}"),
                        _ => log::error!("{alias}: {event}"),
                    }
                }
            });
        if let Err(error) = started {
            log::warn!("{alias}: no thread to look at the certificates now: {error}");
            if let Some(at) = self.reactor.after(RETRY) {
                self.reactor.schedule(at, Command::PollCerts(listener));
            }
        }
    }

    pub(super) fn certs_polled(&mut self, listener: Token, due: Option<Instant>) {
        if self.reactor.data(listener).is_none() {
            return;
        }
        // Polled just now, so without a time there is none that could be counted.
        if let (Some(due), Some(soonest)) = (due, self.reactor.after(NOT_BEFORE)) {
            let at = due.max(soonest);
            self.reactor.schedule(at, Command::PollCerts(listener));
        }
    }
}

/// Tells the driver that a look is over, however it has ended.
struct Polled<O: Os> {
    line: Arc<Line<O>>,
    listener: Token,
    certs: CertManager,
}

impl<O: Os> Drop for Polled<O> {
    fn drop(&mut self) {
        // Asked here and not by the driver: it waits for whoever is reading the files just then.
        let due = self.certs.next_poll();
        // A driver that has gone has closed the listener.
        let _gone = self.line.post(Command::CertsPolled(self.listener, due));
    }
}
