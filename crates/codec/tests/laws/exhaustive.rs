//! Every header that fits in sixteen bytes, with every length that is on an edge.

use crate::check::decode_in_pieces;
use crate::draw::Draw;
use crate::spec::{Prefix, Spec};

const MAX: usize = 40;

/// Calls `check` with every header of up to sixteen bytes, and a few adjustments.
fn for_each_header(mut check: impl FnMut(Prefix)) {
    for header in 1..=16 {
        for size in [1, 2, 3, 4, 8] {
            for position in 0..=header {
                for flags in 0..8u8 {
                    let [little_endian, counts_header, strip] =
                        [1, 2, 4].map(|flag| flags & flag > 0);
                    for adjust in [0, -1, 3] {
                        let max = MAX;
                        check(Prefix {
                            header,
                            position,
                            size,
                            little_endian,
                            counts_header,
                            adjust,
                            strip,
                            max,
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn every_header_with_every_length_on_an_edge() {
    let mut checked = 0u32;
    for_each_header(|prefix| {
        let Prefix {
            header,
            position,
            size,
            little_endian,
            ..
        } = prefix;
        let spec = Spec::Prefix(prefix);
        let framing = match spec.build() {
            Ok(framing) => framing,
            Err(error) => return assert_eq!(Some(error.field()), spec.wrong_option(), "{spec:?}"),
        };
        assert_eq!(spec.wrong_option(), None);
        for length in [
            0,
            1,
            header - 1,
            header,
            header + 1,
            MAX - header,
            MAX,
            MAX + 1,
        ] {
            let mut field = (length as u64).to_be_bytes()[8 - size..].to_vec();
            if little_endian {
                field.reverse();
            }
            // A good frame stands before, so that the place in the stream is not always zero, and
            // enough follows for the longest frame and the start of another.
            let mut stream = spec.wire(b"ab").unwrap_or_default();
            let start = stream.len();
            stream.resize(start + MAX + 3, b'.');
            stream[start + position..start + position + size].copy_from_slice(&field);
            let expected = spec.decode(&stream);
            let every: Vec<usize> = (1..stream.len()).collect();
            for cuts in [&[][..], &every, &[start + position + 1], &[start + header]] {
                let mut straight = Draw(&[1; 0]);
                let decoded = decode_in_pieces(&spec, &framing, &stream, cuts, &mut straight);
                assert_eq!(
                    decoded, expected,
                    "{spec:?} length {length} cut at {cuts:?}"
                );
                checked += 1;
            }
        }
    });
    assert!(checked > 300_000, "only {checked} streams were decoded");
}

#[test]
fn every_cut_of_a_stream_of_every_framing() {
    let specs = [
        Spec::Fixed(3),
        Spec::Varint {
            max_bytes: 2,
            minimal: true,
            strip: true,
            max: 200,
        },
        Spec::Delimiter {
            delimiter: b"aab".to_vec(),
            keep: false,
            max: 30,
        },
        Spec::Delimiter {
            delimiter: b"--".to_vec(),
            keep: true,
            max: 30,
        },
        Spec::Lines {
            crlf: true,
            keep: false,
            max: 30,
        },
        Spec::Netstring { max: 30 },
    ];
    for spec in specs {
        let framing = spec.build().expect("they are right");
        let mut stream: Vec<u8> = [&b"abc"[..], b"aaa", b"a-b"]
            .iter()
            .filter_map(|text| spec.wire(text))
            .flatten()
            .collect();
        stream.extend(b"aa-1\r\xFF");
        let expected = spec.decode(&stream);
        assert!(expected.0.len() >= 3, "{spec:?} {expected:?}");
        for first in 0..stream.len() {
            for second in first..stream.len() {
                for pauses in [&[][..], &[0, 1, 3, 1, 0, 2, 1, 1, 0, 1, 0, 0, 0, 3, 2, 1]] {
                    let cuts = [first, second];
                    let mut draw = Draw(pauses);
                    let decoded = decode_in_pieces(&spec, &framing, &stream, &cuts, &mut draw);
                    assert_eq!(decoded, expected, "{spec:?} cut at {cuts:?}");
                }
            }
        }
    }
}
