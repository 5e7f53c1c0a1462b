//! Turns arbitrary bytes into framings, streams and ways to cut them.
//!
//! Property tests and fuzzers both produce bytes; what the bytes mean is decided here, once. When
//! they run out, everything drawn is zero, the simplest case.

use super::spec::{Prefix, Spec};

/// Bytes that are used up as choices are made.
#[derive(Clone, Debug)]
pub(crate) struct Draw<'a>(pub(crate) &'a [u8]);

impl Draw<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *byte
    }

    /// A number below `bound`, which is at most 256 * 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let high = if bound > 256 {
            usize::from(self.byte())
        } else {
            0
        };
        (high * 256 + usize::from(self.byte())) % bound
    }

    pub(crate) fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of the limits worth trying: tiny ones mostly.
    fn max(&mut self) -> usize {
        match self.below(8) {
            0 => usize::MAX,
            1 => self.below(1 << 16),
            _ => self.below(64),
        }
    }

    /// A size that is mostly small and sometimes absurd.
    fn size(&mut self) -> usize {
        match self.below(16) {
            0 => usize::MAX - self.below(256),
            1 => self.below(1 << 16),
            _ => self.below(20),
        }
    }

    /// Any options at all, right or wrong.
    pub(crate) fn any_spec(&mut self) -> Spec {
        match self.below(7) {
            0 => Spec::Raw,
            1 => Spec::Fixed(self.size()),
            2 => Spec::Varint {
                max_bytes: self.size(),
                minimal: self.yes(),
                strip: self.yes(),
                max: self.max(),
            },
            3 => Spec::Delimiter {
                delimiter: (0..self.below(6)).map(|_| self.letter()).collect(),
                keep: self.yes(),
                max: self.max(),
            },
            4 => Spec::Lines {
                crlf: self.yes(),
                keep: self.yes(),
                max: self.max(),
            },
            5 => Spec::Netstring { max: self.max() },
            _ => Spec::Prefix(Prefix {
                header: self.size(),
                position: self.size(),
                size: self.size(),
                little_endian: self.yes(),
                counts_header: self.yes(),
                adjust: match self.below(8) {
                    0 => i64::MAX - i64::from(self.byte()),
                    1 => i64::MIN + i64::from(self.byte()),
                    2..4 => i64::from(self.byte()) - 128,
                    _ => 0,
                },
                strip: self.yes(),
                max: self.max(),
            }),
        }
    }

    /// Options that mostly are right: sizes are brought into range before they are used.
    pub(crate) fn good_spec(&mut self) -> Spec {
        let mut spec = self.any_spec();
        match &mut spec {
            Spec::Raw | Spec::Netstring { max: 1.. } => {}
            Spec::Fixed(len) => *len = 1 + *len % 40,
            Spec::Varint { max_bytes, max, .. } => {
                *max_bytes = 1 + *max_bytes % 10;
                *max = (*max).max(1);
            }
            Spec::Delimiter { delimiter, max, .. } => {
                delimiter.push(b'a');
                *max = (*max).max(delimiter.len());
            }
            Spec::Lines { max, .. } => *max = (*max).max(2),
            Spec::Netstring { max } => *max = 1,
            Spec::Prefix(prefix) => {
                prefix.size = [1, 2, 3, 4, 8][prefix.size % 5];
                prefix.position %= 6;
                prefix.header = prefix.position + prefix.size + prefix.header % 5;
                prefix.max = prefix.max.max(prefix.header);
                prefix.adjust %= 12;
            }
        }
        spec
    }

    /// One byte of a small alphabet, in which everything that ends frames is common.
    pub(crate) fn letter(&mut self) -> u8 {
        let byte = self.byte();
        if byte < 128 {
            b"aaabb\r\n\n\0\0\x01\x02\x05:,0123"[usize::from(byte) % 19]
        } else {
            byte
        }
    }

    pub(crate) fn letters(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.letter()).collect()
    }

    /// A stream of mostly whole frames of `spec`, with rubbish here and there.
    pub(crate) fn stream(&mut self, spec: &Spec) -> Vec<u8> {
        let mut stream = Vec::new();
        while !self.is_empty() && stream.len() < 700 {
            match self.below(8) {
                0 => stream.push(self.byte()),
                1 => stream.extend(self.letters(8)),
                kind => {
                    let most = if kind == 2 { 200 } else { 20 };
                    let mut payload = self.letters(most);
                    if let Spec::Fixed(len) = spec {
                        payload.resize(*len, b'f');
                    }
                    stream.extend(spec.wire(&payload).unwrap_or(payload));
                }
            }
        }
        stream
    }

    /// Where to cut `len` bytes: every byte, rarely, or here and there.
    pub(crate) fn cuts(&mut self, len: usize) -> Vec<usize> {
        match self.below(4) {
            0 => (1..len).collect(),
            1 => vec![],
            _ => {
                let mut at = 0;
                let mut cuts = Vec::new();
                loop {
                    at += match self.below(4) {
                        0 => self.below(300),
                        _ => self.below(16),
                    };
                    if at >= len || self.is_empty() {
                        return cuts;
                    }
                    cuts.push(at);
                }
            }
        }
    }
}
