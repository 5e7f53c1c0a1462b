//! The adapters for `std::io`: short reads and writes, interruptions, and what is left over.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};

use socktree_codec::{
    EncodeError, FrameError, FrameReader, FrameWriter, Framing, LengthPrefix, Lines, ReadError,
    WriteError,
};

/// What each call does in turn: so many bytes, or an error.
#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Result<usize, ErrorKind>>,
    bytes: Vec<u8>,
}

impl Script {
    fn new(steps: &[Result<usize, ErrorKind>], bytes: &[u8]) -> Self {
        Self {
            steps: steps.iter().copied().collect(),
            bytes: bytes.to_vec(),
        }
    }

    fn step(&mut self) -> io::Result<usize> {
        self.steps
            .pop_front()
            .unwrap_or(Ok(usize::MAX))
            .map_err(io::Error::from)
    }
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.step()?.min(into.len()).min(self.bytes.len());
        into[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        Ok(count)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.step()?.min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write(&joined)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn u16_stripped() -> Framing {
    LengthPrefix::u16_be()
        .strip(true)
        .build()
        .expect("nothing is wrong with it")
}

#[test]
fn reads_across_short_reads_interruptions_and_timeouts() {
    let steps = [
        Ok(1),
        Err(ErrorKind::Interrupted),
        Ok(2),
        Err(ErrorKind::WouldBlock),
        Ok(4),
    ];
    let source = Script::new(&steps, b"\0\x03abc\0\0\0\x01d");
    let mut reader = FrameReader::new(source, u16_stripped());
    let blocked = reader.next_frame().unwrap_err();
    assert!(matches!(blocked, ReadError::Io(ref error) if error.kind() == ErrorKind::WouldBlock));
    assert_eq!(blocked.to_string(), "cannot read");
    assert!(
        blocked
            .source()
            .is_some_and(|source| source.is::<io::Error>())
    );
    assert_eq!(io::Error::from(blocked).kind(), ErrorKind::WouldBlock);
    for expected in ["abc", "", "d"] {
        assert_eq!(reader.next_frame().unwrap().unwrap(), expected);
    }
    assert!(reader.next_frame().unwrap().is_none());
    assert!(reader.next_frame().unwrap().is_none());
}

#[test]
fn the_end_inside_a_frame_is_an_error() {
    let mut reader = FrameReader::new(&b"\0\x03ab"[..], u16_stripped());
    let error = reader.next_frame().unwrap_err();
    assert!(matches!(
        error,
        ReadError::Frame(FrameError::UnexpectedEof { pending: 4 })
    ));
    assert_eq!(error.to_string(), "cannot find the next frame");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_not_frames_is_an_error_that_stays() {
    let framing = LengthPrefix::u16_be().counts_header(true).build().unwrap();
    let mut reader = FrameReader::new(&b"\0\x02\0\x01"[..], framing);
    assert_eq!(reader.next_frame().unwrap().unwrap(), &b"\0\x02"[..]);
    for _ in 0..3 {
        let error = reader.next_frame().unwrap_err();
        assert!(
            error
                .source()
                .is_some_and(|source| source.is::<FrameError>())
        );
        assert_eq!(io::Error::from(error).kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn large_frames_share_the_block_and_small_ones_do_not() {
    let sizes = [100, 20_000, 3, 30_000, 60_000, 200_000, 1];
    let mut wire = Vec::new();
    for size in sizes {
        wire.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
        wire.resize(wire.len() + size, b'x');
    }
    let framing = LengthPrefix::u32_be().strip(true).build().unwrap();
    let frames: Vec<_> = FrameReader::new(&wire[..], framing)
        .collect::<Result<_, _>>()
        .expect("whole frames");
    assert_eq!(
        frames.iter().map(|frame| frame.len()).collect::<Vec<_>>(),
        sizes
    );
    assert!(
        frames
            .iter()
            .all(|frame| frame.iter().all(|byte| *byte == b'x'))
    );
}

#[test]
fn the_framing_changes_and_the_rest_goes_elsewhere() {
    let mut reader = FrameReader::new(
        &b"line\n\0\x01a\0\x05rest"[..],
        Lines::new().build().unwrap(),
    );
    assert_eq!(reader.next_frame().unwrap().unwrap(), "line");
    reader.set_framing(u16_stripped());
    assert_eq!(reader.next_frame().unwrap().unwrap(), "a");
    assert!(format!("{reader:?}").starts_with("FrameReader { source: []"));
    assert_eq!(reader.get_ref().len(), 0);
    let (_, pending) = reader.into_parts();
    assert_eq!(pending, &b"\0\x05rest"[..]);

    let mut reader = FrameReader::new(Script::new(&[Ok(3), Ok(9)], b"abcd\n"), u16_stripped());
    assert!(reader.next_frame().is_err());
    assert_eq!(reader.into_parts().1, "abcd\n");
}

#[test]
fn writes_on_where_a_write_ended() {
    let steps = [
        Ok(1),
        Err(ErrorKind::Interrupted),
        Ok(3),
        Err(ErrorKind::WouldBlock),
        Ok(1),
        Ok(9),
    ];
    let mut writer = FrameWriter::new(Script::new(&steps, b""), Lines::new().build().unwrap());
    let blocked = writer.write_frame("hello").unwrap_err();
    assert_eq!(blocked.to_string(), "cannot write");
    assert_eq!(io::Error::from(blocked).kind(), ErrorKind::WouldBlock);
    writer.set_framing(u16_stripped());
    writer.write_frame("x").unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.get_ref().bytes, b"hello\n\0\x01x");
}

#[test]
fn a_refused_payload_leaves_no_trace_and_a_dead_sink_is_told() {
    let mut writer = FrameWriter::new(Script::new(&[Ok(0)], b""), Lines::new().build().unwrap());
    let refused = writer.write_frame("a\nb").unwrap_err();
    assert!(matches!(
        refused,
        WriteError::Encode(EncodeError::ContainsDelimiter { at: 1 })
    ));
    assert_eq!(refused.to_string(), "cannot make a frame");
    assert!(
        refused
            .source()
            .is_some_and(|source| source.is::<EncodeError>())
    );
    assert_eq!(io::Error::from(refused).kind(), ErrorKind::InvalidInput);
    let dead = writer.write_frame("a").unwrap_err();
    assert!(dead.source().is_some());
    assert_eq!(io::Error::from(dead).kind(), ErrorKind::WriteZero);
    assert_eq!(writer.into_inner().bytes, b"");
}
