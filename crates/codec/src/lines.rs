//! Frames that are lines of text.

use std::fmt;

use crate::framing::{DEFAULT_MAX_FRAME, Rules, check_max};
use crate::search::find_byte;
use crate::{Affix, Boundary, EncodeError, FrameError, Framing, FramingError, Progress};

/// Builds the framing of lines, which end with LF or CRLF as the peer likes.
///
/// ```text
///            |<- line ->|    |<- line ->|
///  stream    | G E T  / | \n | H o s t  | \r \n | . . .
/// ```
///
/// A line is bytes, not text: nothing is decoded. For a protocol that takes CRLF alone, so that a
/// lone LF is content, use [`Delimiter::new(b"\r\n")`](crate::Delimiter::new). A last line that
/// nothing ends is an error of [`finish`](crate::Decoder::finish), and
/// [`take_pending`](crate::Decoder::take_pending) hands it out.
///
/// # Examples
///
/// ```
/// use socktree_codec::{Decoder, Lines};
///
/// let mut decoder = Decoder::new(Lines::new().max_frame(8192).build()?);
/// let wire = b"one\ntwo\r\n\nrest";
/// let mut feed = decoder.feed(wire);
/// let mut lines = Vec::new();
/// while let Some(frame) = feed.next_frame()? {
///     lines.push(frame.copied(wire));
/// }
/// assert_eq!(lines, ["one", "two", ""]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `build` makes a framing of them"]
pub struct Lines {
    crlf: bool,
    keep: bool,
    max: usize,
}

impl Lines {
    /// Lines that are read with either ending and written with LF.
    pub fn new() -> Self {
        Self {
            crlf: false,
            keep: false,
            max: DEFAULT_MAX_FRAME,
        }
    }

    /// Whether lines are written with CRLF; they are read with either ending anyway.
    pub fn crlf(mut self, crlf: bool) -> Self {
        self.crlf = crlf;
        self
    }

    /// Whether lines are handed out with their ending.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The most bytes a line may have in all, ending included; 1 MiB if not said.
    pub fn max_frame(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Lets a line go on until its ending comes, if ever.
    pub fn unlimited(self) -> Self {
        self.max_frame(usize::MAX)
    }

    /// Checks the options and makes a framing of them.
    ///
    /// # Errors
    ///
    /// [`FramingError`] if `max_frame` is too small for the ending alone.
    pub fn build(&self) -> Result<Framing, FramingError> {
        let &Self { crlf, keep, max } = self;
        let minimum = ending(crlf).len();
        if max < minimum {
            return Err(FramingError::MaxBelowMinimum { max, minimum });
        }
        Ok(Framing::from_rules(Rules::Lines(LinesRules {
            crlf,
            keep,
            max,
        })))
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<Lines> for Framing {
    type Error = FramingError;

    fn try_from(options: Lines) -> Result<Self, FramingError> {
        options.build()
    }
}

pub(crate) struct LinesRules {
    crlf: bool,
    keep: bool,
    pub(crate) max: usize,
}

impl LinesRules {
    #[inline(never)]
    pub(crate) fn find(
        &self,
        received: &[u8],
        progress: &mut Progress,
    ) -> Result<Boundary, FrameError> {
        let reach = received.len().min(self.max);
        let unseen = received[..reach]
            .get(progress.scanned..)
            .unwrap_or_default();
        let Some(at) = find_byte(unseen, b'\n') else {
            if reach == self.max {
                let max = self.max as u64;
                return Err(FrameError::TooLarge {
                    len: max.saturating_add(1),
                    max,
                });
            }
            progress.scanned = reach;
            return Ok(Boundary::More { need: 0 });
        };
        let end = progress.scanned + at;
        let len = end + 1;
        let end = match received[..end].last() {
            _ if self.keep => len,
            Some(b'\r') => end - 1,
            _ => end,
        };
        Ok(Boundary::Frame {
            len,
            payload: 0..end,
        })
    }

    #[inline]
    pub(crate) fn trailer(&self, payload: &[u8]) -> Result<Affix, EncodeError> {
        if let Some(at) = find_byte(payload, b'\n') {
            return Err(EncodeError::ContainsDelimiter { at });
        }
        // The reader would take a CR at the end of the line for half of the ending.
        if let (Some(b'\r'), false, false) = (payload.last(), self.crlf, self.keep) {
            return Err(EncodeError::ContainsDelimiter {
                at: payload.len() - 1,
            });
        }
        let ending = ending(self.crlf);
        check_max(payload.len() + ending.len(), self.max)?;
        Ok(Affix::new(ending))
    }
}

impl fmt::Debug for LinesRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("crlf", &self.crlf)
            .field("keep", &self.keep)
            .field("max_frame", &self.max)
            .finish()
    }
}

fn ending(crlf: bool) -> &'static [u8] {
    if crlf { b"\r\n" } else { b"\n" }
}
