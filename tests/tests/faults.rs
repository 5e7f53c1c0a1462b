//! The faults that were observed in the system this one descends from (section 1.3 of the fault
//! list), each with the figure that it must not show here.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use socktree::{DisconnectReason, LengthPrefix, TcpEvent};
use socktree_tests::{
    EchoServer, Probe, Served, connect, number, read_to_end, receive, reset, start_tool, until,
};

fn answers(stream: &TcpStream) {
    let mut sender = stream;
    sender.write_all(b"hello").expect("the server reads");
    assert_eq!(receive(stream, 5), b"hello");
}

/// A01, T-02: out of descriptors, the listener waits; it neither dies nor spins, and it serves
/// those who waited as soon as descriptors are free.
#[test]
fn a_server_without_descriptors_recovers() {
    for options in [["--threads", "1"], ["--threads", "2"]] {
        let server = EchoServer::start_under(&["prlimit", "--nofile=64"], &options);
        let before = server.process().descriptors();
        let crowd: Vec<_> = (0..200).map(|_| connect(server.addr())).collect();
        answers(&crowd[0]);
        until("no descriptor left", || {
            (server.process().descriptors() >= 63).then_some(())
        });

        let (began, cpu) = (Instant::now(), server.process().cpu());
        until("a second to look at the processor time", || {
            (began.elapsed() > Duration::from_secs(1)).then_some(())
        });
        let used = server.process().cpu() - cpu;
        assert!(used <= Duration::from_millis(50), "it spins: {used:?}");

        // Most have never been accepted. They are in the backlog, and served in their turn.
        let last = crowd.last().expect("there are 200").try_clone();
        let last = last.expect("descriptors are short over there alone");
        drop(crowd);
        answers(&last);
        answers(&connect(server.addr()));
        drop(last);
        until("all descriptors closed again", || {
            (server.process().descriptors() == before).then_some(())
        });
        server.stop();
    }
}

/// Clients that write and never read, until the server takes nothing from any of them any more.
struct Stuck {
    client: Child,
    _stdin: ChildStdin,
}

impl Stuck {
    const OFFER: u64 = 30 << 20;

    fn offer(server: &EchoServer, connections: u64) -> Self {
        let mut client = start_tool(
            "never_reads.py",
            &[
                "--addr",
                &server.addr().to_string(),
                "--connections",
                &connections.to_string(),
                "--offer-bytes",
                &Self::OFFER.to_string(),
                "--hold",
            ],
        );
        let stdin = client.stdin.take().expect("it is piped");
        let mut report = String::new();
        let mut stdout = client.stdout.take().expect("it is piped");
        let mut byte = [0];
        while !report.ends_with('\n') {
            // Others are served meanwhile.
            answers(&connect(server.addr()));
            stdout.read_exact(&mut byte).expect("a report");
            report.push(char::from(byte[0]));
        }
        let stalled = format!("{{\"stalled\": {connections}}}");
        assert!(report.contains(&stalled), "{report}");
        assert!(number(&report, "accepted_in_all") < connections * Self::OFFER);
        Self {
            client,
            _stdin: stdin,
        }
    }

    fn leave(self) {
        let Self { mut client, _stdin } = self;
        drop(_stdin);
        assert!(client.wait().expect("it is our child").success());
    }
}

/// D01, T-14, T-34: 150 MiB offered to an echo by clients that never read, and 480 MiB by more of
/// them. What the server keeps of each is bounded by the write marks. What a process needs to serve
/// anything at all is in both readings, so it does not count.
#[test]
fn clients_that_never_read_cost_a_bounded_amount_of_memory() {
    const FEW: u64 = 5;
    const MORE: u64 = 16;
    let server = EchoServer::start(&["--threads", "1", "--workers", "0"]);
    let few = Stuck::offer(&server, FEW);
    let before = server.process().memory();
    let more = Stuck::offer(&server, MORE);
    let grown = server.process().memory().saturating_sub(before);
    let bound = MORE * ((1 << 20) + (64 << 10));
    assert!(grown <= bound, "{grown} bytes more, {bound} are allowed");
    answers(&connect(server.addr()));
    few.leave();
    more.leave();
    server.stop();
}

/// C02, T-20: a length that includes the header and is smaller than it. The connection ends as
/// malformed, and not one message comes of it.
#[test]
fn lengths_below_the_header_are_malformed() {
    let framing = LengthPrefix::u32_be().counts_header(true).strip(false);
    let framing = framing.build().expect("a valid framing");
    let served = Served::start(Served::any().framing(framing), Probe::echo());
    for length in 0..4_u32 {
        let stream = connect(served.addr());
        let mut sender = &stream;
        sender.write_all(&length.to_be_bytes()).expect("it reads");
        let (answer, _) = read_to_end(&stream);
        assert!(answer.is_empty(), "an answer to a length of {length}");
        served.watch.connect();
        let event = served.watch.next();
        assert!(
            matches!(
                &event,
                TcpEvent::Disconnect {
                    reason: DisconnectReason::Malformed(_),
                    ..
                }
            ),
            "{event:?}"
        );
    }
    // The smallest that is right, and a message that follows it.
    let stream = connect(served.addr());
    let mut sender = &stream;
    let right = b"\0\0\0\x04\0\0\0\x05!";
    sender.write_all(right).expect("it reads");
    assert_eq!(receive(&stream, right.len()), right);
    drop(stream);
    served.finish();
}

/// C01: a header that claims 4 GiB is refused when it is complete, and nothing is set aside.
#[test]
fn a_length_above_the_limit_is_refused_at_once() {
    let server = EchoServer::start(&["--framing", "u32", "--max-frame", "1000"]);
    let before = server.process().memory();
    for _ in 0..200 {
        let mut stream = connect(server.addr());
        stream.write_all(&[0xff; 4]).expect("it reads");
        let (answer, _) = read_to_end(&stream);
        assert!(answer.is_empty());
    }
    let grown = server.process().memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    server.stop();
}

/// T-52, C09: after small messages the server still reads with a whole buffer.
#[test]
fn small_messages_do_not_shrink_the_reads() {
    let server = EchoServer::start(&["--threads", "1"]);
    let log = std::env::temp_dir().join(format!("socktree-reads-{}", server.process().pid()));
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=recvfrom,read,readv", "-o"])
        .arg(&log)
        .args(["-p", &server.process().pid().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is there");
    // It says so when it is attached; before, it would miss calls.
    let mut said = [0; 16];
    let mut stderr = strace.stderr.take().expect("it is piped");
    stderr.read_exact(&mut said).expect("strace attaches");

    let stream = connect(server.addr());
    let mut sender = &stream;
    for _ in 0..40 {
        sender.write_all(b"x").expect("the server reads");
        assert_eq!(receive(&stream, 1), b"x");
    }
    stream.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(read_to_end(&stream), (Vec::new(), None));
    server.stop();
    until("the end of strace", || strace.try_wait().expect("a child"));

    let calls = fs::read_to_string(&log).expect("strace has written it");
    let _left_behind = fs::remove_file(&log);
    // `read(12, "x", 65536) = 1`: the size asked for is the third argument, as of `recvfrom`.
    let sizes: Vec<usize> = calls
        .lines()
        .filter_map(|line| line.split_once("\"x\", "))
        .filter_map(|(_, rest)| rest.split(&[',', ')']).next()?.parse().ok())
        .collect();
    assert_eq!(sizes.len(), 40, "{calls}");
    assert!(sizes.iter().all(|size| *size >= 4096), "{sizes:?}");
}

/// A05: clients that are gone before they are accepted leave no trace and stop nobody.
#[test]
fn resets_before_accept_are_survived() {
    let server = EchoServer::start(&["--threads", "2", "--workers", "2"]);
    let before = server.process().descriptors();
    for _ in 0..300 {
        reset(connect(server.addr()));
    }
    answers(&connect(server.addr()));
    until("all descriptors closed again", || {
        (server.process().descriptors() == before).then_some(())
    });
    server.stop();
}
