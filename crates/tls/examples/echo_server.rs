//! An echo service over TLS on plain `TcpStream`s, a thread for each, with certificates out of
//! files that are watched.
//!
//! ```text
//! cargo run -p socktree-tls --example echo_server -- cert.pem key.pem [127.0.0.1:7443]
//! openssl s_client -connect 127.0.0.1:7443 -quiet
//! ```
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the crate has no socket, no thread and no clock; a program has"
)]

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socktree_tls::{CertManager, ServeFor, TlsSession};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (chain, key, address) = match &arguments[..] {
        [chain, key] => (chain, key, "127.0.0.1:7443"),
        [chain, key, address] => (chain, key, address.as_str()),
        _ => return Err("usage: echo_server CERT KEY [ADDRESS]".into()),
    };
    let certs = CertManager::builder()
        .files(ServeFor::Default, chain, key)
        .build()?;
    let watched = certs.clone();
    thread::spawn(move || {
        loop {
            for event in watched.poll(Instant::now()) {
                println!("{event:?}");
            }
            let next = watched.next_poll().unwrap_or_else(Instant::now);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });

    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, certs) = (socket?, certs.clone());
        thread::spawn(move || match certs.session(Instant::now()) {
            Ok(session) => match serve(socket, session) {
                Ok(()) => println!("closed"),
                Err(error) => println!("ended: {error}"),
            },
            Err(error) => println!("refused: {error}"),
        });
    }
    Ok(())
}

/// Echoes until the peer says that this was all.
fn serve(mut socket: TcpStream, mut session: TlsSession) -> Result<(), Box<dyn Error>> {
    let (mut sealed, mut plain) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        flush(&mut socket, &mut session)?;
        if let Some(end) = session.peer_end() {
            session.close()?;
            flush(&mut socket, &mut session)?;
            println!("the peer's end: {end:?}");
            return Ok(());
        }
        let filled = if session.has_more() {
            session.read(&mut plain)
        } else {
            receive(&mut socket, &mut session, &mut sealed, &mut plain)?
        };
        match filled {
            Ok(n) => {
                let mut rest = &plain[..n];
                while !rest.is_empty() {
                    let taken = session.write(rest)?;
                    rest = &rest[taken..];
                    flush(&mut socket, &mut session)?;
                }
            }
            Err(error) => {
                // The alert that says why.
                flush(&mut socket, &mut session)?;
                return Err(error.into());
            }
        }
    }
}

/// Reads from the socket, but for no longer than the handshake may take.
fn receive(
    socket: &mut TcpStream,
    session: &mut TlsSession,
    sealed: &mut [u8],
    plain: &mut [u8],
) -> io::Result<Result<usize, socktree_tls::TlsError>> {
    let left = session.deadline().map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    });
    socket.set_read_timeout(left)?;
    let room = session.room().min(sealed.len());
    match socket.read(&mut sealed[..room]) {
        Ok(0) => Ok(session.receive_eof().map(|()| 0)),
        Ok(n) => Ok(session.receive(&mut sealed[..n], plain)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(session.handle_timeout(Instant::now()).map(|()| 0))
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Ok(0)),
        Err(error) => Err(error),
    }
}

fn flush(socket: &mut TcpStream, session: &mut TlsSession) -> io::Result<()> {
    while !session.output().is_empty() {
        let n = socket.write(session.output())?;
        session.sent(n);
    }
    Ok(())
}
