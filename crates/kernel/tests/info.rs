//! What can be seen of a running node.

#[path = "common/asking.rs"]
mod asking;
#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use asking::ask;
use crossbeam_channel::{Receiver, bounded};
use lab::{Handle, PATIENCE, Plan, hear, node, stop, until};
use socktree_kernel::{
    Actor, BlockingMeta, CallError, Ctx, Flow, Inspection, LevelFilter, NoMessages, ProcessState,
    Reason, Source, SpawnOptions, protocol,
};

#[test]
fn a_process_is_known_by_what_it_is_about() {
    let node = node(2);
    let other = Handle::new(&node);
    let (began, beginning) = bounded(1);
    let (release, released) = bounded::<()>(0);
    let plan = Plan::init(move |_| {
        began.send(()).unwrap();
        let _released = released.recv();
        Ok(())
    });
    let spawner = node.clone();
    let options = SpawnOptions::new().name("watched");
    let starting = std::thread::spawn(move || plan.options(options).start(&spawner).unwrap());
    hear(&beginning);
    let state = || node.process_info("watched").unwrap().state;
    assert_eq!(state(), ProcessState::Starting);
    drop(release);
    let process = starting.join().unwrap();
    until("it is idle", || state() == ProcessState::Idle);

    let (release, released) = bounded::<()>(0);
    process.tell(move |ctx| {
        let _released = ctx.blocking(|| released.recv());
        Ok(())
    });
    process.address.send(1_u64).unwrap();
    assert_eq!(state(), ProcessState::Running);
    let info = node.process_info("watched").unwrap();
    assert_eq!((info.mailbox, info.messages_in, info.handled), (2, 2, 0));
    drop(release);
    assert_eq!(process.number().1, 1);

    let (kept, keep) = bounded(1);
    let to = other.pid();
    process.tell(move |ctx| {
        let hold = ask(move |reply| kept.send(reply).unwrap());
        ctx.call(to, hold, PATIENCE)?;
        Ok(())
    });
    let reply = hear(&keep);
    until("it waits for the answer", || {
        state() == ProcessState::Calling
    });
    reply.send(1);
    until("it is idle", || state() == ProcessState::Idle);
    stop(&node);
}

#[test]
fn its_relations_and_timers_can_be_seen() {
    let node = node(1);
    let (process, other) = (Handle::new(&node), Handle::new(&node));
    let to = other.pid();
    let alias = process.run(move |ctx| {
        ctx.link(to).unwrap();
        ctx.monitor(to).unwrap();
        ctx.send_after(to, 1_u64, Duration::MAX);
        ctx.create_alias()
    });
    let info = node.process_info(process.pid()).unwrap();
    assert_eq!(info.links, [to.into()]);
    assert_eq!(info.monitors, [to.into()]);
    assert_eq!(info.aliases, [alias]);
    assert_eq!(info.timers, 1);
    assert!(node.process_info("nobody").is_none());
    stop(&node);
}

#[test]
fn an_actor_adds_items_of_its_own() {
    struct Shop(u32);
    impl Actor for Shop {
        type Msg = NoMessages;
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
            match never {}
        }
        fn inspect(&self) -> Inspection {
            vec![("sold", self.0.to_string())]
        }
    }
    let node = node(1);
    let shop = node.spawn(Shop(7)).unwrap();
    let items = node.inspect_actor(&shop, PATIENCE).unwrap();
    assert_eq!(items.last(), Some(&("sold", "7".to_owned())));
    assert_eq!(items[0].0, "process");
    let nobody = node.inspect_actor("nobody", PATIENCE);
    assert!(matches!(nobody, Err(CallError::Unknown)));
    stop(&node);
}

/// From a handler, waiting or not, and of a meta-process as well.
#[test]
fn a_handler_inspects_another_actor() {
    struct Shop;
    impl Actor for Shop {
        type Msg = NoMessages;
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
            match never {}
        }
        fn inspect(&self) -> Inspection {
            vec![("sold", "7".to_owned())]
        }
    }
    let node = node(1);
    let (shop, process) = (node.spawn(Shop).unwrap().pid(), Handle::new(&node));
    let seen = process.run(move |ctx| {
        let seen = ctx.inspect_actor(shop, PATIENCE);
        let own = ctx.inspect_actor(ctx.pid(), PATIENCE);
        assert!(matches!(own, Err(CallError::ToItself)));
        let nobody = ctx.inspect_actor("nobody", PATIENCE);
        assert!(matches!(nobody, Err(CallError::Unknown)));
        ctx.request_inspection(shop, PATIENCE, |seen| {
            seen.map_or(0, |seen| seen.len() as u64)
        });
        ctx.request_inspection("nobody", PATIENCE, |seen| u64::from(seen.is_err()));
        seen.unwrap()
    });
    assert_eq!(seen.last(), Some(&("sold", "7".to_owned())));
    let mut answers = [process.number().1, process.number().1];
    answers.sort_unstable();
    assert_eq!(answers, [1, seen.len() as u64]);
    let info = node.process_info(process.pid()).unwrap();
    assert_eq!(info.messages_out, 0, "it is no message");

    let (release, released) = bounded::<()>(0);
    let items = process.run(move |ctx| {
        let blocks = BlockingMeta::<u64>::new(move |_| {
            let _released = released.recv();
            Ok(())
        });
        let alias = ctx.spawn_meta(blocks).unwrap();
        ctx.inspect_actor(alias, PATIENCE).unwrap()
    });
    assert_eq!(items[0].0, "parent");
    drop(release);
    stop(&node);
}

/// It goes before the messages, and a process that ends answers as well.
#[test]
fn an_inspection_of_a_busy_process_waits_for_its_handler_alone() {
    let node = node(1);
    let process = Handle::new(&node);
    let (began, beginning) = bounded(1);
    let (release, released) = bounded::<()>(0);
    process.tell(move |ctx| {
        began.send(()).unwrap();
        let _released = ctx.blocking(|| released.recv());
        Ok(())
    });
    hear(&beginning);
    process.tell(|_| Err(Reason::Normal));
    let late = node.inspect_actor(process.pid(), Duration::from_millis(1));
    assert!(matches!(late, Err(CallError::Timeout)));
    let asker = node.clone();
    let pid = process.pid();
    let asked = std::thread::spawn(move || asker.inspect_actor(pid, PATIENCE));
    drop(release);
    match asked.join().unwrap() {
        Ok(items) => assert_eq!(items[0].1, pid.to_string()),
        // It came when the process had gone on to its end.
        Err(error) => assert!(
            matches!(
                error,
                CallError::Unknown | CallError::NoReply | CallError::Ended(_)
            ),
            "{error}"
        ),
    }
    stop(&node);
}

/// What an actor adds may cost it much, and is for nobody then.
#[test]
fn an_inspection_that_nobody_waits_for_is_not_made() {
    struct Counter(Arc<AtomicUsize>);
    struct Wait(Receiver<()>);
    protocol!(Wait);
    impl Actor for Counter {
        type Msg = Wait;
        fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, wait: Wait) -> Flow {
            let _released = ctx.blocking(|| wait.0.recv());
            Ok(())
        }
        fn inspect(&self) -> Inspection {
            self.0.fetch_add(1, Ordering::SeqCst);
            Vec::new()
        }
    }
    let node = node(1);
    let made = Arc::new(AtomicUsize::new(0));
    let counter = node.spawn(Counter(Arc::clone(&made))).unwrap();
    let (release, released) = bounded::<()>(0);
    counter.send(Wait(released)).ok().unwrap();
    for _ in 0..5 {
        let late = node.inspect_actor(counter.pid(), Duration::ZERO);
        assert!(matches!(late, Err(CallError::Timeout)));
    }
    drop(release);
    node.inspect_actor(counter.pid(), PATIENCE).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 1);
    stop(&node);
}

#[test]
fn meta_processes_are_listed_with_their_parents() {
    let node = node(1);
    let owner = Handle::new(&node);
    let (release, released) = bounded::<()>(0);
    let alias = owner.run(move |ctx| {
        let meta = BlockingMeta::<u64>::new(move |_| {
            let _released = released.recv();
            Ok(())
        });
        ctx.create_alias();
        ctx.spawn_meta(meta).unwrap()
    });
    let metas = node.metas();
    assert_eq!(metas.len(), 1, "an alias of a process is none");
    assert_eq!((metas[0].alias, metas[0].parent), (alias, owner.pid()));
    assert_eq!(node.meta_info(alias).unwrap().items[0].0, "parent");
    drop(release);
    until("it has ended", || node.meta_info(alias).is_none());
    stop(&node);
}

/// The records of one process: its type is their target, its name leads their text.
#[test]
fn each_process_has_a_log_level_of_its_own() {
    use std::sync::Mutex;
    static RECORDS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
    struct Memory;
    impl log::Log for Memory {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let record = (record.target().to_owned(), record.args().to_string());
            RECORDS.lock().unwrap().push(record);
        }
        fn flush(&self) {}
    }
    log::set_logger(&Memory).unwrap();
    log::set_max_level(LevelFilter::Info);
    let node = node(1);
    let options = SpawnOptions::new()
        .name("talker")
        .log_level(LevelFilter::Warn);
    let talker = Plan::default().options(options).start(&node).unwrap();
    talker.run(|ctx| {
        ctx.log(log::Level::Info, format_args!("left out"));
        ctx.log(log::Level::Warn, format_args!("{} times", 2));
        ctx.log_level(LevelFilter::Off);
        ctx.log(log::Level::Error, format_args!("left out too"));
    });
    talker.tell(|_| Err(Reason::error("and so is this")));
    talker.end();
    stop(&node);
    let records = RECORDS.lock().unwrap();
    let own = records
        .iter()
        .filter(|(target, _)| target.ends_with("Puppet"));
    let texts: Vec<_> = own.map(|(_, text)| text.as_str()).collect();
    assert!(texts.contains(&"'talker': 2 times"), "{texts:?}");
    assert!(
        !texts
            .iter()
            .any(|text| text.contains("left out") || text.contains("so is"))
    );
}
