//! TLS with implementations that share no code with ours, as far as every machine has them: OpenSSL,
//! by itself and under Python. `tests/tools/tls/interop.py` has more of them, and more cases.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use socktree::tls::Versions;
use socktree::{ClientTls, TcpConnection};
use socktree_tests::{Ask, Authority, Probe, Served};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/tls/peer.py");

/// Files of an authority and of a certificate for `localhost`, gone when the test is.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, authority: &Authority) -> Self {
        let dir = std::env::temp_dir().join(format!("socktree-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let issued = authority.certificate("localhost");
        fs::write(dir.join("ca"), authority.pem()).unwrap();
        fs::write(dir.join("cert"), issued.pem).unwrap();
        fs::write(dir.join("key"), issued.key_pem).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// There and back, and again with the ticket of the first time.
#[test]
fn a_python_client_is_served_and_resumes() {
    let authority = Authority::new();
    let files = Files::new("python-client", &authority);
    let served = Served::start(Served::any().tls(&authority.certs()), Probe::echo());
    let port = served.addr().port();
    for version in ["1.2", "1.3"] {
        let output = Command::new("python3")
            .args([PEER, "client", "name=localhost", "times=2"])
            .arg(format!("port={port}"))
            .arg(format!("ca={}", files.path("ca")))
            .arg(format!("version={version}"))
            .output()
            .expect("python3 is there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected =
            format!("echoed 1048576 TLSv{version}\nechoed 1048576 TLSv{version} resumed\n");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, expected, "{errors}");
        assert!(output.status.success());
    }
    served.finish();
}

/// A server of somebody else, ended with the value.
struct Other {
    child: Child,
    port: u16,
}

impl Other {
    /// It says its port at the end of the first line that has one.
    fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = child.spawn().expect("it is there");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.rsplit([':', ' ']).next()?.parse().ok()
        });
        // It says more later, and must be able to.
        std::thread::spawn(move || lines.for_each(drop));
        let port = port.expect("it says where it listens");
        Self { child, port }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Three connections; all but the first resume.
fn our_client_resumes(name: &str, command: impl Fn(&Files, &str) -> Command) {
    let authority = Authority::new();
    let files = Files::new(name, &authority);
    let (probe, watch) = Probe::new();
    let node = Served::node(1);
    let owner = node.spawn(probe).unwrap();
    for (versions, version) in [(Versions::Tls12, "1.2"), (Versions::Tls13, "1.3")] {
        let other = Other::start(&mut command(&files, version));
        let client = ClientTls::builder().roots(authority.roots());
        let client = client.server_name("localhost").versions(versions);
        let client = client.build().unwrap();
        for round in 0..3 {
            let (tls, addr) = (client.clone(), format!("127.0.0.1:{}", other.port));
            let made = owner.ask(move |ctx| {
                let to = TcpConnection::connect(addr).tls(tls);
                ctx.spawn_meta(to)
            });
            let conn = made.expect("it takes connections");
            watch.connect();
            // With TLS 1.3 tickets come after the handshake, ahead of an answer.
            conn.write(&b"ping\n"[..]);
            watch.bytes(5);
            let resumed = conn.tls().unwrap().resumed;
            assert_eq!(resumed, round > 0, "{name}, TLS {version}, round {round}");
            conn.close();
            watch.ended();
        }
    }
    let report = node.stop().unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn our_client_resumes_with_openssl() {
    our_client_resumes("openssl", |files, version| {
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-accept", "127.0.0.1:0", "-rev"])
            .args(["-cert", &files.path("cert"), "-key", &files.path("key")])
            .arg(format!("-tls{}", version.replace('.', "_")));
        command
    });
}

#[test]
fn our_client_resumes_with_python() {
    our_client_resumes("python", |files, version| {
        let mut command = Command::new("python3");
        command
            .args([PEER, "server"])
            .arg(format!("cert={}", files.path("cert")))
            .arg(format!("key={}", files.path("key")))
            .arg(format!("version={version}"));
        command
    });
}
