//! How a connection ends.

use socktree_tls::{PeerEnd, TlsError};

use crate::kit::{Ca, Pair, VERSIONS, give, output};

fn each(check: impl Fn(Pair)) {
    let ca = Ca::new("ca");
    for versions in VERSIONS {
        let certs = ca.server().versions(versions).build().unwrap();
        check(Pair::open(&certs, &ca.client().build().unwrap()));
    }
}

#[test]
fn a_close_notify_ends_one_direction() {
    each(|mut pair| {
        pair.client.write(b"last words").unwrap();
        pair.client.close().unwrap();
        pair.client.close().unwrap();
        assert_eq!(pair.client.write(b"no more").unwrap(), 0);
        pair.settle().unwrap();
        assert_eq!(pair.at_server, b"last words");
        assert_eq!(pair.server.peer_end(), Some(PeerEnd::Closed));
        assert!(!pair.server.wants_read());
        assert_eq!(pair.client.peer_end(), None);

        // The other direction goes on, in several turns.
        for _ in 0..3 {
            pair.server.write(b"answer ").unwrap();
            pair.settle().unwrap();
        }
        pair.server.close().unwrap();
        pair.settle().unwrap();
        assert_eq!(pair.at_client, b"answer answer answer ");
        assert_eq!(pair.client.peer_end(), Some(PeerEnd::Closed));
        // The socket's own end changes nothing any more.
        pair.client.receive_eof().unwrap();
        assert_eq!(pair.client.peer_end(), Some(PeerEnd::Closed));
    });
}

/// E08: the end of the socket alone may be somebody's cut.
#[test]
fn e08_an_end_without_close_notify_is_truncated_after_its_data() {
    each(|mut pair| {
        pair.client.write(b"all of it").unwrap();
        pair.client.write(b"and half").unwrap();
        let mut sealed = output(&mut pair.client);
        sealed.truncate(sealed.len() - 3);
        let (mut plain, mut got) = ([0; 4], Vec::new());
        let mut n = pair.server.receive(&mut sealed, &mut plain).unwrap();
        pair.server.receive_eof().unwrap();
        while n > 0 || pair.server.has_more() {
            assert!(n > 0 || pair.server.peer_end().is_none());
            got.extend_from_slice(&plain[..n]);
            n = pair.server.read(&mut plain).unwrap();
        }
        assert_eq!(got, b"all of it");
        assert_eq!(pair.server.peer_end(), Some(PeerEnd::Truncated));
        assert!(!pair.server.wants_read());
        // We may still say something: a half-open peer might read it.
        assert_eq!(pair.server.write(b"late").unwrap(), 4);
    });
}

/// A `close_notify` behind data that nobody has room for is seen once that data was read.
#[test]
fn the_end_comes_after_the_data() {
    each(|mut pair| {
        pair.client.write(b"0123456789").unwrap();
        pair.client.close().unwrap();
        let mut sealed = output(&mut pair.client);
        let mut plain = [0; 5];
        assert_eq!(pair.server.receive(&mut sealed, &mut plain).unwrap(), 5);
        assert_eq!(pair.server.peer_end(), None);
        assert!(pair.server.has_more());
        assert_eq!(pair.server.read(&mut plain).unwrap(), 5);
        while pair.server.has_more() {
            assert_eq!(pair.server.peer_end(), None);
            assert_eq!(pair.server.read(&mut plain).unwrap(), 0);
        }
        assert_eq!(pair.server.peer_end(), Some(PeerEnd::Closed));
    });
}

#[test]
fn bytes_behind_a_close_notify_mean_nothing() {
    each(|mut pair| {
        pair.client.close().unwrap();
        let mut sealed = output(&mut pair.client);
        sealed.extend_from_slice(b"whatever this is, it is not TLS");
        give(&mut pair.server, &sealed, 9, &mut pair.at_server).unwrap();
        assert!(pair.at_server.is_empty());
        assert_eq!(pair.server.peer_end(), Some(PeerEnd::Closed));
        pair.server.write(b"still here").unwrap();
        pair.settle().unwrap();
        assert_eq!(pair.at_client, b"still here");
    });
}

/// A record that was changed on the way: what came before it is delivered, the peer is told.
#[test]
fn a_changed_record_fails_after_the_data_before_it() {
    each(|mut pair| {
        pair.client.write(b"good").unwrap();
        let good = pair.client.output().len();
        pair.client.write(b"bad").unwrap();
        pair.client.write(b"good again").unwrap();
        let mut sealed = output(&mut pair.client);
        sealed[good + 9] ^= 1;
        let mut plain = [0; 100];
        assert_eq!(pair.server.receive(&mut sealed, &mut plain), Ok(4));
        assert!(pair.server.has_more() && !pair.server.wants_read());
        assert_eq!(pair.server.read(&mut plain), Err(TlsError::BadRecord));
        assert!(!pair.server.has_more());
        assert_eq!(pair.server.write(b"x"), Err(TlsError::BadRecord));
        assert_eq!(pair.server.close(), Err(TlsError::BadRecord));
        assert_eq!(pair.server.receive_eof(), Err(TlsError::BadRecord));
        let alert = output(&mut pair.server);
        let told = give(&mut pair.client, &alert, 1, &mut Vec::new()).unwrap_err();
        assert_eq!(
            told.to_string(),
            "the peer refused with the TLS alert bad_record_mac"
        );
    });
}

/// The same with no room: neither the data nor the error is lost.
#[test]
fn a_failure_waits_for_the_reader() {
    each(|mut pair| {
        pair.client.write(b"good").unwrap();
        let mut sealed = output(&mut pair.client);
        sealed.extend_from_slice(&[23, 3, 3, 0xff, 0xff]);
        let mut plain = [0; 3];
        assert_eq!(pair.server.receive(&mut sealed, &mut plain), Ok(3));
        assert!(pair.server.has_more());
        assert_eq!(pair.server.read(&mut plain), Ok(1));
        // The bound of a record is judged by its header, which nobody had room for until now.
        while pair.server.has_more() || pair.server.wants_read() {
            match pair.server.receive(&mut [], &mut plain) {
                Ok(n) => assert_eq!(n, 0),
                Err(error) => assert_eq!(error.label(), "protocol"),
            }
        }
    });
}

/// A bad record after our own `close_notify` is an error like any other.
#[test]
fn a_bad_record_after_our_close_is_an_error() {
    each(|mut pair| {
        pair.server.close().unwrap();
        pair.client.write(b"fine").unwrap();
        pair.settle().unwrap();
        assert_eq!(pair.at_server, b"fine");
        let junk = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
        let error = give(&mut pair.server, &junk, 100, &mut Vec::new()).unwrap_err();
        assert_eq!(error, TlsError::BadRecord);
    });
}

/// E07: floods that cost the sender nothing.
#[test]
fn e07_floods_are_cut_off() {
    let ca = Ca::new("ca");
    let certs = ca.server().build().unwrap();
    let tls = ca.client().build().unwrap();
    let mut pair = Pair::open(&certs, &tls);
    let mut failed = None;
    for _ in 0..200 {
        pair.client.update_keys().unwrap();
        let bytes = output(&mut pair.client);
        if let Err(error) = give(&mut pair.server, &bytes, usize::MAX, &mut Vec::new()) {
            failed = Some(error);
            break;
        }
    }
    assert_eq!(failed.map(|error| error.label()), Some("protocol"));
    // Answers to them do not pile up either.
    assert!(pair.server.output().len() < 4096);
}
