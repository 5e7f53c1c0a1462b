//! Authorities of clients out of a file that changes, and who is told of it.

use std::fs;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use socktree_tls::{CertError, CertEvent, CertManager, ClientAuth, ClientTls, ServeFor};

use crate::files::Dir;
use crate::kit::{Ca, Leaf, Pair, VERSIONS};

/// Polls until what has changed has settled.
fn poll(certs: &CertManager) -> Vec<CertEvent> {
    let mut events = certs.poll(certs.next_poll().unwrap_or_else(Instant::now));
    events.extend(certs.poll(certs.next_poll().unwrap()));
    events
}

/// A client with a certificate of this authority, which trusts `ca`.
fn client_of(ca: &Ca, clients: &Ca) -> ClientTls {
    let leaf = clients.issue(&Leaf::default());
    ca.client().identity(leaf.identity()).build().unwrap()
}

/// Whether the server lets the client in; `Some(true)` if with a ticket.
fn lets_in(certs: &CertManager, tls: &ClientTls) -> Option<bool> {
    let mut pair = Pair::new(certs, tls);
    // A TLS 1.3 client is done before it is judged: it is the server that counts.
    let _refused = pair.settle();
    let resumed = pair.server.info()?.resumed;
    pair.server.write(b"x").unwrap();
    pair.settle().unwrap();
    Some(resumed)
}

#[test]
fn a_file_that_changes_changes_whom_is_trusted() {
    for versions in VERSIONS {
        let (ca, dir) = (Ca::new("ca"), Dir::new());
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        let file = dir.put("clients.pem", &old.pem);
        let certs = ca
            .server()
            .versions(versions)
            .client_auth(ClientAuth::required_file(&file))
            .build()
            .unwrap();
        let (of_old, of_new) = (client_of(&ca, &old), client_of(&ca, &new));
        assert_eq!(poll(&certs), []);
        assert_eq!(lets_in(&certs, &of_old), Some(false));
        assert_eq!(lets_in(&certs, &of_old), Some(true));
        assert_eq!(lets_in(&certs, &of_new), None);

        // Both for a while, as such a change is made. Whoever came before has to show itself again.
        dir.put("clients.pem", &format!("{}{}", old.pem, new.pem));
        let changed = |authorities| [CertEvent::ClientCaReloaded { authorities }];
        assert_eq!(poll(&certs), changed(2));
        assert_eq!(lets_in(&certs, &of_old), Some(false));
        assert_eq!(lets_in(&certs, &of_new), Some(false));
        assert_eq!(lets_in(&certs, &of_old), Some(true));

        dir.put("clients.pem", &new.pem);
        assert_eq!(poll(&certs), changed(1));
        assert_eq!(lets_in(&certs, &of_old), None, "{versions:?}");
        assert_eq!(lets_in(&certs, &of_new), Some(false));

        // Written again as it was: nobody loses a ticket.
        dir.put("clients.pem", &new.pem);
        assert_eq!(poll(&certs), []);
        assert_eq!(lets_in(&certs, &of_new), Some(true));
    }
}

#[test]
fn a_file_that_is_refused_changes_nothing_and_is_reported_once() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let old = Ca::new("old");
    let file = dir.put("clients.pem", &old.pem);
    let auth = ClientAuth::required_file(&file);
    let certs = ca.server().client_auth(auth).build().unwrap();
    let of_old = client_of(&ca, &old);
    assert_eq!(lets_in(&certs, &of_old), Some(false));

    let half = &old.pem[..old.pem.len() / 2];
    let broken = format!("{half}\n-----END CERTIFICATE-----\n");
    let texts = [
        ("", CertError::NoRoots),
        (half, CertError::BadPem),
        (&*broken, CertError::BadCertificate { position: 0 }),
    ];
    for (text, error) in texts {
        dir.put("clients.pem", text);
        assert_eq!(poll(&certs), [CertEvent::ClientCaReloadFailed { error }]);
        assert_eq!(poll(&certs), []);
        assert_eq!(lets_in(&certs, &of_old), Some(true), "the ticket is good");
    }
    fs::remove_file(&file).unwrap();
    let events = poll(&certs);
    let [CertEvent::ClientCaReloadFailed { error }] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(matches!(error, CertError::Unreadable { path, .. } if *path == file));
    assert_eq!(poll(&certs), []);
    assert_eq!(lets_in(&certs, &of_old), Some(true));
}

#[test]
fn who_may_stay_without_a_certificate_still_may() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let file = dir.put("clients.pem", &old.pem);
    let auth = ClientAuth::optional_file(&file);
    let certs = ca.server().client_auth(auth).build().unwrap();
    let nobody = ca.client().build().unwrap();
    poll(&certs);
    dir.put("clients.pem", &new.pem);
    assert_eq!(poll(&certs).len(), 1);
    assert_eq!(lets_in(&certs, &nobody), Some(false));
    assert_eq!(lets_in(&certs, &client_of(&ca, &new)), Some(false));
    assert_eq!(lets_in(&certs, &client_of(&ca, &old)), None);
}

/// What is set by hand is not overwritten by a file, unless it is another file.
#[test]
fn setting_trust_by_hand_ends_and_begins_watching() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let file = dir.put("clients.pem", &one.pem);
    let auth = ClientAuth::required_file(&file);
    let certs = ca.server().client_auth(auth.clone()).build().unwrap();
    let set = |auth: &ClientAuth| certs.set_client_auth(auth);
    poll(&certs);
    set(&ClientAuth::required(two.roots())).unwrap();
    dir.put("clients.pem", &two.pem);
    dir.put("clients.pem", &one.pem);
    assert_eq!(poll(&certs), []);
    assert_eq!(lets_in(&certs, &client_of(&ca, &one)), None);
    assert_eq!(lets_in(&certs, &client_of(&ca, &two)), Some(false));

    set(&auth).unwrap();
    assert_eq!(lets_in(&certs, &client_of(&ca, &one)), Some(false));
    dir.put("clients.pem", &two.pem);
    assert_eq!(poll(&certs).len(), 1);
    assert_eq!(lets_in(&certs, &client_of(&ca, &two)), Some(false));

    // One that cannot be read changes nothing, neither trust nor what is watched.
    let missing = dir.0.join("missing.pem");
    let refused = set(&ClientAuth::required_file(&missing)).unwrap_err();
    assert!(matches!(&refused, CertError::Unreadable { path, .. } if *path == missing));
    assert_eq!(lets_in(&certs, &client_of(&ca, &two)), Some(false));
    dir.put("clients.pem", &one.pem);
    assert_eq!(poll(&certs).len(), 1);
    let auth = ClientAuth::required_file(&missing);
    let refused = ca.server().client_auth(auth).build().unwrap_err();
    assert!(matches!(refused, CertError::Unreadable { .. }));
}

/// Called with nothing locked, it can do with the manager what anybody can.
#[test]
fn whoever_asked_is_told_of_every_event() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let (first, second) = (ca.issue(&Leaf::default()), ca.issue(&Leaf::default()));
    let chain = dir.put("chain.pem", &first.chain_pem);
    let key = dir.put("key.pem", &first.key_pem);
    let clients = dir.put("clients.pem", &ca.pem);
    let told = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(OnceLock::<CertManager>::new());
    let (tell, manager) = (Arc::clone(&told), Arc::clone(&handle));
    let certs = ca
        .server()
        .files(ServeFor::ItsNames, &chain, &key)
        .client_auth(ClientAuth::optional_file(&clients))
        .warn_before(Duration::from_secs(20 * 365 * 24 * 60 * 60))
        .on_event(move |event: &CertEvent| {
            let certs = manager.get().unwrap();
            assert_eq!(certs.poll(Instant::now()), []);
            certs.set_client_auth(&ClientAuth::none()).unwrap();
            let _names = certs.certificates();
            tell.lock().unwrap().push(event.clone());
        })
        .build()
        .unwrap();
    handle.set(certs.clone()).unwrap();
    let mut all = poll(&certs);
    assert!(matches!(
        all[..],
        [CertEvent::ExpiresSoon { .. }, CertEvent::ExpiresSoon { .. }]
    ));
    certs
        .set_client_auth(&ClientAuth::optional_file(&clients))
        .unwrap();
    dir.put("chain.pem", &second.chain_pem);
    dir.put("key.pem", &second.key_pem);
    dir.put("clients.pem", "");
    all.extend(poll(&certs));
    assert_eq!(all.len(), 5, "two of them for the new certificate");
    assert_eq!(*told.lock().unwrap(), all);
}
