//! Certificates out of files that change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socktree_tls::{CertError, CertEvent, CertManager, Identity, ServeFor};

use crate::kit::{Ca, Issued, Leaf, Pair, noon};

/// A directory that is gone when the test is.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("socktree-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A manager with a clock of its own.
struct Polled {
    ca: Ca,
    certs: CertManager,
    now: Instant,
}

impl Polled {
    fn new(ca: Ca, chain: &Path, key: &Path) -> Self {
        let certs = CertManager::builder()
            .files(ServeFor::Default, chain, key)
            .wall_clock(noon)
            .build()
            .unwrap();
        let now = Instant::now();
        assert!(certs.poll(now).is_empty());
        Self { ca, certs, now }
    }

    /// Polls when that is due, and says how long it was until then.
    fn poll(&mut self) -> (Duration, Vec<CertEvent>) {
        let due = self.certs.next_poll().unwrap();
        let waited = due - self.now;
        self.now = due;
        (waited, self.certs.poll(due))
    }

    fn serves(&self, issued: &Issued) -> bool {
        let tls = self.ca.client().resumption(false).build().unwrap();
        let pair = Pair::open(&self.certs, &tls);
        pair.client.info().unwrap().peer_certificates[0].as_ref() == issued.chain[0]
    }
}

const PERIOD: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(1);

#[test]
fn files_that_change_are_served_once_they_have_settled() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let (first, second) = (ca.issue(&Leaf::default()), ca.issue(&Leaf::default()));
    let chain = dir.put("chain.pem", &first.chain_pem);
    let key = dir.put("key.pem", &first.key_pem);
    let mut polled = Polled::new(ca, &chain, &key);
    assert!(polled.serves(&first));
    assert_eq!(polled.poll(), (PERIOD, vec![]));

    // Written one after the other, with a look in between.
    dir.put("chain.pem", &second.chain_pem);
    assert_eq!(polled.poll(), (PERIOD, vec![]));
    dir.put("key.pem", &second.key_pem);
    assert_eq!(polled.poll(), (SETTLE, vec![]));
    assert!(polled.serves(&first));
    let (waited, events) = polled.poll();
    assert_eq!(waited, SETTLE);
    assert!(matches!(
        events[..],
        [CertEvent::Reloaded {
            which: ServeFor::Default,
            ..
        }]
    ));
    assert!(polled.serves(&second));
    assert_eq!(polled.poll(), (PERIOD, vec![]));

    // The same content, written again: nothing has changed.
    dir.put("chain.pem", &second.chain_pem);
    assert_eq!(polled.poll(), (PERIOD, vec![]));
}

#[test]
fn what_is_refused_is_reported_once_and_the_old_stays() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let (first, second) = (ca.issue(&Leaf::default()), ca.issue(&Leaf::default()));
    let expired = ca.issue(&Leaf {
        years: (2019, 2024),
        ..Leaf::default()
    });
    let chain = dir.put("chain.pem", &first.chain_pem);
    let key = dir.put("key.pem", &first.key_pem);
    let mut polled = Polled::new(ca, &chain, &key);

    let half = &second.chain_pem[..second.chain_pem.len() / 2];
    let cases: [(&str, &str, CertError); 4] = [
        (&second.chain_pem, &first.key_pem, CertError::KeyMismatch),
        (half, &second.key_pem, CertError::BadPem),
        ("", &second.key_pem, CertError::NoCertificate),
        (
            &second.chain_pem,
            "-----BEGIN PRIVATE KEY-----\n",
            CertError::BadPem,
        ),
    ];
    for (chain, key, expected) in cases {
        dir.put("chain.pem", chain);
        dir.put("key.pem", key);
        assert_eq!(polled.poll(), (PERIOD, vec![]));
        let (_, events) = polled.poll();
        let which = ServeFor::Default;
        assert_eq!(
            events,
            [CertEvent::ReloadFailed {
                which,
                error: expected
            }]
        );
        assert_eq!(polled.poll(), (PERIOD, vec![]));
        assert!(polled.serves(&first));
    }
    dir.put("chain.pem", &expired.chain_pem);
    dir.put("key.pem", &expired.key_pem);
    polled.poll();
    let (_, events) = polled.poll();
    assert!(matches!(
        events[..],
        [CertEvent::ReloadFailed {
            error: CertError::Expired { .. },
            ..
        }]
    ));

    // Gone, and back.
    fs::remove_file(&chain).unwrap();
    polled.poll();
    let (_, events) = polled.poll();
    assert!(matches!(
        &events[..],
        [CertEvent::ReloadFailed { error: CertError::Unreadable { path, .. }, .. }] if *path == chain
    ));
    dir.put("chain.pem", &second.chain_pem);
    dir.put("key.pem", &second.key_pem);
    polled.poll();
    assert_eq!(polled.poll().1.len(), 1);
    assert!(polled.serves(&second));
}

/// As Kubernetes does it: the files are behind a link to a directory, and the link is swapped.
#[cfg(unix)]
#[test]
fn a_swapped_link_is_followed() {
    use std::os::unix::fs::symlink;
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let issued = [ca.issue(&Leaf::default()), ca.issue(&Leaf::default())];
    for (number, issued) in issued.iter().enumerate() {
        fs::create_dir(dir.0.join(format!("{number}"))).unwrap();
        dir.put(&format!("{number}/chain.pem"), &issued.chain_pem);
        dir.put(&format!("{number}/key.pem"), &issued.key_pem);
    }
    let data = dir.0.join("data");
    symlink("0", &data).unwrap();
    let mut polled = Polled::new(ca, &data.join("chain.pem"), &data.join("key.pem"));
    assert!(polled.serves(&issued[0]));
    symlink("1", dir.0.join("new")).unwrap();
    fs::rename(dir.0.join("new"), &data).unwrap();
    polled.poll();
    assert_eq!(polled.poll().1.len(), 1);
    assert!(polled.serves(&issued[1]));
}

#[test]
fn files_may_bring_other_names() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let issue = |names| {
        ca.issue(&Leaf {
            names,
            ..Leaf::default()
        })
    };
    let (first, second) = (
        issue(&["a.example", "b.example"]),
        issue(&["b.example", "c.example"]),
    );
    let chain = dir.put("chain.pem", &first.chain_pem);
    let key = dir.put("key.pem", &first.key_pem);
    let certs = CertManager::builder()
        .files(ServeFor::ItsNames, &chain, &key)
        .wall_clock(noon)
        .build()
        .unwrap();
    let start = Instant::now();
    certs.poll(start);
    dir.put("chain.pem", &second.chain_pem);
    dir.put("key.pem", &second.key_pem);
    certs.poll(start + PERIOD);
    assert_eq!(certs.poll(start + PERIOD + SETTLE).len(), 1);
    let status = certs.certificates();
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].names, ["b.example", "c.example"]);
}

/// What was set by hand is not overwritten by files that it has replaced.
#[test]
fn files_that_were_replaced_by_hand_are_not_watched() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let issued: Vec<Issued> = (0..3).map(|_| ca.issue(&Leaf::default())).collect();
    let chain = dir.put("chain.pem", &issued[0].chain_pem);
    let key = dir.put("key.pem", &issued[0].key_pem);
    let mut polled = Polled::new(ca, &chain, &key);
    polled
        .certs
        .replace(ServeFor::Default, issued[1].identity())
        .unwrap();
    dir.put("chain.pem", &issued[2].chain_pem);
    dir.put("key.pem", &issued[2].key_pem);
    for _ in 0..3 {
        assert_eq!(polled.poll(), (PERIOD, vec![]));
    }
    assert!(polled.serves(&issued[1]));
}

#[test]
fn files_that_are_not_there_or_too_large_are_refused_at_once() {
    let (ca, dir) = (Ca::new("ca"), Dir::new());
    let leaf = ca.issue(&Leaf::default());
    let key = dir.put("key.pem", &leaf.key_pem);
    let large = dir.put("large.pem", &"x".repeat((1 << 20) + 1));
    let build = |chain: &Path| {
        let builder = CertManager::builder().files(ServeFor::Default, chain, &key);
        builder.wall_clock(noon).build().unwrap_err()
    };
    let missing = dir.0.join("missing.pem");
    let error = build(&missing);
    assert!(matches!(&error, CertError::Unreadable { path, .. } if *path == missing));
    assert!(error.to_string().contains("missing.pem"));
    assert_eq!(
        build(&large),
        CertError::TooLarge {
            path: large.clone(),
            limit: 1 << 20
        }
    );
}

/// `--tls-cert <(command)`: a pipe says that its length is nothing, and one byte of it was read.
#[test]
fn a_pipe_is_read_to_its_end() {
    let issued = Ca::new("ca").issue(&Leaf::default());
    let dir = Dir::new();
    let (pipe, key) = (dir.0.join("pipe"), dir.put("key", &issued.key_pem));
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let writer = thread::spawn({
        let (pipe, text) = (pipe.clone(), issued.chain_pem);
        move || fs::write(pipe, text)
    });
    let identity = Identity::from_pem_files(&pipe, key).unwrap();
    assert_eq!(identity.names().collect::<Vec<_>>(), ["localhost"]);
    writer.join().unwrap().unwrap();
}
