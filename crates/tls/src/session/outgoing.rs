//! Ciphertext on its way to the socket.

/// The most memory that is kept while there is nothing to send.
const KEPT: usize = 256;

/// Ciphertext that has not been sent, in one piece, so that one write takes all of it.
///
/// While nothing is in it, it keeps the memory of a short answer at most: a connection that sends many
/// of them would allocate for each.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
}

impl Outgoing {
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "sent {n} bytes of {}", self.len());
        self.sent += n;
        if self.is_empty() {
            if self.bytes.capacity() > KEPT {
                *self = Self::default();
            } else {
                self.bytes.clear();
                self.sent = 0;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    /// Lets `write` fill up to `room` bytes at the end; it says how many.
    pub(super) fn fill<E>(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.compact();
        let from = self.bytes.len();
        self.bytes.resize(from + room, 0);
        let written = write(&mut self.bytes[from..]);
        self.bytes.truncate(from + *written.as_ref().unwrap_or(&0));
        written
    }

    /// Drops what was sent once it is the larger part, so that each byte is moved once at most.
    fn compact(&mut self) {
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}
