//! Fetches the front page of a site over TLS, on a plain `TcpStream`.
//!
//! ```text
//! cargo run -p socktree-tls --example fetch -- example.org [443] [CA.pem]
//! ```
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the crate has no socket and no clock; a program has"
)]

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use socktree_tls::{ClientTls, Roots};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let host = arguments.first().ok_or("usage: fetch HOST [PORT] [CA]")?;
    let port = arguments
        .get(1)
        .map_or(Ok(443), |port| port.parse::<u16>())?;
    let mut options = ClientTls::builder().alpn(["http/1.1"]);
    if let Some(ca) = arguments.get(2) {
        options = options.roots(Roots::from_pem_file(ca)?);
    }
    let mut session = options.build()?.session(host, Instant::now())?;
    let mut socket = TcpStream::connect((host.as_str(), port))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut request = request.as_bytes();
    let (mut sealed, mut plain) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut told = false;
    while session.peer_end().is_none() {
        if let (false, Some(info)) = (told, session.info()) {
            println!("{}, {}, {:?}", info.version, info.cipher_suite, info.alpn);
            told = true;
        }
        request = &request[session.write(request)?..];
        while !session.output().is_empty() {
            let n = socket.write(session.output())?;
            session.sent(n);
        }
        let filled = if session.has_more() {
            session.read(&mut plain)?
        } else {
            let room = session.room().min(sealed.len());
            match socket.read(&mut sealed[..room])? {
                0 => session.receive_eof().map(|()| 0)?,
                n => session.receive(&mut sealed[..n], &mut plain)?,
            }
        };
        io::stdout().write_all(&plain[..filled])?;
    }
    println!("\nthe peer's end: {:?}", session.peer_end());
    Ok(())
}
