//! Ciphertext on its way in, and plaintext on its way out.

/// The header of a record: type, version, length (RFC 8446, section 5.1).
const HEADER: usize = 5;

/// Ciphertext that could not be worked off yet.
///
/// It owns memory only while something is in it: the beginning of a record, of a handshake message
/// in several records, or what came behind a record that nobody had room for.
#[derive(Default)]
pub(super) struct Incoming {
    pub(super) bytes: Vec<u8>,
    /// How much of it rustls has seen, in whole records. It is kept because a handshake message
    /// in it is not complete.
    pub(super) shown: usize,
}

/// Where the record that begins at `from` ends, and whether all of it is there.
pub(super) fn record_end(input: &[u8], from: usize) -> (usize, bool) {
    let rest = &input[from..];
    let Some(header) = rest.get(..HEADER) else {
        return (input.len(), false);
    };
    let len = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
    if rest.len() < len {
        (input.len(), false)
    } else {
        (from + len, true)
    }
}

impl Incoming {
    /// Whether a whole record waits.
    pub(super) fn has_record(&self) -> bool {
        record_end(&self.bytes, self.shown).1
    }

    /// How many bytes are missing to the end of the record that has begun, as far as is known.
    pub(super) fn missing(&self) -> usize {
        let begun = &self.bytes[self.shown..];
        match begun.get(..HEADER) {
            None => HEADER - begun.len(),
            Some(header) => {
                let len = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
                len.saturating_sub(begun.len())
            }
        }
    }
}

/// Where plaintext goes: to the caller, and what finds no room there into memory of ours.
pub(super) struct Plain<'p> {
    to: &'p mut [u8],
    filled: usize,
    rest: &'p mut Vec<u8>,
}

impl<'p> Plain<'p> {
    pub(super) fn new(to: &'p mut [u8], rest: &'p mut Vec<u8>) -> Self {
        Self {
            to,
            filled: 0,
            rest,
        }
    }

    pub(super) fn nowhere(rest: &'p mut Vec<u8>) -> Self {
        Self::new(&mut [], rest)
    }

    #[inline]
    pub(super) fn put(&mut self, payload: &[u8]) {
        let room = &mut self.to[self.filled..];
        let fits = payload.len().min(room.len());
        room[..fits].copy_from_slice(&payload[..fits]);
        self.filled += fits;
        self.rest.extend_from_slice(&payload[fits..]);
    }

    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Whether no record may be decrypted any more.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.filled == self.to.len() || !self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_by_their_headers() {
        let input = [23, 3, 3, 0, 2, 9, 9, 22, 3, 3, 1, 0, 9];
        assert_eq!(record_end(&input, 0), (7, true));
        assert_eq!(record_end(&input, 7), (13, false));
        assert_eq!(record_end(&input, 13), (13, false));
        assert_eq!(record_end(&input[..6], 0), (6, false));
        assert_eq!(record_end(&input[..4], 0), (4, false));
    }

    #[test]
    fn what_is_missing_is_known_from_the_header_on() {
        let missing = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            Incoming { bytes, shown: 0 }.missing()
        };
        assert_eq!(missing(&[]), 5);
        assert_eq!(missing(&[23, 3, 3]), 2);
        assert_eq!(missing(&[23, 3, 3, 1, 0]), 256);
        assert_eq!(missing(&[23, 3, 3, 0, 2, 9]), 1);
        assert_eq!(missing(&[23, 3, 3, 0, 0]), 0);
    }

    #[test]
    fn plaintext_without_room_is_kept() {
        let (mut to, mut rest) = ([0; 4], Vec::new());
        let mut plain = Plain::new(&mut to, &mut rest);
        plain.put(b"abc");
        assert!(!plain.is_full());
        plain.put(b"def");
        assert!(plain.is_full());
        assert_eq!(
            (plain.filled(), &to[..], &rest[..]),
            (4, &b"abcd"[..], &b"ef"[..])
        );
    }
}
