//! Finds, checks and writes message boundaries in a byte stream, without any input or output of
//! its own.
//!
//! TCP keeps bytes in order but not the boundaries between messages: one read may stop inside a
//! header or run three messages ahead. This crate puts the boundaries back. It knows no socket, no
//! clock and no thread, has no `unsafe` and depends on [`bytes`] alone, so it fits under an event
//! loop, a blocking socket or an async runtime alike.
//!
//! ```
//! use socktree_codec::{Decoder, Frame, LengthPrefix};
//!
//! // A length of two bytes, big-endian, and so many bytes of payload.
//! let framing = LengthPrefix::u16_be().strip(true).max_frame(4096).build()?;
//! let mut decoder = Decoder::new(framing.clone());
//!
//! for read in [&b"\0\x05hello\0\x05wo"[..], b"rld"] {
//!     let mut feed = decoder.feed(read);
//!     while let Some(frame) = feed.next_frame()? {
//!         match frame {
//!             Frame::Inside(place) => println!("{:?} lies in what was read", &read[place]),
//!             Frame::Joined(bytes) => println!("{bytes:?} came in pieces"),
//!         }
//!     }
//! }
//! decoder.finish()?; // or: so many bytes of a frame were pending
//!
//! // The other direction writes what this one reads; the payload is not copied.
//! let encoded = framing.encode("hello".into())?;
//! assert_eq!(encoded.header(), [0, 5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which framing
//!
//! Each is a builder that checks its options and says which one is wrong; its page has a diagram.
//!
//! ```text
//! Framing::raw()       | a b c d | e f |              a frame is whatever one read brought
//! Framing::fixed(4)    | a b c d | e f g h |          a frame has so many bytes
//! LengthPrefix         | .. 0 4 .. a b c d | ..       a header says how many, anywhere in it
//! Varint               | 4 a b c d | 2 e f |          a LEB128 integer says how many
//! Delimiter            | a b c d -- | e f -- |        a byte string ends it
//! Lines                | a b c d \n | e f \r \n |     LF or CRLF ends it
//! Framing::custom(..)  | $ 4 \r \n a b c d \r \n |    a Framer of yours says where it ends
//! ```
//!
//! [`LengthPrefix`] covers lengths of 1, 2, 3, 4 or 8 bytes in either order, at any place in a
//! header of any size, counting the header or not, off by a constant, with the header handed out
//! or stripped. It has a table for those who come from the Ergo Framework's `ChunkOptions`.
//! [`Framer`] is for what is not here; it shows netstrings, and `examples/resp.rs` shows the
//! protocol of Redis.
//!
//! A live connection changes its framing with [`Feed::set_framing`], between any two frames, and
//! loses no byte.
//!
//! # Which end to hold it by
//!
//! - [`Decoder`] and [`Framing::encode`] for those who have a read loop. The decoder says where a
//!   frame lies and the caller copies it, slices it or looks at it: [`Frame`] has a method for
//!   each. A loop that has had enough for one turn drops the [`Feed`], or
//!   [releases](Feed::release) the rest, and goes on later.
//! - [`FrameReader`] and [`FrameWriter`] for those who have `std::io::Read` and `Write`.
//!   `examples/lines_tcp.rs` is a service over a plain `TcpStream`.
//! - Under tokio, nothing more is needed: `examples/tokio_stream.rs` reads frames from any
//!   `AsyncRead`, and wraps the same in tokio-util's traits for those who want a `Stream`. An
//!   [`Encoded`] frame is a [`Buf`](bytes::Buf), so `write_all_buf` sends it.
//!
//! # What it costs
//!
//! - A frame that lies in one read is not copied. One that does not is copied once, whatever its
//!   size and however it was cut; where it took many reads, growing its buffer moves at most as
//!   many bytes again.
//! - A header is never believed: at most twice as much memory is set aside as bytes have arrived,
//!   and a frame above [`max_frame`](LengthPrefix::max_frame) - 1 MiB unless said otherwise - is
//!   refused by its header alone.
//! - A [`Decoder`] has at most 64 bytes and owns no memory between two frames.
//! - Whatever a peer sends, a byte costs a constant number of instructions. No input panics.
//!
//! How these are checked, and what it does beside tokio-util in the same program, stands in
//! `docs/codec-measurements.md` of the repository.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod decoder;
mod delimiter;
mod encoded;
mod error;
mod feed;
mod framer;
mod framing;
mod held;
mod lines;
mod prefix;
mod reader;
mod search;
mod varint;
mod writer;

pub use crate::decoder::Decoder;
pub use crate::delimiter::Delimiter;
pub use crate::encoded::{Affix, Encoded};
pub use crate::error::{EncodeError, FrameError, FramingError};
pub use crate::feed::{Feed, Frame};
pub use crate::framer::{Boundary, Framer, Progress};
pub use crate::framing::{DEFAULT_MAX_FRAME, Framing};
pub use crate::lines::Lines;
pub use crate::prefix::LengthPrefix;
pub use crate::reader::{FrameReader, ReadError};
pub use crate::varint::Varint;
pub use crate::writer::{FrameWriter, WriteError};
