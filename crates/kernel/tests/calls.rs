//! Calls: answered, refused, forgotten or too late, each of them told once and at once.

#[path = "common/asking.rs"]
mod asking;
#[path = "common/lab.rs"]
mod lab;

use std::time::Duration;

use asking::ask;
use crossbeam_channel::bounded;
use lab::{Do, Handle, Msg, Note, PATIENCE, Plan, hear, node, stop, until};
use socktree_kernel::{
    Actor, Address, CallError, Ctx, Flow, Node, NodeBuilder, Reason, Reply, SendError, Source,
    SpawnOptions, protocol,
};

/// Too short for any answer that is not there yet.
const NO_TIME: Duration = Duration::ZERO;

/// A message that is answered with this.
fn answer(n: u64) -> impl FnOnce(Reply<u64>) -> Do {
    ask(move |reply| assert_eq!(reply.send(n), None, "the caller waits"))
}

/// What a request's outcome is as a message: the answer, or what became of it.
fn outcome(answer: Result<u64, CallError>) -> Msg {
    match answer {
        Ok(n) => Msg::Number(n),
        Err(CallError::Unknown) => Msg::Text("unknown"),
        Err(CallError::Terminated) => Msg::Text("terminated"),
        Err(CallError::Full) => Msg::Text("full"),
        Err(CallError::NotAccepted) => Msg::Text("not accepted"),
        Err(CallError::Timeout) => Msg::Text("timeout"),
        Err(CallError::NoReply) => Msg::Text("no reply"),
        Err(CallError::Ended(_)) => Msg::Text("ended"),
        Err(CallError::Refused(_)) => Msg::Text("refused"),
        Err(_) => Msg::Text("something else"),
    }
}

/// A process that keeps the replies it gets, and answers none.
#[derive(Default)]
struct Hoarder(Vec<Reply<u64>>);

struct Keep(Reply<u64>);
struct Fail;
protocol! {
    /// What a hoarder takes.
    enum Hoard { Keep(Keep), Fail(Fail) }
}

impl Actor for Hoarder {
    type Msg = Hoard;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, message: Hoard) -> Flow {
        match message {
            Hoard::Keep(Keep(reply)) => self.0.push(reply),
            Hoard::Fail(Fail) => return Err(Reason::error("as told")),
        }
        Ok(())
    }
}

#[test]
fn a_call_is_answered_by_any_address() {
    let node = node(2);
    let callee = Plan::default()
        .options(SpawnOptions::new().name("callee"))
        .start(&node)
        .unwrap();
    let alias = callee.run(|ctx| ctx.create_alias());
    assert_eq!(node.call(callee.pid(), answer(1), PATIENCE).unwrap(), 1);
    assert_eq!(node.call("callee", answer(2), PATIENCE).unwrap(), 2);
    assert_eq!(node.call(alias, answer(3), PATIENCE).unwrap(), 3);
    assert_eq!(callee.address.call(answer(4), PATIENCE).unwrap(), 4);

    let (caller, pid, address) = (Handle::new(&node), callee.pid(), callee.address);
    caller.run(move |ctx| {
        assert_eq!(ctx.call(pid, answer(5), PATIENCE).unwrap(), 5);
        assert_eq!(ctx.call("callee", answer(6), PATIENCE).unwrap(), 6);
        assert_eq!(ctx.call(alias, answer(7), PATIENCE).unwrap(), 7);
        assert_eq!(ctx.call_to(&address, answer(8), PATIENCE).unwrap(), 8);
    });
    stop(&node);
}

/// One worker, and no watchdog to help: the call itself has to give the loop away.
#[test]
fn a_handler_that_calls_does_not_stop_its_worker() {
    let builder = NodeBuilder::new("lab@localhost")
        .workers(1)
        .stuck_after(None);
    let node = builder.start().unwrap();
    let (caller, callee) = (Handle::new(&node), Handle::new(&node));
    let to = callee.pid();
    for n in 0..300 {
        let answer = caller.run(move |ctx| ctx.call(to, answer(n), PATIENCE));
        assert_eq!(answer.unwrap(), n);
    }
    stop(&node);
}

#[test]
fn a_process_calls_in_init_and_in_terminate() {
    let node = node(1);
    let callee = Handle::new(&node);
    let (to, told) = (callee.pid(), bounded(1));
    let mut plan = Plan::terminate(move |ctx| {
        let answer = ctx.call(to, answer(2), PATIENCE);
        told.0.send(answer.unwrap()).unwrap();
    });
    plan.init = Some(Box::new(move |ctx| {
        assert_eq!(ctx.call(to, answer(1), PATIENCE)?, 1);
        Ok(())
    }));
    let caller = plan.start(&node).unwrap();
    caller.tell(|_| Err(Reason::Normal));
    assert_eq!(hear(&told.1), 2);
    stop(&node);
}

#[test]
fn a_reply_is_a_value_that_another_process_can_use() {
    let node = node(2);
    let (front, back) = (Handle::new(&node), Handle::new(&node));
    let back_office = back.address;
    let pass_on = |reply: Reply<u64>| {
        Do::new(move |ctx| {
            let later = Do::new(move |_| {
                reply.send(9);
                Ok(())
            });
            Ok(ctx.send_to(&back_office, later).map_err(|e| e.map(drop))?)
        })
    };
    assert_eq!(front.address.call(pass_on, PATIENCE).unwrap(), 9);
    stop(&node);
}

#[test]
fn a_reply_that_is_dropped_answers_at_once() {
    let node = node(1);
    let (callee, caller) = (Handle::new(&node), Handle::new(&node));
    let error = callee.address.call(ask(drop), PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::NoReply), "{error}");
    let to = callee.pid();
    caller.run(move |ctx| {
        ctx.request(to, ask(drop), PATIENCE, outcome);
    });
    assert_eq!(caller.text().1, "no reply");
    stop(&node);
}

#[test]
fn a_callee_refuses_with_its_reason() {
    let node = node(1);
    let callee = Handle::new(&node);
    let refuse = ask(|reply| reply.refuse(Reason::error("not today")));
    let error = callee.address.call(refuse, PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "the target refused: not today");
    stop(&node);
}

/// P-08: whether the call is in the callee's hands, in its state, or still in its mailbox.
#[test]
fn p_08_a_call_fails_at_once_when_its_callee_ends() {
    let node = node(2);
    let first = node.spawn(Hoarder::default()).unwrap();
    let ended = |address: &Address<Hoard>| {
        let caller = address.clone();
        let answer = std::thread::spawn(move || caller.call(Keep, PATIENCE));
        until("the call has arrived", || {
            let all = node.processes();
            all.iter()
                .any(|p| p.pid == address.pid() && p.messages_in == 1)
        });
        answer
    };
    let in_state = ended(&first);
    first.send(Fail).unwrap();
    let error = in_state.join().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the target has ended: as told");

    let killed = node.spawn(Hoarder::default()).unwrap();
    let in_state = ended(&killed);
    node.exit(&killed, Reason::Kill);
    let error = in_state.join().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Ended(Reason::Kill)), "{error}");

    let callee = Handle::new(&node);
    let panics = |reply: Reply<u64>| {
        Do::new(move |_| {
            let _held = reply;
            panic!("with a reply in hand")
        })
    };
    let error = callee.address.call(panics, PATIENCE).unwrap_err();
    assert!(matches!(error, CallError::NoReply), "{error}");

    let callee = Handle::new(&node);
    let in_a_timer = |reply: Reply<u64>| {
        Do::new(move |ctx| {
            let later = Do::new(move |_| {
                reply.send(1);
                Ok(())
            });
            ctx.send_after(ctx.pid(), later, 10 * PATIENCE);
            ctx.exit(ctx.pid(), Reason::Shutdown);
            Ok(())
        })
    };
    let error = callee.address.call(in_a_timer, PATIENCE).unwrap_err();
    assert!(
        matches!(error, CallError::Ended(Reason::Shutdown)),
        "{error}"
    );

    let callee = Handle::new(&node);
    let (held, hold) = bounded::<()>(0);
    callee.tell(move |ctx| {
        let _released = ctx.blocking(|| hold.recv());
        Err(Reason::Normal)
    });
    let caller = callee.address.clone();
    let in_mailbox = std::thread::spawn(move || caller.call(answer(1), PATIENCE));
    until("the call waits", || {
        let all = node.processes();
        all.iter().any(|p| p.pid == callee.pid() && p.mailbox == 2)
    });
    drop(held);
    let error = in_mailbox.join().unwrap().unwrap_err();
    assert!(matches!(error, CallError::Ended(Reason::Normal)), "{error}");
    stop(&node);
}

/// P-09: late answers are nobody's, and go back to whoever gives them.
#[test]
fn p_09_twenty_late_replies_and_a_good_call() {
    let node = node(2);
    let callee = Handle::new(&node);
    let (kept, keep) = bounded(20);
    let caller = Handle::new(&node);
    let to = callee.pid();
    caller.run(move |ctx| {
        for _ in 0..20 {
            let kept = kept.clone();
            let error = ctx.call(to, ask(move |reply| kept.send(reply).unwrap()), NO_TIME);
            assert!(matches!(error, Err(CallError::Timeout)));
        }
    });
    for n in 0..20 {
        let reply: Reply<u64> = hear(&keep);
        assert!(!reply.is_wanted());
        assert_eq!(reply.send(n), Some(n), "it is too late");
    }
    let good = caller.run(move |ctx| ctx.call(to, answer(21), PATIENCE));
    assert_eq!(good.unwrap(), 21);
    assert!(
        caller.noted().is_none(),
        "and no late answer became a message"
    );
    stop(&node);
}

#[test]
fn a_call_to_oneself_is_an_error_at_once() {
    let node = node(1);
    let process = Handle::new(&node);
    process.run(|ctx| {
        ctx.register("me").unwrap();
        let (me, alias) = (ctx.me(), ctx.create_alias());
        let errors = [
            ctx.call(ctx.pid(), answer(1), PATIENCE),
            ctx.call("me", answer(1), PATIENCE),
            ctx.call(alias, answer(1), PATIENCE),
            ctx.call_to(&me, answer(1), PATIENCE),
        ];
        for error in errors {
            assert!(matches!(error, Err(CallError::ToItself)), "{error:?}");
        }
    });
    // Nobody waits for it: that is allowed.
    process.run(|ctx| {
        ctx.request("me", answer(2), PATIENCE, outcome);
    });
    assert_eq!(process.number().1, 2);
    stop(&node);
}

/// Through a node or an address, a handler would stop its worker and perhaps wait for itself.
#[test]
fn a_handler_calls_through_its_context_alone() {
    let node = node(1);
    let (process, callee) = (Handle::new(&node), Handle::new(&node));
    let (address, to) = (callee.address.clone(), callee.pid());
    process.run(move |ctx| {
        let by_address = address.call(answer(1), PATIENCE);
        assert!(matches!(by_address, Err(CallError::InsideHandler)));
        let by_node = ctx.node().call(to, answer(1), PATIENCE);
        assert!(matches!(by_node, Err(CallError::InsideHandler)));
    });
    stop(&node);
}

#[test]
fn a_call_that_cannot_be_delivered_fails_at_once() {
    struct Foreign(#[expect(dead_code, reason = "nobody takes it")] Reply<u64>);
    let node = node(2);
    let (caller, dead) = (Handle::new(&node), Handle::new(&node));
    let (gone, address) = (dead.pid(), dead.address.clone());
    dead.tell(|_| Err(Reason::Normal));
    dead.end();
    until("it is out of the tables", || node.whereis(gone).is_none());
    let full = Plan::default()
        .options(SpawnOptions::new().mailbox(1))
        .start(&node)
        .unwrap();
    let (held, hold) = bounded::<()>(0);
    full.tell(move |ctx| {
        let _released = ctx.blocking(|| hold.recv());
        Ok(())
    });
    let (to, full_address, own) = (full.pid(), full.address, caller.pid());
    caller.run(move |ctx| {
        let unknown = ctx.call(gone, answer(1), PATIENCE);
        assert!(matches!(unknown, Err(CallError::Unknown)), "{unknown:?}");
        let terminated = ctx.call_to(&address, answer(1), PATIENCE);
        assert!(
            matches!(terminated, Err(CallError::Terminated)),
            "{terminated:?}"
        );
        let full = ctx.call(to, answer(1), PATIENCE);
        assert!(matches!(full, Err(CallError::Full)), "{full:?}");

        ctx.request(gone, answer(1), PATIENCE, outcome);
        ctx.request_to(&address, answer(1), PATIENCE, outcome);
        ctx.request_to(&full_address, answer(1), PATIENCE, outcome);
        ctx.request(own, Foreign, PATIENCE, outcome);
    });
    for what in ["unknown", "terminated", "full", "not accepted"] {
        assert_eq!(caller.text().1, what);
    }
    drop(held);
    stop(&node);
}

#[test]
fn a_callee_sees_how_long_it_is_waited_for() {
    let node = node(1);
    let callee = Handle::new(&node);
    let (to, caller) = (callee.pid(), Handle::new(&node));
    caller.run(move |ctx| {
        let latest = ctx.now() + PATIENCE;
        let look = move |reply: Reply<u64>| {
            Do::new(move |ctx| {
                assert!(reply.is_wanted());
                let until = reply.deadline().unwrap();
                assert!(ctx.now() < until && latest <= until);
                reply.send(1);
                Ok(())
            })
        };
        assert_eq!(ctx.call(to, look, PATIENCE).unwrap(), 1);
        let for_ever = ask(|reply| {
            assert_eq!(reply.deadline(), None);
            reply.send(2);
        });
        assert_eq!(ctx.call(to, for_ever, Duration::MAX).unwrap(), 2);
    });
    stop(&node);
}

#[test]
fn an_answer_comes_as_a_message() {
    let node = node(2);
    let (caller, callee) = (Handle::new(&node), Handle::new(&node));
    let (to, address) = (callee.pid(), callee.address);
    caller.run(move |ctx| {
        ctx.request(to, answer(1), PATIENCE, outcome);
        ctx.request_to(&address, answer(2), PATIENCE, outcome);
        // What a closure holds tells one answer from another.
        let third = "the third";
        ctx.request(to, answer(3), PATIENCE, move |_| third);
        ctx.request(to, ask(|r| r.refuse(Reason::Normal)), PATIENCE, outcome);
    });
    let own = Source::Process(caller.pid());
    assert_eq!(caller.number(), (own, 1));
    assert_eq!(caller.number(), (own, 2));
    assert_eq!(caller.text(), (own, "the third"));
    assert_eq!(caller.text(), (own, "refused"));
    stop(&node);
}

#[test]
fn a_request_times_out_once() {
    let node = node(1);
    let (caller, callee) = (Handle::new(&node), node.spawn(Hoarder::default()).unwrap());
    let to = callee.pid();
    caller.run(move |ctx| {
        ctx.request(to, Keep, Duration::from_millis(1), outcome);
    });
    assert_eq!(caller.text().1, "timeout");
    node.exit(&callee, Reason::Normal);
    until("the reply is dropped", || node.whereis(to).is_none());
    caller.run(|_| ());
    assert!(
        caller.noted().is_none(),
        "that it was dropped as well is no news"
    );
    stop(&node);
}

#[test]
fn a_request_that_is_cancelled_has_no_outcome() {
    let node = node(1);
    let (caller, callee) = (Handle::new(&node), Handle::new(&node));
    let (kept, keep) = bounded(1);
    let to = callee.pid();
    let request = caller.run(move |ctx| {
        let keep = ask(move |reply| kept.send(reply).unwrap());
        ctx.request(to, keep, PATIENCE, outcome)
    });
    let reply = hear(&keep);
    assert!(reply.is_wanted());
    assert!(caller.run(move |ctx| ctx.cancel_request(request)));
    assert!(!caller.run(move |ctx| ctx.cancel_request(request)));
    assert!(!reply.is_wanted());
    assert_eq!(reply.send(1), Some(1));
    caller.run(|_| ());
    assert!(caller.noted().is_none());
    stop(&node);
}

/// What it captured is dropped then, and not when the callee thinks of it.
#[test]
fn requests_end_with_their_process() {
    let node = node(2);
    let (caller, callee) = (Handle::new(&node), Handle::new(&node));
    let (kept, keep) = bounded(1);
    let (captured, witness) = bounded::<()>(0);
    let to = callee.pid();
    caller.run(move |ctx| {
        let keep = ask(move |reply| kept.send(reply).unwrap());
        ctx.request(to, keep, PATIENCE, move |answer| {
            drop(captured);
            outcome(answer)
        });
    });
    let reply = hear(&keep);
    assert_eq!(node.info().timers, 1);
    caller.tell(|_| Err(Reason::Normal));
    caller.end();
    assert!(
        witness
            .recv_timeout(PATIENCE)
            .is_err_and(|e| e.is_disconnected())
    );
    assert!(!reply.is_wanted());
    assert_eq!(reply.send(1), Some(1));
    assert_eq!(node.info().timers, 0);
    stop(&node);
}

#[test]
fn a_request_of_an_ending_process_is_a_message_without_an_answer() {
    let node = node(2);
    let callee = Handle::new(&node);
    let (kept, keep) = bounded(1);
    let to = callee.pid();
    let plan = Plan::terminate(move |ctx| {
        let keep = ask(move |reply| kept.send(reply).unwrap());
        ctx.request(to, keep, PATIENCE, outcome);
    });
    let caller = plan.start(&node).unwrap();
    caller.tell(|_| Err(Reason::Normal));
    assert!(!hear(&keep).is_wanted());
    stop(&node);
}

#[test]
fn answers_do_not_count_against_the_mailboxs_bound() {
    let node = node(1);
    let plan = Plan::default().options(SpawnOptions::new().mailbox(1));
    let (caller, callee) = (plan.start(&node).unwrap(), Handle::new(&node));
    let to = callee.pid();
    caller.run(move |ctx| {
        for n in 0..100 {
            ctx.request(to, answer(n), PATIENCE, outcome);
        }
    });
    for n in 0..100 {
        assert_eq!(caller.number().1, n);
    }
    stop(&node);
}

#[test]
fn a_request_in_init_is_answered_afterwards() {
    let node = node(1);
    let callee = Handle::new(&node);
    let to = callee.pid();
    let plan = Plan::init(move |ctx| {
        ctx.request(to, answer(4), PATIENCE, outcome);
        Ok(())
    });
    assert_eq!(plan.start(&node).unwrap().number().1, 4);
    stop(&node);
}

/// It runs on the callee's thread, and is the caller's code.
#[test]
fn what_panics_over_an_answer_ends_the_caller_alone() {
    let node = node(1);
    let (caller, callee) = (Handle::new(&node), Handle::new(&node));
    let to = callee.pid();
    caller.run(move |ctx| {
        ctx.request(to, answer(1), PATIENCE, |_| -> Msg {
            panic!("over an answer")
        });
    });
    assert_eq!(caller.end().to_string(), "panic: over an answer");
    assert_eq!(callee.address.call(answer(2), PATIENCE).unwrap(), 2);
    stop(&node);
}

/// S-03: a process that waits for an answer hears that it has to end.
#[test]
fn s_03_a_waiting_caller_is_told_to_end() {
    let waiting = |node: &Node, traps: bool| {
        let callee = node.spawn(Hoarder::default()).unwrap();
        let (caller, to) = (Handle::new(node), callee.pid());
        let (told, tell) = bounded(1);
        caller.tell(move |ctx| {
            ctx.trap_exit(traps);
            told.send(ctx.call(to, Keep, PATIENCE)).unwrap();
            Ok(())
        });
        until("it waits", || {
            let all = node.processes();
            all.iter().any(|p| p.pid == to && p.messages_in == 1)
        });
        (caller, callee, tell)
    };
    let node = node(2);
    for (reason, traps) in [(Reason::Kill, true), (Reason::Shutdown, false)] {
        let (caller, _callee, told) = waiting(&node, traps);
        node.exit(caller.pid(), reason.clone());
        assert!(matches!(hear(&told), Err(CallError::Ending)));
        assert_eq!(caller.end().to_string(), reason.to_string());
    }
    // One that is trapped is a notice, and waits like one.
    let (caller, callee, told) = waiting(&node, true);
    node.exit(caller.pid(), Reason::Shutdown);
    callee.send(Fail).unwrap();
    assert!(matches!(hear(&told), Err(CallError::Ended(_))));
    assert!(matches!(caller.note(), Note::Exit(_, Reason::Shutdown)));

    let (_caller, _callee, told) = waiting(&node, true);
    stop(&node);
    assert!(matches!(
        hear(&told),
        Err(CallError::Ending | CallError::Ended(_))
    ));
}

/// Answer, deadline and cancel meet: one of them it is.
#[test]
fn a_request_has_one_outcome_whoever_is_first() {
    let node = node(2);
    let (caller, callee) = (Handle::new(&node), Handle::new(&node));
    let mut outcomes = [0_u32; 3];
    for n in 0..3_000_u64 {
        let to = callee.pid();
        let cancelled = caller.run(move |ctx| {
            let timeout = Duration::from_nanos(n % 7 * 500);
            let answer = ask(|reply| {
                reply.send(1);
            });
            let request = ctx.request(to, answer, timeout, outcome);
            if n % 3 == 0 {
                ctx.blocking(std::thread::yield_now);
            }
            n % 2 == 0 && ctx.cancel_request(request)
        });
        if cancelled {
            outcomes[0] += 1;
            continue;
        }
        match caller.note() {
            Note::Number(_, 1) => outcomes[1] += 1,
            Note::Text(_, "timeout") => outcomes[2] += 1,
            other => panic!("{other:?} instead of an outcome"),
        }
    }
    callee.run(|_| ());
    caller.run(|_| ());
    assert!(
        caller.noted().is_none(),
        "cancelled, answered, late: {outcomes:?}"
    );
    assert_eq!(node.info().timers, 0);
    stop(&node);
}

/// A message that is not `Sync` says `?` with one word more.
#[test]
fn an_error_without_its_message_ends_a_process() {
    let node = node(1);
    let process = Handle::new(&node);
    process.tell(|ctx| {
        let sent = ctx.send("nobody", Do::new(|_| Ok(())));
        Ok(sent.map_err(|error| error.map(drop))?)
    });
    assert_eq!(
        process.end().to_string(),
        SendError::Unknown(()).to_string()
    );
    stop(&node);
}
