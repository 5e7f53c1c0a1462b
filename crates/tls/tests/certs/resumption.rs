//! E15: what may be resumed, and what may not.

use std::time::Instant;

use socktree_tls::{
    CertManager, CertificateFault, ClientAuth, ClientTls, ServeFor, TlsError, Versions,
};

use crate::kit::{Ca, Leaf, Pair, VERSIONS, providers};

/// Opens a connection, and has the client receive its tickets.
fn open(certs: &CertManager, tls: &ClientTls) -> bool {
    let mut pair = Pair::open(certs, tls);
    pair.server.write(b"x").unwrap();
    pair.settle().unwrap();
    let (server, client) = (pair.server.info().unwrap(), pair.client.info().unwrap());
    assert_eq!(server.resumed, client.resumed);
    client.resumed
}

#[test]
fn tickets_outlive_the_certificate() {
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
            assert!(!open(&certs, &tls));
            assert!(open(&certs, &tls));
            let newer = ca.issue(&Leaf::default()).identity();
            certs.replace(ServeFor::Default, newer).unwrap();
            assert!(open(&certs, &tls), "{provider:?} {versions:?}");
        }
    }
}

#[test]
fn resumption_can_be_off_on_either_side() {
    for versions in VERSIONS {
        let ca = Ca::new("ca");
        for (server, client) in [(false, true), (true, false)] {
            let certs = ca
                .server()
                .versions(versions)
                .resumption(server)
                .build()
                .unwrap();
            let tls = ca.client().resumption(client).build().unwrap();
            assert!(!open(&certs, &tls) && !open(&certs, &tls));
        }
    }
}

/// A client uses each ticket once: as many connections at a time are resumed as it has tickets.
#[test]
fn a_client_gets_as_many_tickets_as_was_said() {
    let ca = Ca::new("ca");
    for (said, given) in [(None, 1), (Some(0), 1), (Some(1), 1), (Some(3), 3)] {
        let certs = ca.server().versions(Versions::Tls13);
        let certs = match said {
            Some(tickets) => certs.tickets(tickets),
            None => certs,
        };
        let (certs, tls) = (certs.build().unwrap(), ca.client().build().unwrap());
        assert!(!open(&certs, &tls));
        let mut at_once: Vec<_> = (0..5).map(|_| Pair::new(&certs, &tls)).collect();
        let is_resumed = |pair: &mut Pair| {
            pair.settle().unwrap();
            pair.server.info().unwrap().resumed
        };
        let resumed = at_once.iter_mut().map(is_resumed);
        assert_eq!(resumed.filter(|resumed| *resumed).count(), given);
    }
}

/// What a ticket has brought along is as good as a handshake: the peer's certificate is known.
#[test]
fn a_resumed_client_is_still_known() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    for versions in VERSIONS {
        let auth = ClientAuth::required(clients.roots());
        let certs = ca
            .server()
            .versions(versions)
            .client_auth(auth)
            .build()
            .unwrap();
        let leaf = clients.issue(&Leaf::default());
        let tls = ca.client().identity(leaf.identity()).build().unwrap();
        assert!(!open(&certs, &tls));
        let mut pair = Pair::open(&certs, &tls);
        pair.settle().unwrap();
        let info = pair.server.info().unwrap();
        assert!(info.resumed && info.peer_certificates[0].as_ref() == leaf.chain[0]);
    }
}

#[test]
fn e15_nothing_is_resumed_across_a_change_of_trust() {
    let (ca, old, new) = (Ca::new("ca"), Ca::new("old"), Ca::new("new"));
    for versions in VERSIONS {
        let auth = ClientAuth::required(old.roots());
        let certs = ca
            .server()
            .versions(versions)
            .client_auth(auth)
            .build()
            .unwrap();
        let leaf = old.issue(&Leaf::default());
        let tls = ca.client().identity(leaf.identity()).build().unwrap();
        open(&certs, &tls);
        assert!(open(&certs, &tls));
        certs
            .set_client_auth(&ClientAuth::required(new.roots()))
            .unwrap();
        for _ in 0..3 {
            let mut pair = Pair::new(&certs, &tls);
            pair.settle().unwrap_err();
            let end = pair.server.receive(&mut [], &mut []).unwrap_err();
            let unknown = CertificateFault::UnknownIssuer;
            assert_eq!(end, TlsError::BadCertificate(unknown));
        }
        // The same trust set again is a change as well: what was signed in between is not known.
        certs
            .set_client_auth(&ClientAuth::required(old.roots()))
            .unwrap();
        assert!(!open(&certs, &tls));
        assert!(open(&certs, &tls));
    }
}

/// A connection that has said nothing yet is judged by what is trusted when it does.
#[test]
fn trust_is_that_of_the_first_byte() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let certs = ca.server().versions(Versions::Tls13).build().unwrap();
    let mut pair = Pair::new(&certs, &ca.client().build().unwrap());
    certs
        .set_client_auth(&ClientAuth::required(clients.roots()))
        .unwrap();
    pair.settle().unwrap_err();
    let end = pair.server.receive(&mut [], &mut []).unwrap_err();
    assert_eq!(end, TlsError::NoCertificate);
    assert!(certs.session(Instant::now()).is_ok());
}
