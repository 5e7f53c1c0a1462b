//! Events: who gets what is published, and who hears of whose end.

#[path = "common/lab.rs"]
mod lab;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};
use lab::{hear, node, stop, until};
use socktree_kernel::{
    Actor, Ctx, Down, Event, EventError, EventNotice, Exit, Flow, Name, Published, Publisher,
    Reason, Source, SpawnOptions, Subject, Target, TestKit, protocol,
};

type Job = Box<dyn FnOnce(&mut Ctx<'_, Party>) -> Flow + Send>;
struct Do(Job);
protocol! {
    /// What a party takes.
    enum Msg { Do(Do), Text(Published<String>), Notice(EventNotice) }
}

#[derive(Debug, PartialEq)]
enum Note {
    Text(Source, String),
    Notice(EventNotice),
    Down(Target, String),
    Exit(Target, String),
}

/// Publishes or subscribes, as a test wants.
struct Party(Sender<Note>);

impl Actor for Party {
    type Msg = Msg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        ctx.trap_exit(true);
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, message: Msg) -> Flow {
        match message {
            Msg::Do(Do(job)) => return job(ctx),
            Msg::Text(text) => self.0.send(Note::Text(from, text.value))?,
            Msg::Notice(notice) => self.0.send(Note::Notice(notice))?,
        }
        Ok(())
    }

    fn down(&mut self, _: &mut Ctx<'_, Self>, down: Down) -> Flow {
        Ok(self
            .0
            .send(Note::Down(down.target, down.reason.to_string()))?)
    }

    fn exit(&mut self, _: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        Ok(self
            .0
            .send(Note::Exit(exit.from, exit.reason.to_string()))?)
    }
}

/// A party in a kit.
struct Guest<'k> {
    kit: &'k TestKit,
    subject: Subject<'k, Msg>,
    notes: crossbeam_channel::Receiver<Note>,
}

impl<'k> Guest<'k> {
    fn new(kit: &'k TestKit) -> Self {
        let (note, notes) = unbounded();
        let subject = kit.spawn(Party(note)).expect("a party starts");
        Self {
            kit,
            subject,
            notes,
        }
    }

    fn run<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Ctx<'_, Party>) -> R + Send + 'static,
    ) -> R {
        let (done, outcome) = unbounded();
        let job: Job = Box::new(move |ctx| {
            done.send(f(ctx)).expect("the test waits");
            Ok(())
        });
        self.subject.send(Do(job)).expect("it lives");
        outcome.try_recv().expect("it has run")
    }

    fn register(&self, event: Event<String>) -> Publisher<String> {
        let registered = self.run(|ctx| ctx.spawn_meta(event));
        registered.expect("the name is free")
    }

    /// Subscribes, and gives out what was published last.
    fn join(&self, link: bool) -> Result<Vec<String>, EventError> {
        let subscribed = self.run(move |ctx| match link {
            true => ctx.link_event::<String>("news"),
            false => ctx.monitor_event::<String>("news"),
        });
        Ok(subscribed?.latest.into_iter().map(|p| p.value).collect())
    }

    fn end(&self) {
        self.kit.node().exit(self.subject.pid(), Reason::Kill);
        self.kit.run();
    }

    fn notes(&self) -> Vec<Note> {
        self.kit.run();
        self.notes.try_iter().collect()
    }

    fn texts(&self) -> Vec<String> {
        let texts = self.notes().into_iter().map(|note| match note {
            Note::Text(_, text) => text,
            other => panic!("{other:?}"),
        });
        texts.collect()
    }
}

fn news() -> Event<String> {
    Event::new("news")
}

fn publish(publisher: &Publisher<String>, text: &str) -> usize {
    let delivered = publisher.publish(text.to_owned());
    assert!(delivered.missed.is_empty());
    delivered.reached
}

#[test]
fn subscribers_get_what_is_published_from_then_on() {
    let kit = TestKit::new();
    let (producer, one, two) = (Guest::new(&kit), Guest::new(&kit), Guest::new(&kit));
    let publisher = producer.register(news());
    assert_eq!(publish(&publisher, "nobody hears"), 0);
    assert!(one.join(false).unwrap().is_empty());
    assert_eq!(publish(&publisher, "one"), 1);
    two.join(true).unwrap();
    let pid = producer.subject.pid();
    let delivered = producer.run(move |ctx| ctx.publish(&publisher, "both".to_owned()));
    assert_eq!(delivered.reached, 2);
    let both = || Note::Text(Source::Process(pid), "both".to_owned());
    let first = Note::Text(Source::Outside, "one".to_owned());
    assert_eq!(one.notes(), [first, both()]);
    assert_eq!(two.notes(), [both()]);
}

#[test]
fn the_latest_values_wait_for_those_who_come_later() {
    let kit = TestKit::new();
    let (producer, one) = (Guest::new(&kit), Guest::new(&kit));
    let publisher = producer.register(news().buffer(2));
    for text in ["a", "b", "c"] {
        publish(&publisher, text);
    }
    assert_eq!(one.join(false).unwrap(), ["b", "c"]);
    publish(&publisher, "d");
    assert_eq!(one.texts(), ["d"], "and none of them twice");
}

#[test]
fn the_end_is_told_as_every_end_is() {
    let kit = TestKit::new();
    let (one, two) = (Guest::new(&kit), Guest::new(&kit));
    for unregistered in [false, true] {
        let producer = Guest::new(&kit);
        let publisher = producer.register(news());
        one.join(true).unwrap();
        two.join(false).unwrap();
        let reason = if unregistered {
            kit.node().exit(publisher.alias(), Reason::Unregistered);
            "unregistered"
        } else {
            producer.end();
            "kill"
        };
        let event = || Target::Alias(publisher.alias());
        assert_eq!(one.notes(), [Note::Exit(event(), reason.to_owned())]);
        assert_eq!(two.notes(), [Note::Down(event(), reason.to_owned())]);
        assert_eq!(publish(&publisher, "too late"), 0);
        assert!(matches!(one.join(true), Err(EventError::Unknown(_))));
        producer.end();
    }
    let info = kit.node().info();
    // The kit itself watches each of its subjects.
    assert_eq!((info.processes, info.aliases, info.relations), (2, 0, 2));
}

#[test]
fn names_and_types_are_checked() {
    let kit = TestKit::new();
    let (producer, one) = (Guest::new(&kit), Guest::new(&kit));
    producer.register(news());
    let twin = one.run(|ctx| ctx.spawn_meta(news()).map(|_| ()));
    assert!(matches!(twin, Err(EventError::Taken(name)) if name.as_str() == "news"));
    let numbers = one.run(|ctx| ctx.spawn_meta(Event::<u32>::new("numbers")).map(|_| ()));
    assert!(numbers.is_ok());
    let wrong = one.run(|ctx| ctx.monitor_event::<String>("numbers").map(|_| ()));
    assert!(matches!(wrong, Err(EventError::WrongType(_))));
    let long = "x".repeat(Name::MAX_LEN + 1);
    let long = one.run(|ctx| ctx.spawn_meta(Event::<u32>::new(long)).map(|_| ()));
    assert!(matches!(long, Err(EventError::NameTooLong(256))));
    one.join(true).unwrap();
    assert!(matches!(one.join(true), Err(EventError::Relation(_))));
}

/// E-01: the producer hears that nobody listens any more, however they left.
#[test]
fn e_01_the_last_subscriber_is_missed_however_it_left() {
    let kit = TestKit::new();
    let producer = Guest::new(&kit);
    let event = news().noticed();
    let publisher = producer.run(|ctx| ctx.spawn_meta(event)).unwrap();
    let alias = publisher.alias();
    let wanted = || Note::Notice(EventNotice::Wanted("news".into()));
    let unwanted = || Note::Notice(EventNotice::Unwanted("news".into()));
    for round in 0..3 {
        let (one, two) = (Guest::new(&kit), Guest::new(&kit));
        one.join(true).unwrap();
        two.join(false).unwrap();
        assert_eq!(producer.notes(), [wanted()], "the first alone");
        one.end();
        assert_eq!(producer.notes(), [], "there is another");
        match round {
            0 => two.end(),
            1 => two.run(move |ctx| ctx.demonitor(alias).unwrap()),
            _ => two.run(|ctx| ctx.exit(ctx.pid(), Reason::Kill)),
        }
        assert_eq!(producer.notes(), [unwanted()]);
        assert_eq!(publish(&publisher, "nobody"), 0);
        two.end();
    }
    assert_eq!(kit.node().info().relations, 1, "the kit's own");
}

/// E-02: who links and monitors gets everything once, until it has left both.
#[test]
fn e_02_both_ways_are_one_subscription() {
    let kit = TestKit::new();
    let (producer, one) = (Guest::new(&kit), Guest::new(&kit));
    let publisher = producer.register(news());
    let alias = publisher.alias();
    one.join(true).unwrap();
    one.join(false).unwrap();
    assert_eq!(publish(&publisher, "a"), 1);
    one.run(move |ctx| ctx.unlink(alias)).unwrap();
    assert_eq!(publish(&publisher, "b"), 1);
    one.run(move |ctx| ctx.demonitor(alias)).unwrap();
    assert_eq!(publish(&publisher, "c"), 0);
    assert_eq!(one.texts(), ["a", "b"]);
}

/// E-03: publishers and subscribers on many threads; all get all, in one order.
#[test]
fn e_03_concurrent_publishers_agree_on_an_order() {
    const EACH: usize = 500;
    let node = node(2);
    let (register, registered) = unbounded();
    let (note, _notes) = unbounded();
    let producer = node.spawn(Party(note)).unwrap();
    let job: Job = Box::new(move |ctx| Ok(register.send(ctx.spawn_meta(news().buffer(7))?)?));
    producer.send(Do(job)).unwrap();
    let publisher = hear(&registered);
    let guests: Vec<_> = (0..4)
        .map(|_| {
            let (note, notes) = unbounded();
            let guest = node.spawn(Party(note)).unwrap();
            let (joined, has_joined) = unbounded();
            let job: Job = Box::new(move |ctx| {
                ctx.monitor_event::<String>("news")?;
                Ok(joined.send(())?)
            });
            guest.send(Do(job)).unwrap();
            hear(&has_joined);
            notes
        })
        .collect();
    thread::scope(|scope| {
        for n in 0..4 {
            let publisher = &publisher;
            scope.spawn(move || {
                for i in 0..EACH {
                    assert!(publish(publisher, &format!("{n} {i}")) >= 4);
                }
            });
        }
        // And somebody comes and goes meanwhile.
        for _ in 0..50 {
            let (note, _notes) = unbounded();
            let guest = node.spawn(Party(note)).unwrap();
            let job: Job = Box::new(|ctx| {
                let latest = ctx.link_event::<String>("news")?.latest;
                assert!(latest.len() <= 7);
                Err(Reason::Normal)
            });
            guest.send(Do(job)).unwrap();
        }
    });
    let mut heard = guests.iter().map(|notes| {
        let texts = (0..4 * EACH).map(|_| hear(notes));
        texts.collect::<Vec<_>>()
    });
    let first = heard.next().unwrap();
    assert!(heard.all(|other| other == first));
    until("those who came are gone", || node.info().processes == 5);
    stop(&node);
}

/// E-04: only who was given the publisher can publish, and it exists before anyone can subscribe.
#[test]
fn e_04_nobody_else_publishes() {
    let kit = TestKit::new();
    let (producer, one) = (Guest::new(&kit), Guest::new(&kit));
    let publisher = producer.register(news());
    one.join(false).unwrap();
    // The alias takes no messages: it is an address for relations alone.
    let sent = kit.node().send(publisher.alias(), "forged".to_owned());
    assert!(sent.is_err());
    assert!(one.notes().is_empty());
}

/// E-05: the publisher is told who missed it, and the subscription stays.
#[test]
fn e_05_a_full_mailbox_is_told() {
    let kit = TestKit::new();
    let producer = Guest::new(&kit);
    let publisher = producer.register(news());
    let (note, notes) = unbounded();
    let options = SpawnOptions::new().mailbox(2).name("slow");
    let slow = kit.node().spawn_with(Party(note), options).unwrap();
    let job: Job = Box::new(|ctx| {
        ctx.monitor_event::<String>("news")?;
        Ok(())
    });
    slow.send(Do(job)).unwrap();
    kit.run();
    assert_eq!(publish(&publisher, "a") + publish(&publisher, "b"), 2);
    let delivered = publisher.publish("c".to_owned());
    assert_eq!(
        (delivered.reached, &*delivered.missed),
        (0, &[slow.pid()][..])
    );
    kit.advance(Duration::ZERO);
    assert_eq!(publish(&publisher, "d"), 1);
    kit.run();
    let texts = notes
        .try_iter()
        .filter(|note| matches!(note, Note::Text(..)));
    assert_eq!(texts.count(), 3);
}

/// A value that publishes while it is cloned would wait for itself: it panics, and the event goes on.
#[test]
fn a_value_that_publishes_when_it_is_cloned_panics() {
    struct Echo(Option<Publisher<Self>>);
    impl Clone for Echo {
        fn clone(&self) -> Self {
            if let Some(publisher) = &self.0 {
                let _never_comes = publisher.publish(Self(None));
            }
            Self(None)
        }
    }
    struct Hall(Sender<Publisher<Echo>>);
    impl Actor for Hall {
        type Msg = Published<Echo>;
        fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
            let publisher = ctx.spawn_meta(Event::new("echo"))?;
            ctx.monitor_event::<Echo>("echo")?;
            Ok(self.0.send(publisher)?)
        }
        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: Published<Echo>) -> Flow {
            Ok(())
        }
    }
    let node = node(1);
    let (tell, told) = unbounded();
    node.spawn(Hall(tell)).unwrap();
    let publisher = hear(&told);
    let echo = Echo(Some(publisher.clone()));
    let outcome = catch_unwind(AssertUnwindSafe(|| publisher.publish(echo)));
    assert!(outcome.is_err());
    assert_eq!(publisher.publish(Echo(None)).reached, 1);
    stop(&node);
}
