//! Round trips over one connection, for counting their instructions under callgrind; and what an
//! idle connection holds.
//!
//! `benches/instructions.sh` runs it and makes tables: machines differ in what they do in a
//! nanosecond and neighbours disturb it, but a program executes the instructions it executes.
//!
//! Arguments: `echo`, `session` or `buffered`, `payload size`, `how often`; or `idle` and which.
#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "a session needs some time to begin with"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use socktree_tls::{CertManager, Identity, TlsSession};

/// Counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; only a counter is touched besides.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A server's side of a connection.
trait Server {
    /// Takes what was read, and puts what is to be written into `out`: the same, encrypted again.
    fn echo(&mut self, sealed: &mut [u8], plain: &mut [u8], out: &mut Vec<u8>);
}

impl Server for TlsSession {
    fn echo(&mut self, sealed: &mut [u8], plain: &mut [u8], out: &mut Vec<u8>) {
        let n = self.receive(sealed, plain).expect("right bytes");
        self.write(&plain[..n]).expect("it lives");
        out.extend_from_slice(self.output());
        self.sent(self.output().len());
    }
}

/// rustls with buffers of its own, used as well as it can be.
struct Buffered(Box<ServerConnection>);

impl Server for Buffered {
    fn echo(&mut self, sealed: &mut [u8], plain: &mut [u8], out: &mut Vec<u8>) {
        let (mut rest, mut filled) = (&sealed[..], 0);
        while !rest.is_empty() {
            self.0.read_tls(&mut rest).expect("there is room");
            let mut left = self
                .0
                .process_new_packets()
                .expect("right bytes")
                .plaintext_bytes_to_read();
            while left > 0 {
                let n = self.0.reader().read(&mut plain[filled..]).expect("data");
                filled += n;
                left -= n;
            }
        }
        self.0.writer().write_all(&plain[..filled]).expect("room");
        while self.0.wants_write() {
            self.0.write_tls(out).expect("memory does not fail");
        }
    }
}

struct Setup {
    certs: CertManager,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Setup {
    fn new() -> Self {
        let signed =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let chain = signed.cert.der().to_vec();
        let key = signed.signing_key.serialize_der();
        let identity = Identity::from_der([chain.clone()], key.clone()).expect("it is right");
        let certs = CertManager::builder()
            .identity(socktree_tls::ServeFor::Default, identity)
            .buffer_limit(1 << 20)
            .build()
            .expect("it is right");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(chain.clone())],
                PrivateKeyDer::try_from(key).expect("a key"),
            )
            .expect("they match");
        server.ticketer = rustls::crypto::ring::Ticketer::new().expect("random numbers");
        let mut roots = RootCertStore::empty();
        roots.add(chain.into()).expect("a certificate");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Self {
            certs,
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    fn server(&self, which: &str) -> Box<dyn Server> {
        if which == "session" {
            Box::new(self.certs.session(Instant::now()).expect("there is room"))
        } else {
            let tls = ServerConnection::new(Arc::clone(&self.server)).expect("a connection");
            Box::new(Buffered(Box::new(tls)))
        }
    }

    /// The client's side of a connection that stands.
    fn connect(&self, server: &mut dyn Server) -> ClientConnection {
        let name = "localhost".try_into().expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let mut plain = vec![0; 1024];
        loop {
            let mut sealed = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sealed).expect("memory does not fail");
            }
            if sealed.is_empty() {
                return client;
            }
            let mut answer = Vec::new();
            server.echo(&mut sealed, &mut plain, &mut answer);
            let mut rest = &answer[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("room");
                client.process_new_packets().expect("right bytes");
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    let setup = Setup::new();
    match &arguments[1..] {
        [what, which] if what == "idle" => {
            drop(setup.connect(&mut *setup.server(which)));
            let before = HELD.load(Ordering::Relaxed);
            let mut servers = Vec::with_capacity(100);
            let own = HELD.load(Ordering::Relaxed) - before;
            for _ in 0..100 {
                let mut server = setup.server(which);
                drop(setup.connect(&mut *server));
                servers.push(server);
            }
            let held = HELD.load(Ordering::Relaxed) - before - own;
            println!("{which}: {} bytes", held / 100);
        }
        [what, which, payload, times] if what == "echo" => {
            let number = |text: &String| text.parse::<usize>().expect("a number");
            let mut server = setup.server(which);
            let mut client = setup.connect(&mut *server);
            let message = vec![7; number(payload)];
            let mut records: Vec<Vec<u8>> = Vec::new();
            for _ in 0..number(times) {
                client.writer().write_all(&message).expect("room");
                let mut sealed = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut sealed).expect("memory does not fail");
                }
                records.push(sealed);
            }
            let (mut plain, mut out) = (vec![0; 1 << 16], Vec::with_capacity(1 << 17));
            round_trips(&mut *server, &mut records, &mut plain, &mut out);
        }
        _ => println!("see benches/instructions.sh"),
    }
}

/// What is counted, by its name.
#[inline(never)]
fn round_trips(
    server: &mut dyn Server,
    records: &mut [Vec<u8>],
    plain: &mut [u8],
    out: &mut Vec<u8>,
) {
    for record in records {
        out.clear();
        server.echo(black_box(record), plain, out);
        black_box(&out);
    }
}
