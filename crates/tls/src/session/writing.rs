//! From plaintext to ciphertext.

use std::io::IoSlice;

use super::engine::{Act, Step};
use super::incoming::Plain;
use super::{Tls, TlsSession};
use crate::TlsError;

/// The most plaintext in a record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;

/// Pieces below this are joined with what follows. A record costs about 1,000 instructions, and
/// 22 bytes or more on the wire; copying this much costs a tenth of that.
const JOIN_BELOW: usize = 4 * 1024;

impl TlsSession {
    /// Encrypts `plaintext`, and returns how much of it was taken: all of it, unless the bound is
    /// reached.
    ///
    /// What is not taken is the caller's to keep; there is room again once output has been
    /// [`sent`](Self::sent). Nothing is taken during the handshake, after [`close`](Self::close)
    /// and after an error.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the session has failed.
    pub fn write(&mut self, plaintext: &[u8]) -> Result<usize, TlsError> {
        self.check()?;
        let mut taken = 0;
        for record in plaintext.chunks(RECORD) {
            if !self.may_write() {
                break;
            }
            self.act(Act::Encrypt(record))?;
            taken += record.len();
            self.taken += record.len();
        }
        Ok(taken)
    }

    /// Does the same with several pieces, as if they were one: small ones share a record.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the session has failed.
    pub fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, TlsError> {
        let mut taken = 0;
        let mut left = pieces.iter().map(|piece| &**piece).peekable();
        while let Some(piece) = left.next() {
            if piece.len() >= JOIN_BELOW || left.peek().is_none() {
                let n = self.write(piece)?;
                taken += n;
                if n < piece.len() {
                    break;
                }
                continue;
            }
            let mut joined = Vec::with_capacity(RECORD);
            joined.extend_from_slice(piece);
            while let Some(next) = left.next_if(|next| joined.len() + next.len() <= RECORD) {
                joined.extend_from_slice(next);
            }
            let n = self.write(&joined)?;
            taken += n;
            if n < joined.len() {
                break;
            }
        }
        Ok(taken)
    }

    /// Whether [`write`](Self::write) takes anything now.
    #[must_use]
    #[inline]
    pub fn may_write(&self) -> bool {
        !self.is_handshaking() && !self.closed && self.outgoing.len() < self.limit
    }

    /// What has to be sent to the peer, in one piece: a whole flight of the handshake goes out in
    /// one write.
    #[must_use]
    #[inline]
    pub fn output(&self) -> &[u8] {
        self.outgoing.unsent()
    }

    /// Says that the first `n` bytes of [`output`](Self::output) have been sent.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline]
    pub fn sent(&mut self, n: usize) {
        self.outgoing.advance(n);
        if self.outgoing.is_empty() {
            self.taken = 0;
        }
    }

    /// How many bytes of plaintext were taken and are not sent: exactly none if
    /// [`output`](Self::output) is empty, and never less than there are. The header and tag of a
    /// record that is on its way may be counted as plaintext.
    #[must_use]
    pub fn unsent_plaintext(&self) -> usize {
        self.taken.min(self.outgoing.len())
    }

    /// Ends our direction: tells the peer with `close_notify` that this was all. What the peer
    /// sends can still be read.
    ///
    /// Call it when everything has been taken by [`write`](Self::write), then send the output,
    /// then end the socket's direction. During the handshake nothing is sent: whoever gives up
    /// there just closes. Asking twice is harmless.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the session has failed.
    pub fn close(&mut self) -> Result<(), TlsError> {
        self.check()?;
        if self.closed || self.is_handshaking() {
            return Ok(());
        }
        self.act(Act::Close)?;
        self.closed = true;
        Ok(())
    }

    /// Changes our keys, and asks the peer to change its own (RFC 8446, section 4.6.3).
    ///
    /// It happens by itself long before a key has been used too often; this is for connections
    /// that live for months. With TLS 1.2, during the handshake and after [`close`](Self::close)
    /// nothing happens. A peer takes many in a row, with no data in between, for a flood, and ends
    /// the connection: one of ours after 32 of them, answers to its own included.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the session has failed.
    pub fn update_keys(&mut self) -> Result<(), TlsError> {
        self.check()?;
        let tls13 = self
            .info()
            .is_some_and(|info| info.version == crate::TlsVersion::Tls13);
        if tls13 && !self.closed {
            self.act(Act::UpdateKeys)?;
            // The message itself.
            self.act(Act::Read)?;
        }
        Ok(())
    }

    /// Does something in the state in which there is nothing to read: what is held is shown as far
    /// as it was shown before.
    fn act(&mut self, act: Act<'_>) -> Result<(), TlsError> {
        let Tls::Running(engine) = &mut self.tls else {
            return Ok(());
        };
        loop {
            let shown = self.incoming.shown;
            let held = &mut self.incoming.bytes[..shown];
            let mut plain = Plain::nowhere(&mut self.rest);
            let (done, step) = engine.act(held, act, &mut plain, &mut self.outgoing);
            self.incoming.bytes.drain(..done);
            self.incoming.shown -= done;
            match step {
                Step::Quiet => return Ok(()),
                Step::Progress | Step::Data => {}
                Step::PeerClosed => self.peer_closed = true,
                Step::Failed(error) => {
                    self.refuse(error);
                    return self.check();
                }
            }
        }
    }
}
