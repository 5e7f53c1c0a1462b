//! A framer of one's own: RESP, the protocol of Redis.
//!
//!     cargo run -p socktree-codec --example resp
//!
//! A value is a line (`+OK`, `:42`, `-ERR ..`), a string with its length in front (`$5`), or an
//! array of values (`*2`), nested as deep as one likes. Two numbers are enough to go on where the
//! last look ended: how far that was, and how many values are still to come.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::str::FromStr;

use socktree_codec::{Boundary, Decoder, FrameError, Framer, Framing, Progress};

/// Finds where a RESP value ends. It hands values out whole, so what is sent is a value, too.
#[derive(Debug)]
struct Resp;

/// No value has more elements than this, so the count fits wherever it is kept.
const MOST_ELEMENTS: u32 = 1 << 20;

/// Lines are sizes and short answers.
const LONGEST_LINE: usize = 1024;

impl Framer for Resp {
    fn find(&self, received: &[u8], progress: &mut Progress) -> Result<Boundary, FrameError> {
        // `state` is the number of values that follow the one at `scanned`.
        loop {
            let at = progress.scanned;
            let Some(header) = line(received, at)? else {
                return Ok(Boundary::More { need: 0 });
            };
            let refuse = |expected| FrameError::Refused {
                at: at as u64,
                expected,
            };
            let mut end = at + header.len() + 2;
            match header.split_first() {
                Some((b'+' | b'-' | b':', _)) => {}
                Some((b'$', b"-1") | (b'*', b"-1")) => {}
                Some((b'$', len)) => {
                    let len: usize = number(len).ok_or_else(|| refuse("the length of a string"))?;
                    // The two bytes at its end are believed to be CR and LF, as Redis does.
                    end += len + 2;
                }
                Some((b'*', count)) => {
                    let count: u32 =
                        number(count).ok_or_else(|| refuse("the length of an array"))?;
                    let values = progress.state + count;
                    if values > MOST_ELEMENTS {
                        return Err(refuse("fewer elements"));
                    }
                    progress.state = values;
                }
                _ => return Err(refuse("one of + - : $ *")),
            }
            if progress.state == 0 {
                return Ok(Boundary::Frame {
                    len: end,
                    payload: 0..end,
                });
            }
            if end > received.len() {
                return Ok(Boundary::More { need: end });
            }
            progress.state -= 1;
            progress.scanned = end;
        }
    }
}

/// The first line, without CRLF.
///
/// It is searched from its start each time, so it must not be long: a peer that sends a line byte
/// by byte makes us look at all of it for each.
fn line(received: &[u8], from: usize) -> Result<Option<&[u8]>, FrameError> {
    let bytes = &received[from..];
    let end = bytes
        .iter()
        .take(LONGEST_LINE + 1)
        .position(|byte| *byte == b'\r');
    let refuse = |at: usize, expected| {
        Err(FrameError::Refused {
            at: (from + at) as u64,
            expected,
        })
    };
    match end {
        Some(at) => match bytes.get(at + 1) {
            Some(b'\n') => Ok(Some(&bytes[..at])),
            Some(_) => refuse(at + 1, "LF"),
            None => Ok(None),
        },
        None if bytes.len() > LONGEST_LINE => refuse(LONGEST_LINE, "CR"),
        None => Ok(None),
    }
}

fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    // Nine digits at most: above that every string is above the limit of the framing, too.
    let digits = Some(digits).filter(|digits| (1..10).contains(&digits.len()))?;
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let framing = Framing::custom(Resp, 512 << 20)?;
    let wire = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n*2\r\n:1\r\n$-1\r\n+OK\r\n$5\r\nhello\r\n";
    let values = [
        &b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n*2\r\n:1\r\n$-1\r\n"[..],
        b"+OK\r\n",
        b"$5\r\nhello\r\n",
    ];

    for piece in [1, 2, 7, wire.len()] {
        let mut decoder = Decoder::new(framing.clone());
        let mut received = Vec::new();
        for read in wire.chunks(piece) {
            let mut feed = decoder.feed(read);
            while let Some(frame) = feed.next_frame()? {
                received.push(frame.copied(read));
            }
        }
        decoder.finish()?;
        assert_eq!(received, values);
        println!("in pieces of {piece}: {received:?}");
    }

    // The same answers go out; what is not exactly one value does not.
    assert!(framing.check_frame(b"+OK\r\n").is_ok());
    assert!(framing.check_frame(b"+OK\r\n+OK\r\n").is_err());
    assert!(framing.check_frame(b"hello\r\n").is_err());
    Ok(())
}
