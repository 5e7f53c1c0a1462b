//! Data both ways.

use std::io::IoSlice;

use socktree_tls::{TlsSession, Versions};

use crate::kit::{Ca, Pair, VERSIONS, give, output, providers};

fn pattern(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

fn each(check: impl Fn(Pair, Versions)) {
    for provider in providers() {
        for versions in VERSIONS {
            let ca = Ca::new("ca");
            let certs = ca
                .server()
                .provider(provider)
                .versions(versions)
                .build()
                .unwrap();
            let tls = ca.client().provider(provider).build().unwrap();
            check(Pair::open(&certs, &tls), versions);
        }
    }
}

/// Writes all of it, carrying in between whatever had no room.
fn write_all(pair: &mut Pair, mut data: &[u8]) {
    while !data.is_empty() {
        let n = pair.client.write(data).unwrap();
        data = &data[n..];
        pair.settle().unwrap();
    }
}

#[test]
fn a_mebibyte_goes_both_ways() {
    each(|mut pair, _| {
        let data = pattern(1 << 20);
        write_all(&mut pair, &data);
        assert!(pair.at_server == data);
        std::mem::swap(&mut pair.client, &mut pair.server);
        std::mem::swap(&mut pair.at_client, &mut pair.at_server);
        write_all(&mut pair, &data);
        assert!(pair.at_server == data);
    });
}

#[test]
fn nothing_is_taken_before_the_handshake_is_over() {
    let ca = Ca::new("ca");
    let mut pair = Pair::new(&ca.server().build().unwrap(), &ca.client().build().unwrap());
    assert_eq!(pair.client.write(b"early").unwrap(), 0);
    assert_eq!(pair.server.write(b"early").unwrap(), 0);
    assert!(!pair.client.may_write());
    pair.settle().unwrap();
    assert!(pair.at_server.is_empty());
    assert_eq!(pair.client.write(b"now").unwrap(), 3);
}

#[test]
fn pieces_share_records_and_stay_in_order() {
    each(|mut pair, _| {
        let data = pattern(100_000);
        let mut pieces = Vec::new();
        let mut rest = &data[..];
        for len in [1, 64, 5000, 0, 200, 4096, 16_384, 40_000, 3, 3, 20_000] {
            let (piece, after) = rest.split_at(len);
            pieces.push(IoSlice::new(piece));
            rest = after;
        }
        let whole: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect();
        let mut taken = pair.client.write_vectored(&pieces).unwrap();
        assert!(taken >= 65_536, "{taken}");
        pair.settle().unwrap();
        while taken < whole.len() {
            taken += pair.client.write(&whole[taken..]).unwrap();
            pair.settle().unwrap();
        }
        assert!(pair.at_server == whole);

        // A thousand answers of 16 bytes are one record, not a thousand.
        let small = [IoSlice::new(b"sixteen bytes ok"); 1000];
        assert_eq!(pair.server.write_vectored(&small).unwrap(), 16_000);
        assert!(pair.server.output().len() < 16_000 + 64);
    });
}

/// E17: what waits to be sent is bounded, and the rest stays with the caller.
#[test]
fn e17_what_waits_to_be_sent_is_bounded() {
    each(|mut pair, _| {
        let data = pattern(1 << 20);
        let taken = pair.client.write(&data).unwrap();
        assert!((65_536..=81_920).contains(&taken), "{taken}");
        assert_eq!(pair.client.write(&data[taken..]).unwrap(), 0);
        assert!(pair.client.output().len() < 64 * 1024 + 16 * 1024 + 200);
        assert_eq!(pair.client.unsent_plaintext(), taken);
        pair.settle().unwrap();
        assert_eq!(pair.client.unsent_plaintext(), 0);
        assert!(pair.at_server == data[..taken]);
    });
}

#[test]
fn output_may_be_sent_a_byte_at_a_time() {
    each(|mut pair, _| {
        let data = pattern(3000);
        pair.client.write(&data).unwrap();
        let mut unsent = pair.client.unsent_plaintext();
        let mut tail = &b"tail"[..];
        assert_eq!(unsent, 3000);
        while let Some(&byte) = pair.client.output().first() {
            pair.client.sent(1);
            assert!(pair.client.unsent_plaintext() <= unsent);
            unsent = pair.client.unsent_plaintext();
            give(&mut pair.server, &[byte], 1, &mut pair.at_server).unwrap();
            // Something new is put behind what is half sent.
            if !tail.is_empty() && pair.client.output().len() == 1000 {
                pair.client.write(std::mem::take(&mut tail)).unwrap();
                // With its header and tag.
                unsent = pair.client.unsent_plaintext();
                assert!(unsent <= 1000 + 4 + 32, "{unsent}");
            }
        }
        assert_eq!(unsent, 0);
        assert!(pair.at_server[..3000] == data && &pair.at_server[3000..] == b"tail");
    });
}

/// E05, E06: with room for less than a record, and a socket that is silent afterwards, everything
/// arrives: `has_more` says that something waits. None of it is an error.
#[test]
fn e05_e06_what_waits_inside_is_announced() {
    each(|mut pair, _| {
        let data = pattern(3 * 16_384 + 100);
        assert_eq!(pair.client.write(&data).unwrap(), data.len());
        let mut sealed = output(&mut pair.client);
        let (mut plain, mut got) = ([0; 1024], Vec::new());
        assert!(pair.server.wants_read() && !pair.server.has_more());
        let mut n = pair.server.receive(&mut sealed, &mut plain).unwrap();
        loop {
            got.extend_from_slice(&plain[..n]);
            if !pair.server.has_more() {
                break;
            }
            assert!(!pair.server.wants_read());
            n = pair.server.read(&mut plain).unwrap();
            assert!(n > 0, "nothing came at {}", got.len());
        }
        assert!(got == data);
        assert!(pair.server.wants_read());
    });
}

/// A reader that pauses keeps no more than it was given, opens no more than a record, and its
/// session can still write.
#[test]
fn a_paused_reader_is_bounded_and_may_write() {
    each(|mut pair, _| {
        let data = pattern(60_000);
        let mut plain = [0; 100];
        pair.client.write(&data).unwrap();
        let mut sealed = output(&mut pair.client);
        let n = pair.server.receive(&mut sealed, &mut plain).unwrap();
        assert_eq!(n, 100);
        assert!(pair.server.room() < 64 * 1024 - 59_000);

        pair.server.write(b"answer").unwrap();
        let answer = output(&mut pair.server);
        give(&mut pair.client, &answer, usize::MAX, &mut pair.at_client).unwrap();
        assert_eq!(pair.at_client, b"answer");

        let mut got = plain[..n].to_vec();
        give(&mut pair.server, &[], 1, &mut got).unwrap();
        while pair.server.has_more() {
            let n = pair.server.read(&mut plain).unwrap();
            got.extend_from_slice(&plain[..n]);
        }
        assert!(got == data);
        assert_eq!(pair.server.room(), 64 * 1024);
    });
}

#[test]
#[should_panic(expected = "with room for")]
fn more_than_there_is_room_for_is_a_mistake_of_the_caller() {
    let ca = Ca::new("ca");
    let certs = ca.server().buffer_limit(1).build().unwrap();
    let mut pair = Pair::open(&certs, &ca.client().build().unwrap());
    assert_eq!(pair.server.room(), 20 * 1024);
    let _ = pair.server.receive(&mut [0; 20 * 1024 + 1], &mut []);
}

#[test]
fn keys_can_be_updated_at_any_time() {
    each(|mut pair, versions| {
        for round in 0..10_u8 {
            let keys_of: &mut TlsSession = if round % 2 == 0 {
                &mut pair.client
            } else {
                &mut pair.server
            };
            keys_of.update_keys().unwrap();
            assert_eq!(keys_of.output().is_empty(), versions == Versions::Tls12);
            pair.client.write(&[round]).unwrap();
            pair.server.write(&[round]).unwrap();
            pair.settle().unwrap();
        }
        assert_eq!(pair.at_server, Vec::from_iter(0..10));
        assert_eq!(pair.at_client, Vec::from_iter(0..10));
    });
}

/// Keys are updated while the reader is paused and something waits to be sent.
#[test]
fn keys_can_be_updated_under_pressure() {
    let ca = Ca::new("ca");
    let mut pair = Pair::open(&ca.server().build().unwrap(), &ca.client().build().unwrap());
    let data = pattern(40_000);
    pair.client.write(&data).unwrap();
    let mut sealed = output(&mut pair.client);
    let n = pair.server.receive(&mut sealed, &mut [0; 10]).unwrap();
    assert_eq!(n, 10);
    pair.server.write(b"one").unwrap();
    pair.server.update_keys().unwrap();
    pair.server.write(b"two").unwrap();
    pair.settle().unwrap();
    assert_eq!(pair.at_client, b"onetwo");
    while pair.server.has_more() {
        give(&mut pair.server, &[], 1, &mut pair.at_server).unwrap();
        let mut plain = [0; 100];
        let n = pair.server.read(&mut plain).unwrap();
        pair.at_server.extend_from_slice(&plain[..n]);
    }
    assert!(pair.at_server == data[10..]);
}
