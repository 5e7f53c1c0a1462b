//! A server has its certificates looked at, and whoever asked for it hears what was found.

use std::panic::resume_unwind;
use std::sync::mpsc::channel;
use std::time::Duration;

use socktree::tls::CertEvent;
use socktree::{CertManager, ClientAuth, ClientTls, ServeFor};
use socktree_tests::{Authority, DEADLINE, Issued, Probe, Served, TlsPeer};

use crate::lab::{Alone, Dir};

/// Certificates and the authorities of clients, out of files, with a listener that has a fault.
#[test]
fn a_server_takes_new_files_whatever_its_user_makes_of_it() {
    let _alone = Alone::begin();
    let dir = Dir::new("watching");
    let (authority, clients) = (Authority::new(), [Authority::new(), Authority::new()]);
    let [first, second] = [(); 2].map(|()| authority.certificate("localhost"));
    // Both in one file: a pair would need a pause of nobody knows how long.
    let both = |issued: &Issued| dir.put("both.pem", &format!("{}{}", issued.pem, issued.key_pem));
    let file = both(&first);
    let trusted = dir.put("clients.pem", clients[0].pem());
    let (tell, told) = channel();
    let certs = CertManager::builder()
        .files(ServeFor::Default, &file, &file)
        .client_auth(ClientAuth::required_file(trusted))
        .poll_every(Duration::from_millis(100))
        .on_event(move |event| {
            tell.send(event.clone()).unwrap();
            // A panic that leaves no trace in the test's output.
            resume_unwind(Box::new(()));
        })
        .build()
        .unwrap();
    let served = Served::start(Served::any().tls(&certs), Probe::echo());
    let shown = |whose: &Authority| {
        let client = ClientTls::builder().roots(authority.roots());
        let client = client.identity(whose.issue("client")).build().unwrap();
        let mut peer = TlsPeer::connect(served.addr(), &client).unwrap();
        peer.write(b"ping");
        peer.finish();
        let (answer, _end) = peer.read_to_end();
        let shown = peer.session.info().unwrap().peer_certificates[0].to_vec();
        (answer == b"ping").then_some(shown)
    };
    assert_eq!(shown(&clients[0]), Some(first.der));
    assert_eq!(shown(&clients[1]), None);

    both(&second);
    let event = told.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(event, CertEvent::Reloaded { .. }), "{event:?}");
    assert_eq!(shown(&clients[0]), Some(second.der.clone()));

    dir.put("clients.pem", clients[1].pem());
    let event = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(event, CertEvent::ClientCaReloaded { authorities: 1 });
    assert_eq!(shown(&clients[1]), Some(second.der));
    assert_eq!(shown(&clients[0]), None);
    served.finish();
}
