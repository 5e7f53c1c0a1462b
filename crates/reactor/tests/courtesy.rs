//! The loop lets others have the core before it sleeps, as long as they give it back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use socktree_reactor::sim::{Faults, Link, SimOs};
use socktree_reactor::{ListenOptions, Os, System};

#[path = "support/echo.rs"]
#[expect(dead_code, reason = "nobody tells these servers to stop")]
mod support;

use support::EchoServer;

const MESSAGES: u64 = 20_000;

/// One message after the other to an echo server on a machine where others keep the core for
/// `period` when they get it. Gives the offers made, and the time everything took.
fn one_by_one(period: Duration) -> (u64, Duration) {
    let sim = SimOs::new(7, Faults::none());
    sim.set_rivals_keep(period);
    let mut server = EchoServer::new(sim.clone(), 64);
    let listener = sim
        .listen("10.1.1.1:7".parse().unwrap(), &ListenOptions::default())
        .unwrap();
    let addr = sim.listener_addr(&listener).unwrap();
    server.reactor.listen(listener, Default::default()).unwrap();
    let (mut sent, mut received) = (0, 0);
    sim.dial(addr, move |link: &mut Link<'_>| {
        let mut answer = [0; 8];
        received += link.read(&mut answer) as u64;
        if received < sent {
            return;
        }
        if sent == MESSAGES {
            return link.close();
        }
        sent += link.write(b"x") as u64;
    });
    while sim.live_peers() > 0 {
        server.turn(None);
    }
    (server.reactor.stats().core_offers, sim.elapsed())
}

#[test]
fn rivals_that_give_it_back_get_the_core_before_every_sleep() {
    let (offers, _) = one_by_one(Duration::from_micros(50));
    assert!(offers >= MESSAGES, "{offers}");
}

#[test]
fn without_rivals_few_offers_are_made() {
    let (offers, _) = one_by_one(Duration::ZERO);
    assert!((1..=MESSAGES / 10).contains(&offers), "{offers}");
}

/// A program that computes without end on the same core would cost some milliseconds each time,
/// and a client that sends one message after the other nearly all of its speed.
#[test]
fn rivals_that_keep_the_core_are_offered_it_seldom() {
    let (offers, elapsed) = one_by_one(Duration::from_millis(3));
    assert!((1..=16).contains(&offers), "{offers}");
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

/// No work, no offer: an idle loop makes no system call but the wait that it sleeps in.
#[test]
fn a_loop_without_work_offers_nothing() {
    fn check<O: Os>(os: O) {
        let mut server = EchoServer::new(os, 64);
        for _ in 0..100 {
            let soon = server.reactor.refresh_now() + Duration::from_micros(1);
            server.turn(Some(soon));
        }
        assert_eq!(server.reactor.stats().core_offers, 0);
    }
    check(System);
    check(SimOs::new(0, Faults::none()));
}
