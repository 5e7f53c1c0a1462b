//! What the simulated calls do to the state, and where the faults strike.

use std::io::{self, ErrorKind};

use super::faults::Fault;
use super::state::{Connect, End, EndId, ListenerId, Owner, Reset, State};
use crate::os::codes;

impl State {
    pub(super) fn take_descriptor(&mut self) -> io::Result<()> {
        if self
            .descriptor_limit
            .is_some_and(|limit| self.descriptors >= limit)
        {
            self.dice.count(Fault::DescriptorLimit);
            return Err(io::Error::from_raw_os_error(codes::EMFILE));
        }
        self.descriptors += 1;
        Ok(())
    }

    fn interrupted(&mut self) -> io::Result<()> {
        if self.dice.strikes(Fault::Interrupt) {
            Err(ErrorKind::Interrupted.into())
        } else {
            Ok(())
        }
    }

    pub(super) fn accept(&mut self, id: ListenerId) -> io::Result<EndId> {
        self.interrupted()?;
        let Some(&end) = self.listeners[&id].backlog.front() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        if self.dice.strikes(Fault::WouldBlock) {
            self.listener_news(id);
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.dice.strikes(Fault::AcceptStarved) {
            let codes = [codes::ENFILE, codes::ENOBUFS, codes::ENOMEM];
            let code = codes[self.dice.rng.index(codes.len())];
            return Err(io::Error::from_raw_os_error(code));
        }
        self.take_descriptor()?;
        self.listeners
            .get_mut(&id)
            .expect("it lives")
            .backlog
            .pop_front();
        if self.dice.strikes(Fault::AcceptError) {
            let codes = [
                codes::ECONNABORTED,
                codes::EPROTO,
                codes::ENETDOWN,
                codes::EHOSTUNREACH,
                codes::ENOPROTOOPT,
                codes::EOPNOTSUPP,
                codes::ETIMEDOUT,
                codes::EPERM,
            ];
            let code = codes[self.dice.rng.index(codes.len())];
            self.descriptors -= 1;
            self.abandon(end);
            return Err(io::Error::from_raw_os_error(code));
        }
        self.end(end).owner = Owner::System;
        Ok(end)
    }

    pub(super) fn abandon(&mut self, end: EndId) {
        self.end(end).reset_on_close = true;
        self.close(end);
    }

    pub(super) fn read(&mut self, id: EndId, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupted()?;
        match self.ends[&id].connect {
            Connect::Done => {}
            Connect::UnderWay => return Err(ErrorKind::WouldBlock.into()),
            Connect::Failed(kind) => return Err(kind.into()),
        }
        if self.dice.strikes(Fault::Reset) {
            self.cut(id);
        }
        let available = self.ends[&id].inbox.len();
        let end = self.end(id);
        if available == 0 {
            if let Some(error) = end.tell_reset() {
                return Err(error);
            }
            let over = end.fin_in || end.reset == Reset::Told;
            return if over {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        }
        if self.dice.strikes(Fault::WouldBlock) {
            self.news(id);
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = buf.len().min(available);
        let n = self.dice.cut(Fault::PartialRead, most);
        self.receive(id, &mut buf[..n]);
        // The rest counts as having arrived just now, so there is news of it; where a short
        // read proves nothing, there is not.
        if n < most && self.dice.faults.short_proves_drained {
            self.news(id);
        }
        Ok(n)
    }

    pub(super) fn write(&mut self, id: EndId, buf: &[u8]) -> io::Result<usize> {
        self.interrupted()?;
        match self.ends[&id].connect {
            Connect::Done => {}
            Connect::UnderWay => {
                self.end(id).wants_room = true;
                return Err(ErrorKind::WouldBlock.into());
            }
            Connect::Failed(kind) => return Err(kind.into()),
        }
        if self.dice.strikes(Fault::Reset) {
            self.cut(id);
        }
        let end = self.end(id);
        if let Some(error) = end.tell_reset() {
            return Err(error);
        }
        if end.reset == Reset::Told || end.fin_out {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let most = self.room(id).min(buf.len());
        if most > 0 && self.dice.strikes(Fault::WouldBlock) {
            self.news(id);
            return Err(ErrorKind::WouldBlock.into());
        }
        if most == 0 && !buf.is_empty() {
            self.end(id).wants_room = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = self.dice.cut(Fault::PartialWrite, most);
        self.send(id, &buf[..n]);
        if n < most && self.dice.faults.short_proves_drained {
            // As if the room had come just after the call.
            self.news(id);
        } else if n < buf.len() {
            self.end(id).wants_room = true;
        }
        Ok(n)
    }
}

impl End {
    /// The reset, if there is one that was not told.
    pub(super) fn tell_reset(&mut self) -> Option<io::Error> {
        let untold = self.reset == Reset::Untold;
        untold.then(|| {
            self.reset = Reset::Told;
            ErrorKind::ConnectionReset.into()
        })
    }
}
