//! The same bytes through tokio-util's `LengthDelimitedCodec`, where the options overlap.
//!
//! Three things differ and are kept out: tokio-util reserves whatever a header announces; its limit
//! is on the length field and not on the frame, and a negative adjustment lowers it below what the
//! field can say; and where headers are kept it takes a length that is less than the header.

use bytes::BytesMut;
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};

use crate::check::decode_in_pieces;
use crate::draw::Draw;
use crate::properties;
use crate::spec::{Prefix, Spec};

/// The most a frame has; every length that is drawn stays below.
const MAX: usize = 1 << 20;

fn tokio_util(prefix: &Prefix) -> LengthDelimitedCodec {
    let header = i64::try_from(prefix.header).expect("a small header");
    let counted = if prefix.counts_header { -header } else { 0 };
    let kept = if prefix.strip { 0 } else { header };
    let adjust = prefix.adjust + counted + kept;
    let mut builder = LengthDelimitedCodec::builder();
    builder
        .length_field_offset(prefix.position)
        .length_field_length(prefix.size)
        .length_adjustment(isize::try_from(adjust).expect("a small number"))
        .num_skip(if prefix.strip { prefix.header } else { 0 })
        .max_frame_length(MAX);
    if prefix.little_endian {
        builder.little_endian();
    }
    builder.new_codec()
}

/// Frames by tokio-util, fed in pieces; `None` for the outcome if it refused a length.
fn decode(codec: &mut LengthDelimitedCodec, stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    let mut buffer = BytesMut::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        buffer.extend_from_slice(&stream[start..end]);
        start = end;
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}

fn check(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let prefix = Prefix {
        size: [1, 2, 3, 4, 8][draw.below(5)],
        position: draw.below(5),
        header: 0,
        little_endian: draw.yes(),
        counts_header: draw.yes(),
        adjust: i64::from(draw.byte() % 16) - 4,
        strip: draw.yes(),
        max: MAX,
    };
    let header = prefix.position + prefix.size + draw.below(4);
    let prefix = Prefix { header, ..prefix };
    let spec = Spec::Prefix(prefix.clone());
    let Ok(framing) = spec.build() else { return };

    let reduces = prefix.adjust
        < if prefix.counts_header {
            header as i64
        } else {
            0
        };
    let mut second = draw.clone();
    let mut stream = Vec::new();
    while !draw.is_empty() && stream.len() < 1000 {
        if prefix.size <= 2 && prefix.strip && !reduces && draw.below(16) == 0 {
            // Rubbish: a length of two bytes is below the limit whatever it says.
            stream.push(draw.byte());
        } else {
            let payload = draw.letters(100);
            stream.extend(spec.wire(&payload).unwrap_or_default());
        }
    }
    let cuts = second.cuts(stream.len());
    let (frames, outcome) = decode_in_pieces(&spec, &framing, &stream, &cuts, &mut second);
    let theirs = decode(&mut tokio_util(&prefix), &stream, &cuts);
    assert_eq!(
        (frames, outcome.is_ok()),
        theirs,
        "{prefix:?} {stream:?} {cuts:?}"
    );
}

#[test]
fn tokio_util_finds_the_same_frames() {
    properties::check(400, check);
}

/// Where the header is the length alone, both write the same bytes.
#[test]
fn tokio_util_writes_the_same_bytes() {
    for size in [1, 2, 3, 4, 8] {
        for little_endian in [false, true] {
            for len in [0, 1, 127, 255, 256, 65_535, 65_536] {
                let prefix = Prefix {
                    header: size,
                    position: 0,
                    size,
                    little_endian,
                    counts_header: false,
                    adjust: 0,
                    strip: true,
                    max: MAX,
                };
                let payload = vec![b'x'; len];
                let mut ours = Vec::new();
                let framing = Spec::Prefix(prefix.clone()).build().expect("it is right");
                let fits = framing.encode_into(&payload, &mut ours).is_ok();
                let mut theirs = BytesMut::new();
                let written = tokio_util(&prefix).encode(&payload[..], &mut theirs);
                assert_eq!(fits, size > 2 || len < 1 << (8 * size));
                assert_eq!(
                    (fits, ours),
                    (written.is_ok(), theirs.to_vec()),
                    "{prefix:?} {len}"
                );
            }
        }
    }
}
