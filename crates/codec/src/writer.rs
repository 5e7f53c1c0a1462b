//! Frames to anything that writes.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

use crate::{EncodeError, Encoded, Framing};

/// Writes frames to anything that writes.
///
/// A frame leaves in one vectored write, its payload not copied. For many small frames put a
/// [`BufWriter`](std::io::BufWriter) in between and [`flush`](Self::flush) when the burst is over.
///
/// # Examples
///
/// ```
/// use socktree_codec::{FrameWriter, LengthPrefix};
///
/// let mut writer = FrameWriter::new(Vec::new(), LengthPrefix::u16_be().build()?);
/// writer.write_frame("hello")?;
/// writer.write_frame(vec![1, 2, 3])?;
/// assert_eq!(writer.into_inner(), b"\0\x05hello\0\x03\x01\x02\x03");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrameWriter<W> {
    sink: W,
    framing: Framing,
    /// What is left of a frame whose writing failed half-way.
    unsent: Option<Encoded>,
}

impl<W: Write> FrameWriter<W> {
    /// Writes frames of `framing` to `sink`.
    #[must_use]
    pub fn new(sink: W, framing: Framing) -> Self {
        Self {
            sink,
            framing,
            unsent: None,
        }
    }

    /// Writes one frame around `payload`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Encode`] if the payload does not fit the framing; nothing was written.
    /// [`WriteError::Io`] if the sink failed. After `WouldBlock` or a timeout the frame counts as
    /// accepted: call [`flush`](Self::flush) until it succeeds, or write on, which does so first.
    pub fn write_frame(&mut self, payload: impl Into<Bytes>) -> Result<(), WriteError> {
        let frame = self.framing.encode(payload.into())?;
        self.finish_frame()?;
        self.unsent = Some(frame);
        Ok(self.finish_frame()?)
    }

    /// Writes what is left of a frame, and flushes the sink.
    ///
    /// # Errors
    ///
    /// What the sink reports.
    pub fn flush(&mut self) -> io::Result<()> {
        self.finish_frame()?;
        self.sink.flush()
    }

    fn finish_frame(&mut self) -> io::Result<()> {
        while let Some(frame) = self.unsent.as_mut().filter(|frame| !frame.is_empty()) {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = frame.chunks_vectored(&mut slices);
            match self.sink.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => frame.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent = None;
        Ok(())
    }

    /// Goes on with another framing, from the next frame on.
    pub fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// The sink, for its settings; writing to it would tear a frame.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// Gives up the sink. What was not flushed is lost.
    pub fn into_inner(self) -> W {
        self.sink
    }
}

/// Says why a frame was not written.
///
/// # Examples
///
/// ```
/// use socktree_codec::{FrameWriter, LengthPrefix, WriteError};
///
/// let mut sink = FrameWriter::new(Vec::new(), LengthPrefix::u8().build()?);
/// match sink.write_frame(vec![7; 256]) {
///     Err(WriteError::Encode(error)) => {
///         assert_eq!(error.to_string(), "the length 256 does not fit a field of 1 bytes");
///     }
///     other => panic!("{other:?}"),
/// }
/// assert!(sink.into_inner().is_empty()); // nothing was written of it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The sink failed.
    Io(io::Error),
    /// The payload does not fit the framing.
    Encode(EncodeError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io(_) => "cannot write",
            Self::Encode(_) => "cannot make a frame",
        })
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Encode(error) => Some(error),
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => error,
            WriteError::Encode(error) => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}
