//! One way of decoding a mebibyte, for counting its instructions under callgrind.
//!
//! `benches/instructions.sh` runs it and makes a table: machines differ in what they do in a
//! nanosecond and neighbours disturb it, but a program executes the instructions it executes.
//!
//! Arguments: `read size`, `payload size`, `how often`, and `copied`, `sliced` or `tokio-util`.
#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]

use std::env;
use std::hint::black_box;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use socktree_codec::{Decoder, Frame, LengthPrefix};
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

fn main() {
    let arguments: Vec<String> = env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    let [_, read, payload, times, how] = &arguments[..] else {
        println!("see benches/instructions.sh");
        return;
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let (read, payload, times) = (number(read), number(payload), number(times));
    let mut stream = Vec::new();
    while stream.len() < 1 << 20 {
        stream.put_u32(u32::try_from(payload).expect("a size below 4 GiB"));
        stream.resize(stream.len() + payload, 7);
    }
    let stream = Bytes::from(stream);
    for _ in 0..times {
        match &how[..] {
            "copied" => socktree(&stream, read, |all, place| {
                Bytes::copy_from_slice(&all[place])
            }),
            "sliced" => socktree(&stream, read, |all, place| all.slice(place)),
            _ => tokio_util(&stream, read),
        }
    }
    println!("{}", stream.len());
}

/// Reads are slices of the stream: handing them over costs nothing, in place of the system call.
fn socktree(stream: &Bytes, read: usize, take: impl Fn(&Bytes, Range<usize>) -> Bytes) {
    let framing = LengthPrefix::u32_be()
        .strip(true)
        .build()
        .expect("the options are right");
    let mut decoder = Decoder::new(framing);
    for (number, chunk) in stream.chunks(read).enumerate() {
        let mut feed = decoder.feed(black_box(chunk));
        while let Some(frame) = feed.next_frame().expect("whole frames") {
            let at = number * read;
            black_box(match frame {
                Frame::Inside(place) => take(stream, at + place.start..at + place.end),
                Frame::Joined(bytes) => bytes,
            });
        }
    }
    decoder.finish().expect("nothing is left over");
}

fn tokio_util(stream: &Bytes, read: usize) {
    let mut codec = LengthDelimitedCodec::new();
    let mut buffer = BytesMut::with_capacity(128 * 1024);
    for read in stream.chunks(read) {
        buffer.extend_from_slice(black_box(read));
        while let Some(frame) = codec.decode(&mut buffer).expect("whole frames") {
            black_box(frame.freeze());
        }
    }
}
