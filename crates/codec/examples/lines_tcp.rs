//! An echo service for lines, over a plain `TcpStream`, without an event loop.
//!
//!     cargo run -p socktree-codec --example lines_tcp
//!
//! It serves one connection, talks to it from a second thread, and ends.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the socket and the thread are the example's, not the codec's"
)]

use std::error::Error;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use socktree_codec::{FrameReader, FrameWriter, Framing, Lines};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let framing = Lines::new().crlf(true).max_frame(8192).build()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;

    let server = thread::spawn({
        let framing = framing.clone();
        move || serve(&listener.accept()?.0, framing)
    });

    let stream = TcpStream::connect(address)?;
    let mut lines = FrameReader::new(&stream, framing.clone());
    let mut writer = FrameWriter::new(&stream, framing);
    for word in ["hello", "", "bye"] {
        writer.write_frame(word)?;
        let echoed = lines.next_frame()?.ok_or("the server hung up")?;
        println!("{word:?} came back as {echoed:?}");
        assert_eq!(echoed, word);
    }
    stream.shutdown(Shutdown::Write)?;
    server.join().expect("the server does not panic")
}

/// Sends every line back until the client is done.
fn serve(stream: &TcpStream, framing: Framing) -> Outcome {
    let mut writer = FrameWriter::new(stream, framing.clone());
    for line in FrameReader::new(stream, framing) {
        writer.write_frame(line?)?;
    }
    Ok(())
}
