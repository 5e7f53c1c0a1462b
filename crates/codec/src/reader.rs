//! Frames from anything that reads.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::ops::Range;

use bytes::Bytes;

use crate::{Decoder, Frame, FrameError, Framing};

/// How much one read may bring.
const BLOCK: usize = 64 * 1024;

/// Frames shorter than this are copied out, so that they do not keep a whole block alive.
const COPY_BELOW: usize = BLOCK / 4;

/// Reads frames from anything that reads: a socket, a file, a pipe.
///
/// It reads up to 64 KiB at a time, so `source` needs no buffer of its own.
///
/// # Examples
///
/// ```
/// use socktree_codec::{FrameReader, Lines};
///
/// let source = &b"one\ntwo\r\n"[..];
/// let reader = FrameReader::new(source, Lines::new().build()?);
/// let lines = reader.collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(lines, ["one", "two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FrameReader<R> {
    source: R,
    decoder: Decoder,
    block: Block,
    /// The part of the block that the decoder has not seen.
    rest: Range<usize>,
}

enum Block {
    /// Whole and writable, or not yet allocated.
    Own(Vec<u8>),
    /// Sliced: somebody keeps a large frame of it.
    Shared(Bytes),
}

impl<R: Read> FrameReader<R> {
    /// Reads frames of `framing` from `source`.
    #[must_use]
    pub fn new(source: R, framing: Framing) -> Self {
        let decoder = Decoder::new(framing);
        Self {
            source,
            decoder,
            block: Block::Own(Vec::new()),
            rest: 0..0,
        }
    }

    /// Reads until a frame is complete.
    ///
    /// `None` at the end of the stream, if it ended between two frames.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if the source failed. Nothing is lost by it: after `WouldBlock` or a
    /// timeout call again. [`ReadError::Frame`] if the stream is no longer frames, or ended
    /// inside one.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(frame) = self.received()? {
                return Ok(Some(frame));
            }
            match self.source.read(self.block.writable()) {
                Ok(0) => return Ok(self.decoder.finish().map(|()| None)?),
                Ok(count) => self.rest = 0..count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next frame of what has been read.
    fn received(&mut self) -> Result<Option<Bytes>, FrameError> {
        let from = self.rest.start;
        let mut feed = self.decoder.feed(&self.block.bytes()[self.rest.clone()]);
        let frame = feed.next_frame();
        let rest = feed.release();
        self.rest = from + rest.start..from + rest.end;
        Ok(frame?.map(|frame| match frame {
            Frame::Inside(place) => self.block.take(from + place.start..from + place.end),
            Frame::Joined(bytes) => bytes,
        }))
    }

    /// Goes on with another framing, from the first byte that was not handed out.
    pub fn set_framing(&mut self, framing: Framing) {
        self.decoder.set_framing(framing);
    }

    /// The source, for its settings; reading from it would tear a hole.
    pub fn get_ref(&self) -> &R {
        &self.source
    }

    /// Gives up the source, and the bytes read from it that were not handed out.
    #[must_use = "the bytes are in no other place"]
    pub fn into_parts(mut self) -> (R, Bytes) {
        let held = self.decoder.take_pending();
        let rest = &self.block.bytes()[self.rest];
        let pending = if rest.is_empty() {
            held
        } else {
            [&held, rest].concat().into()
        };
        (self.source, pending)
    }
}

impl<R: Read> Iterator for FrameReader<R> {
    type Item = Result<Bytes, ReadError>;

    /// As [`next_frame`](FrameReader::next_frame). Stop at an error: the same one would follow.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

impl<R: fmt::Debug> fmt::Debug for FrameReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("source", &self.source)
            .field("decoder", &self.decoder)
            .field("unseen", &self.rest.len())
            .finish_non_exhaustive()
    }
}

impl Block {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(block) => block,
            Self::Shared(bytes) => bytes,
        }
    }

    /// All of it, for the next read; a new one if somebody keeps the old one.
    fn writable(&mut self) -> &mut [u8] {
        if self.bytes().is_empty() || matches!(self, Self::Shared(_)) {
            *self = Self::Own(vec![0; BLOCK]);
        }
        match self {
            Self::Own(block) => block,
            Self::Shared(_) => &mut [],
        }
    }

    fn take(&mut self, place: Range<usize>) -> Bytes {
        if place.len() < COPY_BELOW {
            return Bytes::copy_from_slice(&self.bytes()[place]);
        }
        let shared = match mem::replace(self, Self::Own(Vec::new())) {
            Self::Own(block) => Bytes::from(block),
            Self::Shared(bytes) => bytes,
        };
        let frame = shared.slice(place);
        *self = Self::Shared(shared);
        frame
    }
}

/// Says why no further frame can be read.
///
/// # Examples
///
/// ```
/// use socktree_codec::{FrameError, FrameReader, Framing, ReadError};
///
/// let mut frames = FrameReader::new(&b"abcde"[..], Framing::fixed(4)?);
/// assert_eq!(frames.next().unwrap()?, "abcd");
/// match frames.next() {
///     Some(Err(ReadError::Frame(FrameError::UnexpectedEof { pending }))) => assert_eq!(pending, 1),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The source failed.
    Io(io::Error),
    /// What it brought is not frames.
    Frame(FrameError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io(_) => "cannot read",
            Self::Frame(_) => "cannot find the next frame",
        })
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Frame(error) => Some(error),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            ReadError::Frame(error @ FrameError::UnexpectedEof { .. }) => {
                Self::new(io::ErrorKind::UnexpectedEof, error)
            }
            ReadError::Frame(error) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
