//! An echo server over any operating system, for several tests.

use std::io;
use std::time::Instant;

use socktree_reactor::{Event, Os, Reactor, ReadOutcome, Token, WriteOutcome};

/// What a connection still owes its peer.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    pending: Vec<u8>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Stop,
}

pub(crate) struct EchoServer<O: Os> {
    pub(crate) reactor: Reactor<O, Echo, Command>,
    pub(crate) resets: u64,
    buffer: Vec<u8>,
}

impl<O: Os> EchoServer<O> {
    pub(crate) fn new(os: O, buffer: usize) -> Self {
        let reactor = Reactor::new(os).unwrap();
        Self {
            reactor,
            resets: 0,
            buffer: vec![0; buffer],
        }
    }

    /// Runs one turn; `false` once told to stop.
    pub(crate) fn turn(&mut self, until: Option<Instant>) -> bool {
        self.reactor.poll(until, || true).unwrap();
        while let Some(event) = self.reactor.next_event() {
            match event {
                Event::Command(Command::Stop) => return false,
                Event::Accepted { stream, .. } => {
                    self.reactor.adopt(stream, Echo::default()).unwrap();
                }
                Event::Readable(token) => self.guarded(token, Self::read),
                Event::Writable(token) => self.guarded(token, Self::flush),
                Event::Hangup(token) => {
                    // Reset while its echo was waiting for room.
                    self.resets += 1;
                    self.reactor.remove(token);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        true
    }

    fn guarded(&mut self, token: Token, step: fn(&mut Self, Token) -> io::Result<()>) {
        if step(self, token).is_err() {
            self.resets += 1;
            self.reactor.remove(token);
        }
    }

    fn read(&mut self, token: Token) -> io::Result<()> {
        let mut source = self.reactor.source(token).unwrap();
        match source.io.read(&mut self.buffer)? {
            ReadOutcome::Data(n) => source.data.pending.extend_from_slice(&self.buffer[..n]),
            ReadOutcome::Eof => source.data.ended = true,
            ReadOutcome::WouldBlock => return Ok(()),
        }
        self.flush(token)
    }

    fn flush(&mut self, token: Token) -> io::Result<()> {
        let mut source = self.reactor.source(token).unwrap();
        if !source.data.pending.is_empty() {
            let (front, back) = source.data.pending.split_at(source.data.pending.len() / 2);
            let bufs = [io::IoSlice::new(front), io::IoSlice::new(back)];
            if let WriteOutcome::Written(n) = source.io.write_vectored(&bufs)? {
                source.data.pending.drain(..n);
            }
        }
        if source.data.pending.is_empty() {
            source.io.resume_read();
            if source.data.ended {
                self.reactor.remove(token);
            }
        } else {
            // Never more than is owed already: the peer is slowed down by its own echo.
            source.io.pause_read();
        }
        Ok(())
    }
}
