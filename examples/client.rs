//! Sends what it reads from standard input, and prints what comes back.
//!
//! ```text
//! cargo run --release --example client -- [--connect ADDR] [--listen ADDR]
//! ```
//!
//! With `--listen` it waits for one connection instead of making one, as `nc -l` does.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;
use socktree::{
    Actor, Address, Conn, Ctx, DisconnectReason, Flow, Reason, Source, TcpConnection, TcpEvent,
    TcpServer, Written, protocol,
};

/// What standard input gave; empty at its end.
struct Input(Bytes);

protocol! {
    enum Msg { Net(TcpEvent), Input(Input) }
}

enum Peer {
    Connect(String),
    Listen(String),
}

struct Client {
    peer: Peer,
    conn: Option<Conn>,
    /// Lets the thread that reads standard input go on by one read.
    go_on: Option<SyncSender<()>>,
}

impl Client {
    fn start_input(&mut self, me: Address<Msg>) -> io::Result<()> {
        let (go_on, may_read) = sync_channel(1);
        // There is room for one, and nobody has sent any yet.
        let _room = go_on.try_send(());
        self.go_on = Some(go_on);
        thread::Builder::new()
            .name("stdin".into())
            .spawn(move || read_input(&me, &may_read))
            .map(|_handle| ())
    }

    fn ready_for_more(&self) {
        if let Some(go_on) = &self.go_on {
            // Full only if it may read already.
            let _told = go_on.try_send(());
        }
    }

    fn net(&mut self, ctx: &Ctx<'_, Self>, event: TcpEvent) -> Flow {
        match event {
            TcpEvent::Connect { conn } if self.conn.is_none() => {
                log::info!("connected to {}", conn.peer_addr());
                self.conn = Some(conn);
                self.start_input(ctx.me())?;
            }
            // One conversation is enough for one standard input.
            TcpEvent::Connect { conn } => conn.close(),
            TcpEvent::Data { data, .. } => {
                let mut out = io::stdout().lock();
                out.write_all(&data)?;
                out.flush()?;
            }
            TcpEvent::Writable { .. } => self.ready_for_more(),
            TcpEvent::Disconnect { conn, reason } if self.conn.as_ref() == Some(&conn) => {
                return Err(match reason {
                    DisconnectReason::PeerClosed => Reason::Normal,
                    reason => Reason::error(reason.to_string()),
                });
            }
            TcpEvent::ConnectFailed { reason, .. } => {
                return Err(Reason::error(reason.to_string()));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Actor for Client {
    type Msg = Msg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        match &self.peer {
            // The rest happens when it is connected.
            Peer::Connect(addr) => drop(ctx.spawn_meta(TcpConnection::connect(addr.as_str()))?),
            Peer::Listen(addr) => {
                let server = ctx.spawn_meta(TcpServer::bind(addr.as_str()))?;
                println!("listening on {}", server.local_addr());
            }
        }
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _from: Source, message: Msg) -> Flow {
        match message {
            Msg::Net(event) => self.net(ctx, event)?,
            Msg::Input(Input(bytes)) => {
                let Some(conn) = &self.conn else {
                    return Ok(());
                };
                if bytes.is_empty() {
                    conn.shutdown_write();
                } else if conn.write(bytes) == Written::Queued {
                    self.ready_for_more();
                }
            }
        }
        Ok(())
    }
}

/// Reads standard input piece by piece, each when the connection has room for it.
fn read_input(client: &Address<Msg>, may_read: &Receiver<()>) {
    let mut buffer = vec![0; 64 * 1024];
    while may_read.recv().is_ok() {
        let n = io::stdin().lock().read(&mut buffer).unwrap_or(0);
        let sent = client.send(Input(Bytes::copy_from_slice(&buffer[..n])));
        if n == 0 || sent.is_err() {
            return;
        }
    }
}

fn parse() -> Result<Peer, String> {
    let mut peer = Peer::Connect("127.0.0.1:7171".into());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        use lexopt::Arg::Long;
        match argument {
            Long("connect") => {
                peer = Peer::Connect(socktree_examples::value(&mut parser, "connect")?);
            }
            Long("listen") => peer = Peer::Listen(socktree_examples::value(&mut parser, "listen")?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(peer)
}

fn main() -> ExitCode {
    let outcome = parse().and_then(|peer| {
        socktree_examples::start_log("warn");
        let node = socktree::node("client@localhost").workers(1);
        socktree_examples::run(
            node,
            Client {
                peer,
                conn: None,
                go_on: None,
            },
        )
    });
    socktree_examples::exit("client", outcome)
}
