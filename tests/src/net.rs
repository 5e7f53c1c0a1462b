//! Clients made of the standard library alone, which never wait for ever.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::until::DEADLINE;

/// Connects.
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, DEADLINE).expect("the server takes connections");
    bounded(stream)
}

/// Connects with a receive buffer of a few KiB, so that little is under way when nothing is read.
pub fn connect_small(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket
        .connect(&addr.into())
        .expect("the server takes connections");
    bounded(socket.into())
}

fn bounded(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a live socket");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a live socket");
    stream.set_nodelay(true).expect("a live socket");
    stream
}

/// Reads exactly so many bytes.
pub fn receive(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream
        .read_exact(&mut bytes)
        .expect("so many bytes arrive in time");
    bytes
}

/// Reads until the server ends the connection: what came, and how it ended.
pub fn read_to_end(mut stream: &TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).err().map(|e| e.kind());
    assert!(
        !matches!(ended, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)),
        "not ended in {DEADLINE:?}, after {} bytes",
        bytes.len()
    );
    (bytes, ended)
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a live socket");
    drop(stream);
}

/// A port that was free a moment ago, for what must be bound to the same port again and again.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a bound socket")
}
