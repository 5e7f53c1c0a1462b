//! The simulated system calls.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::SimOs;
use super::pollers::{self, PollerState};
use super::state::{
    Connect, EndId, ListenerId, ListenerState, Owner, PollerId, Registration, Reset,
};
use crate::{Keepalive, ListenOptions, Os, Readiness};

/// A simulated listening socket.
pub struct SimListener {
    sim: SimOs,
    id: ListenerId,
}

/// A simulated connection.
pub struct SimStream {
    sim: SimOs,
    id: EndId,
}

/// A simulated poller.
pub struct SimPoller {
    sim: SimOs,
    id: PollerId,
}

/// Ends the waits of a [`SimPoller`].
pub struct SimWaker {
    id: PollerId,
}

/// What is folded into the fingerprint, one number per call.
mod call {
    pub(super) const ACCEPT: u8 = 1;
    pub(super) const READ: u8 = 2;
    pub(super) const WRITE: u8 = 3;
    pub(super) const WAIT: u8 = 4;
    pub(super) const REPORT: u8 = 5;
}

impl Os for SimOs {
    type Listener = SimListener;
    type Stream = SimStream;
    type Poller = SimPoller;
    type Waker = SimWaker;
    type Outer = Infallible;

    // Small, so that full batches happen.
    const EVENTS_PER_WAIT: usize = 64;

    fn poller(&self) -> io::Result<(SimPoller, SimWaker)> {
        let mut state = self.state();
        let id = state.id();
        state.pollers.insert(id, PollerState::default());
        Ok((
            SimPoller {
                sim: self.clone(),
                id,
            },
            SimWaker { id },
        ))
    }

    fn now(&self) -> Instant {
        self.state().instant()
    }

    fn yield_core(&self) {
        let mut state = self.state();
        let period = state.rivals_keep;
        if !period.is_zero() {
            state.advance(period);
        }
    }

    fn short_proves_drained(&self) -> bool {
        self.state().dice.faults.short_proves_drained
    }

    fn listen(&self, mut addr: SocketAddr, options: &ListenOptions) -> io::Result<SimListener> {
        let mut state = self.state();
        state.take_descriptor()?;
        if addr.port() == 0 {
            addr.set_port(state.port());
        }
        if state
            .listeners
            .values()
            .any(|listener| listener.addr == addr)
        {
            state.descriptors -= 1;
            return Err(ErrorKind::AddrInUse.into());
        }
        let id = state.id();
        let limit = usize::try_from(options.backlog)
            .unwrap_or(usize::MAX)
            .max(1);
        let listener = ListenerState {
            addr,
            backlog: VecDeque::new(),
            limit,
            registration: None,
        };
        state.listeners.insert(id, listener);
        Ok(SimListener {
            sim: self.clone(),
            id,
        })
    }

    fn listener_addr(&self, listener: &SimListener) -> io::Result<SocketAddr> {
        Ok(self.state().listeners[&listener.id].addr)
    }

    fn accept(&self, listener: &SimListener) -> io::Result<(SimStream, SocketAddr)> {
        let mut state = self.state();
        let accepted = state.accept(listener.id);
        let noted = accepted.as_ref().map_or_else(error_code, |&end| end);
        state.note(call::ACCEPT, noted);
        let end = accepted?;
        let peer = state.ends[&end].remote;
        Ok((
            SimStream {
                sim: self.clone(),
                id: end,
            },
            peer,
        ))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SimStream> {
        let mut state = self.state();
        state.take_descriptor()?;
        let local = SocketAddr::new([10, 0, 0, 2].into(), state.port());
        let id = state.new_end(local, addr, Owner::System);
        state.end(id).connect = Connect::UnderWay;
        if !state.black_holes.contains(&addr) {
            state.connecting.push(id);
            state.rouse();
        }
        Ok(SimStream {
            sim: self.clone(),
            id,
        })
    }

    fn connect_outcome(&self, stream: &SimStream) -> io::Result<bool> {
        let mut state = self.state();
        let end = state.end(stream.id);
        match end.connect {
            Connect::UnderWay => Ok(false),
            Connect::Failed(kind) => Err(kind.into()),
            Connect::Done => end.tell_reset().map_or(Ok(true), Err),
        }
    }

    fn local_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        Ok(self.state().ends[&stream.id].local)
    }

    fn peer_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        let state = self.state();
        let end = &state.ends[&stream.id];
        if end.reset == Reset::No && end.connect == Connect::Done {
            Ok(end.remote)
        } else {
            Err(ErrorKind::NotConnected.into())
        }
    }

    fn read(&self, stream: &SimStream, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let result = state.read(stream.id, buf);
        state.note(
            call::READ,
            result.as_ref().map_or_else(error_code, |&n| n as u64),
        );
        result
    }

    fn write(&self, stream: &SimStream, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let result = state.write(stream.id, buf);
        state.note(
            call::WRITE,
            result.as_ref().map_or_else(error_code, |&n| n as u64),
        );
        result
    }

    fn write_vectored(&self, stream: &SimStream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.write(stream, &bytes)
    }

    fn shutdown_write(&self, stream: &SimStream) -> io::Result<()> {
        let mut state = self.state();
        let end = &state.ends[&stream.id];
        if end.reset != Reset::No || end.connect != Connect::Done {
            return Err(ErrorKind::NotConnected.into());
        }
        state.half_close(stream.id);
        Ok(())
    }

    fn set_nodelay(&self, _stream: &SimStream, _nodelay: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_keepalive(&self, _stream: &SimStream, _keepalive: &Keepalive) -> io::Result<()> {
        Ok(())
    }

    fn set_user_timeout(&self, _stream: &SimStream, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_reset_on_close(&self, stream: &SimStream) -> io::Result<()> {
        self.state().end(stream.id).reset_on_close = true;
        Ok(())
    }

    fn register_listener(
        &self,
        poller: &SimPoller,
        listener: &mut SimListener,
        token: usize,
    ) -> io::Result<()> {
        let mut state = self.state();
        let registration = Registration {
            poller: poller.id,
            token,
            room: false,
            queued: false,
        };
        let listening = state.listeners.get_mut(&listener.id).expect("it lives");
        if listening.registration.replace(registration).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.listener_news(listener.id);
        Ok(())
    }

    fn register_stream(
        &self,
        poller: &SimPoller,
        stream: &mut SimStream,
        token: usize,
        room: bool,
    ) -> io::Result<()> {
        let mut state = self.state();
        let registration = Registration {
            poller: poller.id,
            token,
            room,
            queued: false,
        };
        if state
            .end(stream.id)
            .registration
            .replace(registration)
            .is_some()
        {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.news(stream.id);
        Ok(())
    }

    fn report_room(&self, _: &SimPoller, stream: &mut SimStream, token: usize) -> io::Result<()> {
        let mut state = self.state();
        let registration = state.end(stream.id).registration.as_mut();
        let registration = registration.ok_or(ErrorKind::NotFound)?;
        registration.room = true;
        registration.token = token;
        state.news(stream.id);
        Ok(())
    }

    fn outer(&self, _poller: &Self::Poller) -> io::Result<Infallible> {
        // In a simulation one thread does everything, so there is none to be spared.
        Err(ErrorKind::Unsupported.into())
    }

    fn nest(&self, _: &Self::Poller, outer: &Infallible, _: usize) -> io::Result<()> {
        match *outer {}
    }

    fn unnest(&self, _: &Self::Poller, outer: &Infallible) -> io::Result<()> {
        match *outer {}
    }

    fn wait(
        &self,
        poller: &mut SimPoller,
        timeout: Option<Duration>,
        ready: impl FnMut(Readiness),
    ) -> io::Result<()> {
        let mut reports = Vec::new();
        let mut state = pollers::wait(self.state(), poller.id, timeout, &mut reports);
        let now = state.now;
        state.note(call::WAIT, now);
        for report in &reports {
            let bits = [
                report.readable,
                report.writable,
                report.read_closed,
                report.write_closed,
                report.error,
            ];
            state.note(call::REPORT, report.token as u64);
            state.note(
                call::REPORT,
                bits.iter().fold(0, |all, &bit| all << 1 | u64::from(bit)),
            );
        }
        drop(state);
        reports.into_iter().for_each(ready);
        Ok(())
    }

    fn wake(&self, waker: &SimWaker) -> io::Result<()> {
        self.state().wake(waker.id);
        Ok(())
    }
}

fn error_code(error: &io::Error) -> u64 {
    let code = match error.raw_os_error() {
        Some(code) => u64::from(code.unsigned_abs()) << 8,
        None => error.kind() as u64,
    };
    // Above every count of bytes.
    u64::MAX - code
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.sim.state();
        if let Some(listener) = state.listeners.remove(&self.id) {
            for end in listener.backlog {
                state.abandon(end);
            }
        }
        state.descriptors -= 1;
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut state = self.sim.state();
        state.close(self.id);
        state.descriptors -= 1;
    }
}

impl Drop for SimPoller {
    fn drop(&mut self) {
        let mut state = self.sim.state();
        state.pollers.remove(&self.id);
        state.rouse();
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimListener").field(&self.id).finish()
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimStream").field(&self.id).finish()
    }
}

impl fmt::Debug for SimPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimPoller").field(&self.id).finish()
    }
}

impl fmt::Debug for SimWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimWaker").field(&self.id).finish()
    }
}
