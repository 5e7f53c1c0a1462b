//! The examples as their users run them: what they print, and what they end with.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};
use socktree_tests::{EchoServer, Random, connect, end_by, example, mirrored};

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example(name));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Expects an exit code of 1, and one line on standard error, which has all these parts.
fn fails(name: &str, arguments: &[&str], parts: &[&str]) {
    let mut command = program(name, arguments);
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{command:?}");
    assert!(said.starts_with(&format!("{name}: ")), "{said:?}");
    assert_eq!(said.find('\n'), Some(said.len() - 1), "one line: {said:?}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said:?}");
    }
}

#[test]
fn a_client_prints_what_comes_back() {
    let server = EchoServer::start(&[]);
    let addr = server.addr().to_string();
    let input = Random::new(6).bytes(1 << 20);
    mirrored(program("client", &["--connect", &addr]), &input);
    server.stop();
}

#[test]
fn a_client_that_is_refused_says_so() {
    // Held, so that nobody else gets it, but nobody listens.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    held.bind(&any.into()).unwrap();
    let addr = held.local_addr().unwrap().as_socket().unwrap().to_string();
    fails("client", &["--connect", &addr], &[&addr, "refused"]);
}

#[test]
fn wrong_options_are_named() {
    for name in ["client", "echo"] {
        fails(name, &["--no-such-option"], &["--no-such-option"]);
        fails(name, &["--listen"], &["--listen needs a value"]);
    }
    fails("echo", &["--threads", "many"], &["--threads", "many"]);
    fails("client", &["--insecure"], &["--tls"]);
}

#[test]
fn an_echo_server_whose_address_is_in_use_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    fails("echo", &["--listen", &addr], &[&addr, "in use"]);
}

/// With a connection and without: a signal is the usual way to end it.
#[test]
fn a_listening_client_ends_well_on_a_signal() {
    for (signal, connected) in [("-TERM", false), ("-INT", false), ("-TERM", true)] {
        let mut child = program("client", &["--listen", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let addr = line.trim_end().strip_prefix("listening on ");
        let addr: SocketAddr = addr.expect("where it listens").parse().unwrap();
        assert!(addr.ip().is_loopback() && addr.port() != 0, "{line}");
        let connection = connected.then(|| connect(addr));
        let status = end_by(signal, &mut child);
        assert_eq!(status.code(), Some(0), "{signal}, connected: {connected}");
        drop(connection);
    }
}
