//! From ciphertext to plaintext.

use super::engine::Step;
use super::incoming::{Incoming, Plain, record_end};
use super::{Tls, TlsSession};
use crate::TlsError;

impl TlsSession {
    /// Takes what was read from the socket and gives the plaintext that is in it.
    ///
    /// Returns how many bytes of `plaintext` were filled. All of `ciphertext` is taken, and the
    /// buffer is left as decrypting leaves it, worth nothing. Whatever did not fit into
    /// `plaintext` waits: [`has_more`](Self::has_more) says so, and [`read`](Self::read) gives it.
    ///
    /// Handshake messages are worked off on the way, and may lead to new output. Bytes that follow
    /// a `close_notify` mean nothing and are dropped.
    ///
    /// # Errors
    ///
    /// [`TlsError`] once everything that came before the fault has been returned: so a call that
    /// returns plaintext is followed by one more that fails, and until then `has_more` holds.
    ///
    /// # Panics
    ///
    /// If `ciphertext` is longer than [`room`](Self::room).
    #[inline]
    pub fn receive(
        &mut self,
        ciphertext: &mut [u8],
        plaintext: &mut [u8],
    ) -> Result<usize, TlsError> {
        if self.failed.is_some() {
            return self.read_failed(plaintext);
        }
        assert!(
            ciphertext.len() <= self.room(),
            "received {} bytes with room for {}",
            ciphertext.len(),
            self.room()
        );
        if !ciphertext.is_empty() {
            self.begin(ciphertext)?;
        }
        let mut filled = self.read_rest(plaintext);
        filled += self.take_in(ciphertext, &mut plaintext[filled..]);
        self.settle();
        self.more = self.more_waits();
        if self.failed.is_some() && filled == 0 {
            return self.read_failed(plaintext);
        }
        Ok(filled)
    }

    /// What came before the failure, and then the failure.
    #[cold]
    fn read_failed(&mut self, plaintext: &mut [u8]) -> Result<usize, TlsError> {
        if !self.rest.is_empty() {
            return Ok(self.read_rest(plaintext));
        }
        if let Some(failure) = &mut self.failed {
            failure.told = true;
        }
        self.more = false;
        self.check().map(|()| 0)
    }

    /// Gives plaintext that has been received already.
    ///
    /// Call it when [`has_more`](Self::has_more) holds and there is room again. The socket may be
    /// silent then: what waits in here is not announced by anything else.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn read(&mut self, plaintext: &mut [u8]) -> Result<usize, TlsError> {
        self.receive(&mut [], plaintext)
    }

    /// Whether [`read`](Self::read) may have something to give at once, data or an error.
    #[must_use]
    #[inline]
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Whether to read from the socket: not while something in here waits to be read, and not
    /// after the end.
    #[must_use]
    #[inline]
    pub fn wants_read(&self) -> bool {
        !self.more && !self.peer_closed && !self.eof && self.failed.is_none()
    }

    /// How many bytes [`receive`](Self::receive) takes. Never 0 while
    /// [`wants_read`](Self::wants_read) holds.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        let held = self.incoming.bytes.len() + self.rest.len();
        self.limit.saturating_sub(held)
    }

    /// The socket has ended: nothing more will come.
    ///
    /// After the handshake this is no error in itself; [`peer_end`](Self::peer_end) tells a
    /// `close_notify` from a cut. What was received before can still be read.
    ///
    /// # Errors
    ///
    /// [`TlsError::Abandoned`] in the middle of the handshake, or the error that the session has
    /// failed with before.
    pub fn receive_eof(&mut self) -> Result<(), TlsError> {
        self.check()?;
        if self.is_handshaking() {
            return self.fail(TlsError::Abandoned);
        }
        self.eof = true;
        Ok(())
    }

    #[inline]
    fn begin(&mut self, ciphertext: &[u8]) -> Result<(), TlsError> {
        if let Some(handshake) = &mut self.handshake {
            handshake.first = handshake.first.or_else(|| ciphertext.first().copied());
            self.start()?;
        }
        Ok(())
    }

    /// Plaintext that is left of a record.
    #[inline]
    fn read_rest(&mut self, plaintext: &mut [u8]) -> usize {
        if self.rest.is_empty() {
            return 0;
        }
        let left = &self.rest[self.rest_read..];
        let n = left.len().min(plaintext.len());
        plaintext[..n].copy_from_slice(&left[..n]);
        self.rest_read += n;
        if self.rest_read == self.rest.len() {
            self.rest = Vec::new();
            self.rest_read = 0;
        }
        n
    }

    fn more_waits(&self) -> bool {
        let untold = self.failed.as_ref().is_some_and(|failure| !failure.told);
        !self.rest.is_empty() || untold || self.failed.is_none() && self.incoming.has_record()
    }

    /// Works off what is held and what is new. What is new is decrypted where it lies, unless it
    /// belongs to something that has begun before.
    #[inline]
    fn take_in(&mut self, mut new: &mut [u8], plaintext: &mut [u8]) -> usize {
        let mut filled = 0;
        while !self.incoming.bytes.is_empty() && self.failed.is_none() {
            // No more than the end of the record, so that the rest need not be copied.
            let joined = match self.incoming.missing() {
                0 => 0,
                missing => missing.min(new.len()),
            };
            let (join, rest) = new.split_at_mut(joined);
            let mut held = std::mem::take(&mut self.incoming);
            held.bytes.extend_from_slice(join);
            new = rest;
            let before = filled;
            let (done, shown) = {
                let room = &mut plaintext[filled..];
                let run = self.run(&mut held.bytes, held.shown, room);
                filled += run.filled;
                (run.done, run.shown)
            };
            if self.failed.is_some() || self.peer_closed {
                return filled;
            }
            held.bytes.drain(..done);
            let progress = done > 0 || shown > held.shown || joined > 0 || filled > before;
            held.shown = shown - done;
            if held.bytes.is_empty() {
                break;
            }
            self.incoming = held;
            let full = plaintext.len() == filled || !self.rest.is_empty();
            if !progress || new.is_empty() || full && !self.awaits_handshake() {
                self.incoming.bytes.extend_from_slice(new);
                self.check_bound();
                return filled;
            }
        }
        if new.is_empty() || self.failed.is_some() || self.peer_closed {
            return filled;
        }
        let run = self.run(new, 0, &mut plaintext[filled..]);
        filled += run.filled;
        if run.done < new.len() && self.failed.is_none() && !self.peer_closed {
            self.incoming = Incoming {
                bytes: new[run.done..].to_vec(),
                shown: run.shown - run.done,
            };
            self.check_bound();
        }
        filled
    }

    /// Whether what comes next needs no room for plaintext.
    fn awaits_handshake(&self) -> bool {
        matches!(&self.tls, Tls::Running(engine) if engine.state().is_handshaking())
    }

    /// A handshake message that would not fit will never be complete.
    fn check_bound(&mut self) {
        if self.room() == 0 && self.rest.is_empty() && !self.incoming.has_record() {
            self.note_failure(TlsError::TooLarge);
        }
    }

    /// Shows `input` to rustls, of which `shown` bytes have been shown before, record by record,
    /// until there is no record left or no room.
    #[inline]
    pub(super) fn run(&mut self, input: &mut [u8], shown: usize, plaintext: &mut [u8]) -> Run {
        let mut run = Run {
            done: 0,
            shown,
            filled: 0,
        };
        let Tls::Running(engine) = &mut self.tls else {
            return run;
        };
        let mut plain = Plain::new(plaintext, &mut self.rest);
        let error = loop {
            // How far rustls may look in this step.
            let (end, whole) = if plain.is_full() && !engine.state().is_handshaking() {
                (run.shown, true)
            } else {
                record_end(input, run.shown)
            };
            let fresh = end > run.shown;
            let (done, step) = if self.closed {
                engine.step_closed(&mut input[run.done..end], &mut plain, &mut self.outgoing)
            } else {
                engine.step(&mut input[run.done..end], &mut plain, &mut self.outgoing)
            };
            run.done += done;
            if whole {
                run.shown = end;
            }
            assert!(
                run.done <= end,
                "rustls discards what it has not been shown"
            );
            match step {
                // The usual case, a record and nothing behind it: no need to ask again.
                Step::Data if run.done == input.len() => break None,
                Step::Progress | Step::Data => {}
                Step::Quiet if fresh && whole => {}
                Step::Quiet => break None,
                Step::PeerClosed => {
                    self.peer_closed = true;
                    break None;
                }
                Step::Failed(error) => break Some(error),
            }
        };
        run.filled = plain.filled();
        if let Some(error) = error {
            self.refuse(error);
        }
        run
    }
}

/// What became of an input.
pub(super) struct Run {
    /// How much of it is done with.
    pub(super) done: usize,
    /// How much of it has been shown, in whole records.
    pub(super) shown: usize,
    /// How much plaintext it gave.
    pub(super) filled: usize,
}
