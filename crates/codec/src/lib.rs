//! Finds, checks and writes message boundaries in a byte stream, without any input or output of
//! its own.
#![forbid(unsafe_code)]

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
