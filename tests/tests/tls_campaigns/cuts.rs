//! E03: a connection between our client and our server, cut at any byte of either direction, leaves
//! nothing behind on either side.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use socktree::tls::Versions;
use socktree::{ClientAuth, ClientTls, TcpConnection, TcpEvent};
use socktree_tests::{Ask, Authority, Probe, Served, Watch, connect, until};

use crate::lab::{Alone, is_long, report};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// Both directions end as if the other side had ended them.
    Fin,
    Reset,
}

/// Which way the bytes go that are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Up,
    Down,
}

/// Lies between the two and ends the connection after some byte.
struct Relay<'r> {
    client: &'r TcpStream,
    server: &'r TcpStream,
    way: Way,
    after: usize,
    cut: Cut,
    /// What has gone each way.
    passed: [AtomicUsize; 2],
}

impl Relay<'_> {
    /// Carries one direction to its end.
    fn carry(&self, way: Way) {
        let (mut from, mut to) = match way {
            Way::Up => (self.client, self.server),
            Way::Down => (self.server, self.client),
        };
        let counted = way == self.way;
        let passed = &self.passed[usize::from(way == Way::Down)];
        let mut left = if counted { self.after } else { usize::MAX };
        let mut buffer = [0; 4096];
        if left == 0 {
            self.cut();
        }
        while left > 0 {
            let most = left.min(buffer.len());
            let Ok(n @ 1..) = from.read(&mut buffer[..most]) else {
                // It has ended by itself, or was cut.
                let _cut = to.shutdown(Shutdown::Write);
                break;
            };
            // A side that has gone takes nothing more.
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
            passed.fetch_add(n, Ordering::Relaxed);
            left -= n;
            if left == 0 {
                self.cut();
            }
        }
        // Unread bytes would make a reset of what is to be an end.
        while matches!(from.read(&mut buffer), Ok(1..)) {}
    }

    fn cut(&self) {
        for side in [self.client, self.server] {
            match self.cut {
                Cut::Fin => drop(side.shutdown(Shutdown::Write)),
                Cut::Reset => {
                    let linger = SockRef::from(side).set_linger(Some(Duration::ZERO));
                    linger.expect("a live socket");
                    // Wakes whoever reads. The reset goes out when both are done with the socket.
                    let _gone = side.shutdown(Shutdown::Read);
                }
            }
        }
    }
}

struct Cutter {
    served: Served,
    client: ClientTls,
    owner: socktree::Address<socktree_tests::Said>,
    watch: Watch,
    listener: TcpListener,
}

impl Cutter {
    /// One conversation, cut; how many bytes went each way.
    fn converse(&self, way: Way, after: usize, cut: Cut) -> [usize; 2] {
        let (addr, tls) = (self.listener.local_addr().unwrap(), self.client.clone());
        let made = self.owner.ask(move |ctx| {
            let to = TcpConnection::open(addr).tls(tls);
            ctx.spawn_meta(to).map(drop)
        });
        made.expect("it can be tried");
        let (client, _) = self.listener.accept().unwrap();
        let server = connect(self.served.addr());
        client.set_nodelay(true).unwrap();
        let relay = Relay {
            client: &client,
            server: &server,
            way,
            after,
            cut,
            passed: [AtomicUsize::new(0), AtomicUsize::new(0)],
        };
        thread::scope(|scope| {
            scope.spawn(|| relay.carry(Way::Down));
            relay.carry(Way::Up);
        });
        let passed = relay.passed.map(AtomicUsize::into_inner);
        drop((client, server));
        self.ended(&format!("{way:?} {after} {cut:?}"));
        passed
    }

    /// The client's owner has heard of an end, and only of one: the watch sees to that.
    fn ended(&self, what: &str) {
        loop {
            match self.watch.next() {
                TcpEvent::ConnectFailed { .. } | TcpEvent::Disconnect { .. } => break,
                TcpEvent::Connect { .. } | TcpEvent::Data { .. } | TcpEvent::Eof { .. } => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        until(&format!("{what}: the server's side is over"), || {
            (self.served.server.connections() == 0).then_some(())
        });
    }
}

fn cut_everywhere(versions: Versions) {
    let mut alone = Alone::begin();
    let authority = Authority::new();
    let auth = ClientAuth::required(authority.roots());
    let builder = authority.server().versions(versions).client_auth(auth);
    let certs = builder.build().unwrap();
    let client = ClientTls::builder()
        .roots(authority.roots())
        .server_name("localhost")
        .identity(authority.issue("client"))
        .resumption(false);
    let served = Served::start(Served::any().tls(&certs), Probe::echo());
    let (probe, watch) = Probe::new();
    // Speaks first, and ends it with the answer.
    let probe = probe.on(|_, event| {
        match event {
            TcpEvent::Connect { conn } => drop(conn.write(&b"ping"[..])),
            TcpEvent::Data { conn, .. } => conn.close(),
            _ => {}
        }
        Ok(())
    });
    let mut cutter = Cutter {
        client: client.build().unwrap(),
        owner: served.node.spawn(probe).unwrap(),
        watch,
        served,
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
    };
    cutter.served.rebase();
    alone.started();
    // Uncut, so that it is known how long it is. A signature may be some bytes longer.
    let [up, down] = cutter.converse(Way::Up, usize::MAX, Cut::Fin);
    assert!(up > 500 && down > 500, "{up} up, {down} down");
    alone.warmed_up();

    let began = Instant::now();
    let mut conversations = 0;
    let stride = if is_long() { 1 } else { 61 };
    for (way, len) in [(Way::Up, up + 8), (Way::Down, down + 8)] {
        for cut in [Cut::Fin, Cut::Reset] {
            let first = if cut == Cut::Fin { 0 } else { stride / 2 };
            for after in (first..=len).step_by(stride) {
                cutter.converse(way, after, cut);
                conversations += 1;
            }
        }
    }
    let took = began.elapsed();
    let kept = alone.settle(&cutter.served, &certs);
    report(&format!(
        "cuts, {versions:?}: {conversations} conversations in {took:.1?}, cut by FIN and by RST at \
         each of {up} bytes up and {down} down and a little after; each side heard of one end, and \
         nothing is left; {kept} KiB more memory"
    ));
    assert!(cutter.watch.all_over());
    cutter.served.finish();
}

#[test]
fn cut_anywhere_with_tls_1_3() {
    cut_everywhere(Versions::Tls13);
}

#[test]
fn cut_anywhere_with_tls_1_2() {
    cut_everywhere(Versions::Tls12);
}
