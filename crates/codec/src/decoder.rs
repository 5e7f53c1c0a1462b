//! The state of one stream that is being cut into frames.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::framing::Whole;
use crate::held::Held;
use crate::{Boundary, Feed, Frame, FrameError, Framing, Progress};

/// Cuts one stream of bytes into frames.
///
/// Keep one for each connection and [`feed`](Self::feed) it whatever a read brought. A decoder
/// that waits between two frames owns no memory but itself, and it has at most 64 bytes: ten
/// thousand idle connections cost 640 kB.
///
/// ```text
///             read                    read                    read
///    |---------------------|-----------------------|------------------------|
///    | frame A | frame B | fra            me C     | frame D |
///         |         |       `----- kept ----'           |
///      Inside    Inside          Joined              Inside
/// ```
///
/// What lies wholly in one read is reported as a [place in it](Frame::Inside) and not touched.
/// What does not is kept, each byte copied once, and handed out [joined](Frame::Joined). Memory is
/// set aside only for bytes that have arrived, at most twice as much, whatever a header announces.
///
/// # Examples
///
/// ```
/// use socktree_codec::{Decoder, Frame, LengthPrefix};
///
/// let mut decoder = Decoder::new(LengthPrefix::u8().strip(true).build()?);
/// let mut messages = Vec::new();
/// for read in [&b"\x02hi\x05he"[..], b"llo\x03by", b"e"] {
///     let mut feed = decoder.feed(read);
///     while let Some(frame) = feed.next_frame()? {
///         messages.push(match frame {
///             Frame::Inside(place) => read[place].to_vec(),
///             Frame::Joined(bytes) => bytes.to_vec(),
///         });
///     }
/// }
/// decoder.finish()?; // nothing is left over
/// assert_eq!(messages, [&b"hi"[..], b"hello", b"bye"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Decoder {
    pub(crate) search: Search,
    pub(crate) held: Held,
    /// With fewer bytes than this held, the frame they start is known to be incomplete.
    need: usize,
}

/// The search for the end of the frame that starts at the first byte held, or else to come.
pub(crate) struct Search {
    framing: Framing,
    /// The two fields of a [`Progress`]; apart, because in one piece they do not leave room for
    /// `failed` within the 64 bytes of a decoder.
    scanned: usize,
    state: u32,
    /// The boundary is lost.
    pub(crate) failed: bool,
}

impl Decoder {
    /// Starts a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let search = Search {
            framing,
            scanned: 0,
            state: 0,
            failed: false,
        };
        Self {
            search,
            held: Held::default(),
            need: 0,
        }
    }

    /// Takes what a read brought and hands out its frames one by one.
    ///
    /// `input` is anything that shows bytes: `&[u8]`, `Bytes`, or a read buffer of yours by
    /// `&mut`, which [`Feed::input_mut`] lends back between two frames.
    ///
    /// Stopping early loses nothing: what the feed has not handed out when it is dropped is kept
    /// and comes first next time, by [`next_pending`](Self::next_pending) or from the next feed.
    ///
    /// After an error the input is dropped unread: a stream without boundaries must not grow.
    #[inline]
    #[must_use = "frames are found as they are asked for"]
    pub fn feed<B: AsRef<[u8]>>(&mut self, input: B) -> Feed<'_, B> {
        Feed::new(self, input)
    }

    /// Hands out the next frame of what was kept by a feed that was dropped early.
    ///
    /// # Errors
    ///
    /// As [`Feed::next_frame`].
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_codec::{Decoder, Framing};
    ///
    /// let mut decoder = Decoder::new(Framing::fixed(2)?);
    /// let mut feed = decoder.feed(b"aabbc");
    /// feed.next_frame()?; // "aa"; enough for now
    /// drop(feed);
    /// assert_eq!(decoder.pending(), 3);
    /// assert_eq!(decoder.next_pending()?.unwrap(), "bb");
    /// assert_eq!(decoder.next_pending()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_pending(&mut self) -> Result<Option<Bytes>, FrameError> {
        let nothing: &[u8] = &[];
        match self.feed(nothing).next_frame()? {
            Some(Frame::Joined(bytes)) => Ok(Some(bytes)),
            // Nothing can lie inside of nothing.
            Some(Frame::Inside(_)) | None => Ok(None),
        }
    }

    /// How many bytes have been received and not yet been handed out.
    #[must_use]
    #[inline]
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    /// Takes out the bytes that were received and not handed out, frame or no frame.
    ///
    /// For a stream that goes on as something else, and for what an unfinished last line holds.
    #[must_use = "the bytes are in no other place"]
    pub fn take_pending(&mut self) -> Bytes {
        self.need = 0;
        self.search.restart();
        self.held.take_all()
    }

    /// Says that the stream has ended.
    ///
    /// Ask [`next_pending`](Self::next_pending) first if frames may have been left behind.
    ///
    /// # Errors
    ///
    /// [`FrameError::UnexpectedEof`], with their number, if bytes are left over.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.pending() {
            0 => Ok(()),
            pending => Err(FrameError::UnexpectedEof { pending }),
        }
    }

    /// The framing in force.
    #[must_use]
    pub fn framing(&self) -> &Framing {
        &self.search.framing
    }

    /// Goes on with another framing, from the first byte that was not handed out.
    ///
    /// For protocols that change after a greeting: lines first, then binary. No byte received is
    /// lost. Inside a feed, use [`Feed::set_framing`]. An error of the old framing is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// use socktree_codec::{Decoder, LengthPrefix, Lines};
    ///
    /// let mut decoder = Decoder::new(Lines::new().build()?);
    /// let mut feed = decoder.feed(b"binary please\n\x02ok\x03");
    /// assert_eq!(feed.next_frame()?.unwrap().range(), Some(0..13));
    /// feed.set_framing(LengthPrefix::u8().strip(true).build()?);
    /// assert_eq!(feed.next_frame()?.unwrap().range(), Some(15..17));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_framing(&mut self, framing: Framing) {
        self.need = 0;
        self.search.framing = framing;
        self.search.restart();
    }

    /// Keeps what was not asked for.
    #[cold]
    pub(crate) fn keep_rest(&mut self, rest: &[u8]) {
        if self.held.is_empty() {
            self.need = 0;
        }
        self.held.keep(rest);
    }

    /// Keeps one more piece of a frame that it does not complete, if that is what it is.
    ///
    /// The common case of a stream that drips: there is nothing to look at yet. Where the piece
    /// does not fit the memory there is, [`next_frame`](Self::next_frame) makes room.
    #[inline]
    pub(crate) fn hold_drip(&mut self, piece: &[u8]) -> bool {
        self.held.drip(piece, self.need)
    }

    /// Keeps the first piece of a frame, if it is too short to say anything about it.
    #[inline]
    pub(crate) fn hold_start(&mut self, piece: &[u8]) -> bool {
        let least = self.search.framing.least();
        let short = piece.len() < least;
        if short {
            self.need = least;
            self.held.append(piece, least);
        }
        short
    }

    /// Finds the next frame by all means; `fresh` is the input from `at` on.
    ///
    /// Out of line and compiled once: what is common was tried before, where it is inlined.
    #[inline(never)]
    pub(crate) fn next_frame(
        &mut self,
        fresh: &[u8],
        at: &mut usize,
    ) -> Result<Option<Frame>, FrameError> {
        if !self.held.is_empty() {
            return self.next_held(fresh, at);
        }
        let (need, room) = match self.search.find(fresh)? {
            Boundary::Frame { len, payload } if len <= fresh.len() => {
                let place = *at + payload.start..*at + payload.end;
                *at += len;
                return Ok(Some(Frame::Inside(place)));
            }
            Boundary::Frame { len: need, .. } | Boundary::More { need } if need > fresh.len() => {
                (need, need)
            }
            _ => (fresh.len() + 1, usize::MAX),
        };
        self.need = need;
        self.held.append(fresh, room);
        *at += fresh.len();
        Ok(None)
    }

    /// Looks for a frame in what is held, taking from `fresh` only what that frame needs.
    fn next_held(&mut self, fresh: &[u8], at: &mut usize) -> Result<Option<Frame>, FrameError> {
        let missing = self.need.saturating_sub(self.held.len());
        let mut used = missing.min(fresh.len());
        // One byte missing is what a search says that cannot tell: then room for more is no waste.
        let room = if missing == 1 { usize::MAX } else { self.need };
        self.held.append(&fresh[..used], room);
        if used < missing {
            *at += used;
            return Ok(None);
        }
        if let Some(Whole { start, len }) = self.search.whole_frame(self.held.as_slice()) {
            return Ok(Some(self.take(len, start..len, used, at)));
        }
        loop {
            let have = self.held.len();
            let (piece, room) = match self.search.find(self.held.as_slice()) {
                Ok(Boundary::Frame { len, payload }) if len <= have => {
                    return Ok(Some(self.take(len, payload, used, at)));
                }
                Ok(Boundary::Frame { len: need, .. } | Boundary::More { need }) if need > have => {
                    self.need = need;
                    (need - have, need)
                }
                Ok(_) => {
                    // Only looking will tell: as much again as is there, so that no byte is
                    // copied in vain more than once.
                    self.need = have + 1;
                    (have.max(64), usize::MAX)
                }
                Err(error) => {
                    self.need = 0;
                    *at += used;
                    return Err(error);
                }
            };
            self.held.shift();
            let more = &fresh[used..];
            let more = &more[..piece.min(more.len())];
            if !more.is_empty() {
                self.held.append(more, room);
                used += more.len();
            }
            if self.held.len() < self.need {
                *at += used;
                return Ok(None);
            }
        }
    }

    /// Hands out the frame at the start of what is held, of which `used` bytes are fresh.
    fn take(&mut self, len: usize, payload: Range<usize>, used: usize, at: &mut usize) -> Frame {
        // Bytes taken to search for the end that turn out to lie behind it go back.
        let beyond = (self.held.len() - len).min(used);
        if beyond > 0 {
            self.held.shorten(beyond);
        }
        *at += used - beyond;
        self.need = 0;
        Frame::Joined(self.held.take(len, payload))
    }
}

impl Search {
    /// Finds the frame at the start of `received`, of which nothing came before, if it is there.
    #[inline]
    pub(crate) fn whole_frame(&self, received: &[u8]) -> Option<Whole> {
        self.framing.whole_frame(received)
    }

    /// Finds the end of the frame that starts at the first byte of `received`.
    ///
    /// If it is there the next search is for the next frame. An error is found again, from the
    /// same bytes.
    #[inline]
    pub(crate) fn find(&mut self, received: &[u8]) -> Result<Boundary, FrameError> {
        let mut progress = Progress {
            scanned: self.scanned,
            state: self.state,
        };
        let boundary = self.framing.find(received, &mut progress);
        match &boundary {
            Ok(Boundary::Frame { len, .. }) if *len <= received.len() => {
                progress = Progress::default();
            }
            Ok(_) => {}
            Err(_) => {
                self.failed = true;
                progress = Progress::default();
            }
        }
        (self.scanned, self.state) = (progress.scanned, progress.state);
        boundary
    }

    pub(crate) fn restart(&mut self) {
        (self.scanned, self.state, self.failed) = (0, 0, false);
    }
}

impl From<Framing> for Decoder {
    fn from(framing: Framing) -> Self {
        Self::new(framing)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("framing", &self.search.framing)
            .field("pending", &self.pending())
            .field("failed", &self.search.failed)
            .finish_non_exhaustive()
    }
}
