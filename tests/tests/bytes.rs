//! Bytes through the echo example, from clients that share no code with us: what was sent comes
//! back whole, in order, and to the one who sent it (O4 of the fault list).

use std::process::Command;

use socktree_tests::{EchoServer, Process, Random, mirrored, number, run_tool, until};

/// Each connection ends at another place: 16 KiB would be the end of a block, a chunk and a read.
const THOUSAND: [&str; 6] = [
    "--connections",
    "1000",
    "--min-bytes",
    "1",
    "--bytes-per-connection",
    "32768",
];

/// Expects that what was sent is back, about as much as a thousand random lengths come to.
fn all_back(report: &str) {
    let received = number(report, "bytes_received");
    assert_eq!(received, number(report, "bytes_sent"));
    assert!((14 << 20..18 << 20).contains(&received), "{report}");
}

/// Runs a client against an echo server, which must then be as it was (O1).
fn check(options: &[&str], tool: &str, arguments: &[&str]) -> String {
    Process::new(std::process::id()).allow_descriptors(4096);
    let server = EchoServer::start(options);
    let before = server.process().descriptors();
    let addr = server.addr().to_string();
    let report = run_tool(tool, &[&["--addr", &addr], arguments].concat());
    until("all descriptors closed again", || {
        (server.process().descriptors() == before).then_some(())
    });
    server.stop();
    report
}

#[test]
fn a_thousand_connections_on_one_thread_without_workers() {
    let report = check(
        &["--threads", "1", "--workers", "0"],
        "echo_client.py",
        &THOUSAND,
    );
    all_back(&report);
}

#[test]
fn a_thousand_connections_on_two_threads_with_four_workers() {
    let report = check(
        &["--threads", "2", "--workers", "4"],
        "echo_client.py",
        &[&THOUSAND[..], &["--half-close", "--seed", "2"]].concat(),
    );
    all_back(&report);
}

#[test]
fn a_few_connections_with_much_in_large_pieces() {
    check(
        &["--threads", "2", "--workers", "0"],
        "echo_client.py",
        &[
            "--connections",
            "4",
            "--bytes-per-connection",
            "8000000",
            "--max-chunk",
            "1000000",
        ],
    );
}

#[test]
fn messages_of_a_fixed_length() {
    // 7 divides neither a read nor a piece.
    check(
        &["--threads", "2", "--workers", "4", "--framing", "fixed:7"],
        "echo_client.py",
        &[
            "--connections",
            "200",
            "--bytes-per-connection",
            "35000",
            "--half-close",
        ],
    );
}

#[test]
fn messages_with_a_length_in_front_cut_anywhere() {
    for (prefix, threads, workers, fragment) in [
        ("u8", "1", "0", "3"),
        ("u16", "2", "4", "700"),
        ("u32", "2", "0", "9000"),
        ("u32", "1", "4", "0"),
    ] {
        check(
            &[
                "--threads",
                threads,
                "--workers",
                workers,
                "--framing",
                prefix,
            ],
            "framed_client.py",
            &[
                "--prefix",
                prefix,
                "--connections",
                "100",
                "--frames",
                "30",
                "--max-size",
                "20000",
                "--fragment",
                fragment,
                "--half-close",
            ],
        );
    }
}

/// B03: a client that ends its direction behind its last request gets every answer.
#[test]
fn half_closing_clients_get_all_answers() {
    let server = EchoServer::start(&["--threads", "2", "--workers", "2"]);
    let before = server.process().descriptors();
    let (host, port) = (server.addr().ip().to_string(), server.addr().port());
    let mut random = Random::new(3);
    for round in 0..20 {
        let len = if round < 3 {
            round
        } else {
            random.below(400_000)
        };
        let input = random.bytes(len);
        let mut nc = Command::new("nc");
        nc.args(["-N", &host, &port.to_string()]);
        mirrored(nc, &input);
        let mut socat = Command::new("socat");
        socat.args(["-t", "30", "-", &format!("TCP:{host}:{port}")]);
        mirrored(socat, &input);
    }
    until("all descriptors closed again", || {
        (server.process().descriptors() == before).then_some(())
    });
    server.stop();
}
