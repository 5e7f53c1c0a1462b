//! Frames per second from reads of 64 KiB, beside tokio-util's `LengthDelimitedCodec`.
//!
//! Both copy each read into a block first, in place of the system call (see [`receive`]), and both
//! hand every frame out as `Bytes` and drop it, but for `inside`, which hands out places. A length
//! of four bytes, big-endian, stripped. `cargo bench -p socktree-codec --bench decode`, followed by `-- 64 1024`
//! for some sizes of payload only; what it printed once stands in `docs/codec-measurements.md`.
#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]

use std::env;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use socktree_codec::{Decoder, Frame, LengthPrefix};
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};

const READ: usize = 64 * 1024;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);

fn main() {
    let mut payloads: Vec<usize> = env::args().flat_map(|text| text.parse()).collect();
    if payloads.is_empty() {
        payloads.extend([1, 16, 64, 256, 1024, 16 * 1024, 100_000]);
    }
    for payload in payloads {
        let stream = stream(payload);
        let reads: Vec<&[u8]> = stream.chunks(READ).collect();
        let frames = stream.len() / (payload + 4);
        let mut contenders: Vec<Contender<'_>> = vec![
            ("tokio-util", Box::new(|| tokio_util(&reads))),
            (
                "sliced",
                Box::new(|| socktree(&reads, |frame, block| frame.sliced(block))),
            ),
            (
                "copied",
                Box::new(|| socktree(&reads, |frame, block| frame.copied(block))),
            ),
            ("inside", Box::new(|| inside(&reads))),
        ];
        report("decode", payload, frames, &mut contenders);
        drop(contenders);

        let body = Bytes::from(vec![7; payload]);
        let count = (READ / (payload + 4)).max(1) * 16;
        let mut contenders: Vec<Contender<'_>> = vec![
            ("tokio-util", Box::new(|| encode_tokio_util(&body, count))),
            ("encode_into", Box::new(|| encode_into(&body, count))),
            ("encode", Box::new(|| encode(&body, count))),
        ];
        report("encode", payload, count, &mut contenders);
    }
}

/// A name, and one pass over the data, which returns how many frames it saw.
type Contender<'a> = (&'static str, Box<dyn FnMut() -> usize + 'a>);

/// Takes turns, so that whatever else the machine does hits all alike; the median of each counts.
fn report(what: &str, payload: usize, frames: usize, contenders: &mut [Contender<'_>]) {
    let mut nanos = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, pass), nanos) in contenders.iter_mut().zip(&mut nanos) {
            let start = time_on_cpu();
            let mut passes = 0u32;
            let mut took = Duration::ZERO;
            while took < ROUND {
                for _ in 0..8 {
                    assert_eq!(pass(), frames);
                    passes += 1;
                }
                took = time_on_cpu() - start;
            }
            nanos.push(took.as_secs_f64() * 1e9 / f64::from(passes) / frames as f64);
        }
    }
    for nanos in &mut nanos {
        nanos.sort_by(f64::total_cmp);
    }
    let median = |nanos: &[f64]| nanos[ROUNDS / 2];
    for ((name, _), taken) in contenders.iter().zip(&nanos) {
        let (middle, best) = (median(taken), taken[0]);
        let rate = (payload + 4) as f64 / middle;
        let ratio = median(&nanos[0]) / middle;
        println!(
            "{what} {payload:>6} {name:<11} {middle:>9.2} ns/frame (best {best:>9.2}) \
             {rate:>7.2} GB/s {ratio:>6.2}x"
        );
    }
}

/// How long this thread has run: on a machine that is shared, a wall clock counts the neighbours.
fn time_on_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the first is a number"))
}

/// Whole frames, about a mebibyte of them; a read ends wherever it ends.
fn stream(payload: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    while stream.len() < 1 << 20 {
        stream.put_u32(u32::try_from(payload).expect("a size of the list"));
        stream.resize(stream.len() + payload, 7);
    }
    stream
}

/// Stands in for the system call that fills a block.
///
/// In pieces, because glibc copies larger ones with `rep movsb`, which on some processors takes
/// ten times as long where source and target lie unluckily in their pages: a kilobyte then cost
/// 30 ns in one run of this program and 450 in the next, for one contender and not for another.
fn receive(read: &[u8], block: &mut impl BufMut) {
    for piece in read.chunks(1024) {
        block.put_slice(piece);
    }
}

fn tokio_util(reads: &[&[u8]]) -> usize {
    let mut codec = LengthDelimitedCodec::new();
    let mut buffer = BytesMut::with_capacity(2 * READ);
    let mut frames = 0;
    for read in reads {
        buffer.reserve(READ);
        receive(read, &mut buffer);
        while let Some(frame) = codec.decode(&mut buffer).expect("whole frames") {
            black_box(frame.freeze());
            frames += 1;
        }
    }
    frames
}

fn socktree(reads: &[&[u8]], take: impl Fn(Frame, &Bytes) -> Bytes) -> usize {
    let framing = LengthPrefix::u32_be()
        .strip(true)
        .build()
        .expect("the options are right");
    let mut decoder = Decoder::new(framing);
    let mut buffer = BytesMut::with_capacity(READ);
    let mut frames = 0;
    for read in reads {
        buffer.reserve(READ);
        receive(read, &mut buffer);
        let block = buffer.split().freeze();
        let mut feed = decoder.feed(&block);
        while let Some(frame) = feed.next_frame().expect("whole frames") {
            black_box(take(frame, &block));
            frames += 1;
        }
    }
    frames
}

fn inside(reads: &[&[u8]]) -> usize {
    let framing = LengthPrefix::u32_be()
        .strip(true)
        .build()
        .expect("the options are right");
    let mut decoder = Decoder::new(framing);
    let mut block = Vec::with_capacity(READ);
    let mut frames = 0;
    for read in reads {
        block.clear();
        receive(read, &mut block);
        let mut feed = decoder.feed(&block);
        while let Some(frame) = feed.next_frame().expect("whole frames") {
            match frame {
                Frame::Inside(place) => _ = black_box(&block[place]),
                Frame::Joined(bytes) => _ = black_box(bytes),
            }
            frames += 1;
        }
    }
    frames
}

fn encode_tokio_util(body: &Bytes, count: usize) -> usize {
    let mut codec = LengthDelimitedCodec::new();
    let mut buffer = BytesMut::with_capacity(2 * READ);
    for _ in 0..count {
        codec.encode(body.clone(), &mut buffer).expect("it fits");
        if buffer.len() > READ {
            black_box(&buffer);
            buffer.clear();
        }
    }
    count
}

fn encode_into(body: &Bytes, count: usize) -> usize {
    let framing = LengthPrefix::u32_be()
        .build()
        .expect("the options are right");
    let mut buffer = BytesMut::with_capacity(2 * READ);
    for _ in 0..count {
        framing.encode_into(body, &mut buffer).expect("it fits");
        if buffer.len() > READ {
            black_box(&buffer);
            buffer.clear();
        }
    }
    count
}

fn encode(body: &Bytes, count: usize) -> usize {
    let framing = LengthPrefix::u32_be()
        .build()
        .expect("the options are right");
    for _ in 0..count {
        let _ = black_box(framing.encode(body.clone()).expect("it fits"));
    }
    count
}
