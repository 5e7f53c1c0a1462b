//! E14: names of every kind, as clients that are wrong or mean put them into a ClientHello.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use socktree::tls::{NamePolicy, TlsSession, Versions};
use socktree::{CertManager, ClientTls, ServeFor};
use socktree_tests::{Authority, Issued, Probe, Served, connect, receive, reset, until};

use crate::lab::{Alone, failures, report, scale};

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The certificate for this name alone.
    Exact,
    /// The one with a wildcard.
    Wild,
    /// The default one; by the other policy, the alert `unrecognized_name`.
    Unknown,
    /// The alert `illegal_parameter`, whatever the policy.
    Illegal,
}

const UNRECOGNIZED_NAME: u8 = 112;
const ILLEGAL_PARAMETER: u8 = 47;

/// Names, or none, and what becomes of them.
fn shapes() -> Vec<(Option<Vec<u8>>, Answer)> {
    use Answer::{Exact, Illegal, Unknown, Wild};
    let labels = |len: usize| {
        let name = format!("{}.", "a".repeat(49)).repeat(len.div_ceil(50));
        Some(name.as_bytes()[..len].to_vec())
    };
    let name = |text: &str| Some(text.as_bytes().to_vec());
    vec![
        (name("second.test"), Exact),
        (name("SECOND.Test"), Exact),
        (name("second.test."), Exact),
        (name("any.WILD.test"), Wild),
        (name("two.labels.wild.test"), Unknown),
        (name("unknown.test"), Unknown),
        (name("under_score.test"), Unknown),
        (None, Unknown),
        (name("127.0.0.1"), Unknown),
        (name("::1"), Unknown),
        (labels(253), Unknown),
        (labels(255), Illegal),
        (labels(60_000), Illegal),
        (name(&format!("{}.test", "a".repeat(64))), Illegal),
        (name("é.test"), Illegal),
        (Some(vec![0xff, 0xfe, b'.', b'a']), Illegal),
        (name("a\r\nlevel=ERROR forged\x1b[2J.test"), Illegal),
        (name("nul\0.test"), Illegal),
        (name("two..dots"), Illegal),
        (name("."), Illegal),
    ]
}

/// The ClientHello of this session, with another name in it (RFC 6066, section 3).
fn hello(session: &TlsSession, name: Option<&[u8]>) -> Vec<u8> {
    let number = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let field = |len: usize| u16::try_from(len).expect("it fits").to_be_bytes();
    // Behind the headers of record and message: version, random, then three lists of any length.
    let message = &session.output()[9..];
    let mut at = 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + number(&message[at..]);
    at += 1 + usize::from(message[at]);
    let mut extensions = Vec::new();
    let mut rest = &message[at + 2..];
    while !rest.is_empty() {
        let (extension, others) = rest.split_at(4 + number(&rest[2..]));
        if number(extension) != 0 {
            extensions.extend_from_slice(extension);
        }
        rest = others;
    }
    if let Some(name) = name {
        let len = name.len();
        extensions.extend([&[0, 0], &field(len + 5)[..], &field(len + 3)].concat());
        extensions.extend([&[0], &field(len)[..], name].concat());
    }
    let body = [&message[..at], &field(extensions.len()), &extensions].concat();
    let [_, len @ ..] = u32::try_from(body.len()).expect("it fits").to_be_bytes();
    let message = [&[1], &len[..], &body].concat();
    let records = message.chunks(16 << 10);
    let record = |piece: &[u8]| [&[22, 3, 1], &field(piece.len())[..], piece].concat();
    records.flat_map(record).collect()
}

/// The first record of the answer, or more of them until `wanted` is in it.
fn answer(mut stream: &TcpStream, hello: &[u8], wanted: Option<&[u8]>) -> Vec<u8> {
    // A server that has seen enough does not take the rest.
    let _taken = stream.write_all(hello);
    let mut all = Vec::new();
    loop {
        let header = receive(stream, 5);
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        all.extend(header);
        all.extend(receive(stream, len));
        let found = |wanted: &[u8]| all.windows(wanted.len()).any(|bytes| bytes == wanted);
        if all[0] == 21 || wanted.is_none_or(found) {
            return all;
        }
    }
}

struct Servers {
    default: Issued,
    exact: Issued,
    wild: Issued,
    tls12: ClientTls,
    tls13: ClientTls,
}

impl Servers {
    /// One conversation: what is sent, and whether it is answered as it should be.
    fn try_one(&self, addr: SocketAddr, policy: NamePolicy, n: usize) {
        let shapes = shapes();
        let (name, expected) = &shapes[n % shapes.len()];
        // Certificates are in the clear with TLS 1.2 alone.
        let clear = (n / shapes.len()).is_multiple_of(2);
        let tls = if clear { &self.tls12 } else { &self.tls13 };
        let session = tls.session("localhost", Instant::now()).unwrap();
        let stream = connect(addr);
        let hello = hello(&session, name.as_deref());
        let certificate = match expected {
            Answer::Exact => Some(&self.exact),
            Answer::Wild => Some(&self.wild),
            Answer::Unknown if policy == NamePolicy::Default => Some(&self.default),
            Answer::Unknown | Answer::Illegal => None,
        };
        let wanted = certificate.filter(|_| clear).map(|issued| &*issued.der);
        let answer = answer(&stream, &hello, wanted);
        let what = || format!("{policy:?} {name:?}: {:?}", &answer[..answer.len().min(16)]);
        match (certificate, expected) {
            (Some(_), _) => assert_eq!(answer[0], 22, "{}", what()),
            (None, Answer::Illegal) => {
                assert_eq!(answer[5..], [2, ILLEGAL_PARAMETER], "{}", what())
            }
            (None, _) => assert_eq!(answer[5..], [2, UNRECOGNIZED_NAME], "{}", what()),
        }
        reset(stream);
    }
}

#[test]
fn e14_odd_names_are_answered_as_they_should_be() {
    let mut alone = Alone::begin();
    let authority = Authority::new();
    let client = |versions| {
        let client = ClientTls::builder().roots(authority.roots());
        client.versions(versions).build().unwrap()
    };
    let servers = Servers {
        default: authority.certificate("localhost"),
        exact: authority.certificate("second.test"),
        wild: authority.certificate("*.wild.test"),
        tls12: client(Versions::Tls12),
        tls13: client(Versions::Tls13),
    };
    for policy in [NamePolicy::Default, NamePolicy::Refuse] {
        let certs = CertManager::builder()
            .identity(ServeFor::Default, servers.default.identity())
            .identity(ServeFor::ItsNames, servers.exact.identity())
            .identity(ServeFor::ItsNames, servers.wild.identity())
            .unknown_name(policy)
            .missing_name(policy);
        let certs = certs.build().unwrap();
        let served = Served::start(Served::any().tls(&certs), Probe::echo());
        alone.started();
        let total = scale(1_000, 4) * shapes().len();
        let began = Instant::now();
        thread::scope(|scope| {
            for half in 0..2 {
                let (servers, addr) = (&servers, served.addr());
                let mine = (0..total).filter(move |n| n % 2 == half);
                scope.spawn(move || mine.for_each(|n| servers.try_one(addr, policy, n)));
            }
        });
        let took = began.elapsed();
        until("each has failed", || {
            (failures(&served) == total as u64).then_some(())
        });
        let kept = alone.settle(&served, &certs);
        report(&format!(
            "names, {policy:?}: {} shapes, {total} conversations in {took:.1?}; {:?}; nothing is left, \
             {kept} KiB more memory",
            shapes().len(),
            served.server.failed_handshakes()
        ));
        served.finish();
    }
}
