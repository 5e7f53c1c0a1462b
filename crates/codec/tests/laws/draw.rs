//! Turns arbitrary bytes into framings, streams and ways to cut them.
//!
//! Property tests and fuzzers both produce bytes; what the bytes mean is decided here, once. When
//! they run out, everything drawn is zero, the simplest case.

use bytes::Bytes;
use socktree_codec::{Decoder, Frame, FrameError, Framing};

use super::spec::{Outcome, Prefix, Spec};

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

/// Decodes `stream` in pieces, with pauses of every kind, and says what came of it.
///
/// Raw frames are joined into one: where they end is where the reads end, by definition.
pub(crate) fn decode_in_pieces(
    spec: &Spec,
    framing: &Framing,
    stream: &[u8],
    cuts: &[usize],
    draw: &mut Draw<'_>,
) -> Outcome {
    let mut decoder = Decoder::new(framing.clone());
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let ends = cuts.iter().copied().chain([stream.len()]);
    let mut start = 0;
    let mut outcome = Ok(());
    for end in ends {
        outcome = feed_with_pauses(&mut decoder, &stream[start..end], &mut frames, draw);
        start = end;
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = drain(&mut decoder, &mut frames);
    }
    if let Spec::Raw = spec {
        frames = vec![frames.concat()];
        frames.retain(|frame| !frame.is_empty());
    }
    let outcome = match outcome {
        Ok(()) => Ok(decoder.pending()),
        Err(error) => {
            // It stays, and nothing grows by feeding on.
            let pending = decoder.pending();
            assert_eq!(decoder.feed(stream).next_frame(), Err(error.clone()));
            assert_eq!(decoder.next_pending(), Err(error.clone()));
            assert_eq!(decoder.pending(), pending);
            Err(error)
        }
    };
    if let Ok(pending) = outcome {
        let finished = decoder.finish();
        assert_eq!(finished.is_ok(), pending == 0);
        assert_eq!(decoder.take_pending(), stream[stream.len() - pending..]);
        assert_eq!(decoder.pending(), 0);
    }
    (frames, outcome)
}

/// Feeds one piece, stopping now and then in one of the ways there are.
fn feed_with_pauses(
    decoder: &mut Decoder,
    piece: &[u8],
    frames: &mut Vec<Vec<u8>>,
    draw: &mut Draw<'_>,
) -> Result<(), FrameError> {
    let mut piece = piece;
    loop {
        let budget = match draw.below(4) {
            0 => draw.below(4),
            _ => usize::MAX,
        };
        let mut feed = decoder.feed(piece);
        let mut done = false;
        for _ in 0..budget {
            let Some(frame) = feed.next_frame()? else {
                done = true;
                break;
            };
            let (len, empty) = (frame.len(), frame.is_empty());
            let frame = match frame {
                Frame::Inside(place) => piece[place].to_vec(),
                Frame::Joined(bytes) => bytes.to_vec(),
            };
            assert_eq!((frame.len(), frame.is_empty()), (len, empty));
            frames.push(frame);
        }
        if done || draw.byte() & 3 == 0 {
            // Dropped early the rest is kept: for the next piece, or to be asked for now.
            drop(feed);
            return if draw.yes() {
                drain(decoder, frames)
            } else {
                Ok(())
            };
        }
        let rest = feed.release();
        piece = &piece[rest];
    }
}

fn drain(decoder: &mut Decoder, frames: &mut Vec<Vec<u8>>) -> Result<(), FrameError> {
    while let Some(frame) = decoder.next_pending()? {
        frames.push(frame.to_vec());
    }
    Ok(())
}

/// The whole law: any cut, any pause, the same frames as the slow and obvious way.
pub(crate) fn check_decode(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let spec = draw.good_spec();
    let Ok(framing) = spec.build() else { return };
    // The choices of where to cut and pause come from the same bytes, read a second time.
    let mut second = draw.clone();
    let stream = draw.stream(&spec);
    let cuts = second.cuts(stream.len());
    let expected = spec.decode(&stream);
    assert_eq!(
        decode_in_pieces(&spec, &framing, &stream, &cuts, &mut second),
        expected,
        "{spec:?} {stream:?} {cuts:?}"
    );
    let whole = decode_in_pieces(&spec, &framing, &stream, &[], &mut Draw(&[1; 4]));
    assert_eq!(whole, expected, "{spec:?} {stream:?} in one piece");
}

/// Options are refused exactly when they are wrong, by the name of the one that is.
pub(crate) fn check_options(bytes: &[u8]) {
    let spec = Draw(bytes).any_spec();
    let refused = spec.build().err().map(|error| error.field());
    assert_eq!(refused, spec.wrong_option(), "{spec:?}");
}

/// What is encoded is read back, and what could not be read back is not encoded.
pub(crate) fn check_round_trip(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let spec = draw.good_spec();
    let Ok(framing) = spec.build() else { return };
    let mut wire = Vec::new();
    let mut sent = Vec::new();
    while !draw.is_empty() && wire.len() < 2000 {
        let most = if draw.byte() < 16 { 300 } else { 24 };
        let mut payload = draw.letters(most);
        if let (Spec::Fixed(len), true) = (&spec, draw.yes()) {
            payload.resize(*len, b'f');
        }
        let expected = spec.wire(&payload).filter(|wire| {
            let read_back = spec.read_back(&payload).into_iter().collect();
            let vanishes = matches!(spec, Spec::Raw) && payload.is_empty();
            vanishes || spec.decode(wire) == (read_back, Ok(0))
        });
        let mut joined = Vec::new();
        let appended = framing.encode_into(&payload, &mut joined);
        let encoded = framing.encode(Bytes::from(payload.clone()));
        assert_eq!(appended, encoded.clone().map(drop), "{spec:?} {payload:?}");
        assert_eq!(
            expected.is_some(),
            encoded.is_ok(),
            "{spec:?} {payload:?} {encoded:?}"
        );
        let Some(expected) = expected else {
            assert!(joined.is_empty());
            continue;
        };
        let (header, middle, trailer) = encoded.expect("it was said to fit").into_parts();
        assert_eq!([&header[..], &middle, &trailer].concat(), expected);
        assert_eq!(joined, expected);
        if !expected.is_empty() {
            let place = framing
                .check_frame(&expected)
                .expect("it was made to be one");
            assert_eq!(Some(expected[place].to_vec()), spec.read_back(&payload));
            sent.extend(spec.read_back(&payload));
        }
        wire.extend(expected);
    }
    if let Spec::Raw = spec {
        sent = vec![sent.concat()];
        sent.retain(|frame| !frame.is_empty());
    }
    let mut second = Draw(bytes);
    let cuts = second.cuts(wire.len());
    let back = decode_in_pieces(&spec, &framing, &wire, &cuts, &mut second);
    assert_eq!(back, (sent, Ok(0)), "{spec:?}");
}
