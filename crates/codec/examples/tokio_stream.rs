//! The codec under tokio, which it does not depend on: two ways.
//!
//!     cargo run -p socktree-codec --example tokio_stream
//!
//! By hand over anything that is `AsyncRead`, and as a `Decoder` and `Encoder` of tokio-util, which
//! then make a `Stream` and a `Sink`. A pipe in memory stands for the socket.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;

use bytes::{Bytes, BytesMut};
use socktree_codec::{Decoder, Framing, LengthPrefix, Varint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::{Decoder as TokioDecoder, Encoder as TokioEncoder};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    by_hand().await?;
    as_codec()
}

/// Read, feed, take; the buffer is used again when its frames have been dropped.
async fn read_frames(
    mut source: impl AsyncRead + Unpin,
    framing: Framing,
    mut handle: impl FnMut(Bytes),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut decoder = Decoder::new(framing);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(64 * 1024);
        if source.read_buf(&mut buffer).await? == 0 {
            return Ok(decoder.finish()?);
        }
        let block = buffer.split().freeze();
        let mut feed = decoder.feed(&block);
        while let Some(frame) = feed.next_frame()? {
            handle(frame.sliced(&block));
        }
    }
}

async fn by_hand() -> Result<(), Box<dyn std::error::Error>> {
    let framing = LengthPrefix::u16_be().strip(true).build()?;
    // A pipe of seven bytes: frames arrive in pieces.
    let (mut client, server) = tokio::io::duplex(7);
    let writer = framing.clone();
    let write = async move {
        for word in ["one", "two", "a somewhat longer one"] {
            let mut frame = writer.encode(Bytes::from_static(word.as_bytes()))?;
            client.write_all_buf(&mut frame).await?; // a frame is a `Buf`
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let mut received = Vec::new();
    let read = read_frames(server, framing, |frame| received.push(frame));
    let (written, read) = tokio::join!(write, read);
    written?;
    read?;
    println!("by hand: {received:?}");
    assert_eq!(received, ["one", "two", "a somewhat longer one"]);
    Ok(())
}

/// What `tokio_util::codec::Framed` wants.
struct Codec {
    decoder: Decoder,
    framing: Framing,
}

impl TokioDecoder for Codec {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let block = src.split().freeze();
        let mut feed = self.decoder.feed(&block);
        let frame = feed.next_frame().map_err(io::Error::other)?;
        // What was not taken stays in the decoder; `Framed` calls again until there is no more.
        Ok(frame.map(|frame| frame.sliced(&block)))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let frame = self.decode(src)?;
        if frame.is_none() {
            self.decoder.finish().map_err(io::Error::other)?;
        }
        Ok(frame)
    }
}

impl TokioEncoder<Bytes> for Codec {
    type Error = io::Error;

    fn encode(&mut self, payload: Bytes, dst: &mut BytesMut) -> io::Result<()> {
        self.framing
            .encode_into(&payload, dst)
            .map_err(io::Error::other)
    }
}

fn as_codec() -> Result<(), Box<dyn std::error::Error>> {
    let framing = Varint::new().strip(true).build()?;
    let mut codec = Codec {
        decoder: Decoder::new(framing.clone()),
        framing,
    };
    let mut wire = BytesMut::new();
    codec.encode(Bytes::from_static(b"first"), &mut wire)?;
    codec.encode(Bytes::from_static(b"second"), &mut wire)?;
    let mut received = Vec::new();
    while let Some(frame) = codec.decode_eof(&mut wire)? {
        received.push(frame);
    }
    println!("as a codec: {received:?}");
    assert_eq!(received, ["first", "second"]);
    Ok(())
}
