//! The rules alone, with processes that are only pretended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::schedule::{Kid, Op, Setup, text};
use crate::reason::Reason;
use crate::supervisor::error::ChildError;
use crate::supervisor::rules::{ChildId, Command, Policy, Rules, Traits};
use crate::supervisor::spec::Strategy;

#[derive(Default)]
struct Process {
    held: bool,
    ending: Option<Reason>,
}

struct Place {
    id: ChildId,
    spec: usize,
    process: Option<Process>,
    zombies: usize,
    failures_to_come: usize,
}

pub(super) struct Bare {
    rules: Rules,
    simple: bool,
    specs: Vec<(Kid, bool)>,
    places: Vec<Place>,
    ended: VecDeque<(usize, Reason)>,
    leaving: Vec<(usize, Vec<ChildId>)>,
    began: Instant,
    now: Instant,
    over: bool,
    /// Whether the start that was asked for just now failed.
    refused: bool,
    log: Vec<String>,
}

impl Bare {
    pub(super) fn new(setup: &Setup) -> Self {
        let seconds = Duration::from_secs;
        let rules = Rules::new(Policy {
            strategy: setup.strategy,
            intensity: setup.intensity,
            period: seconds(setup.period),
            retry: (seconds(setup.retry.0), seconds(setup.retry.1)),
            keep_order: setup.keep_order,
            auto_shutdown: setup.auto_shutdown,
        });
        let now = Instant::now();
        let mut new = Self {
            rules,
            simple: setup.strategy == Strategy::SimpleOneForOne,
            specs: Vec::new(),
            places: Vec::new(),
            ended: VecDeque::new(),
            leaving: Vec::new(),
            began: now,
            now,
            over: false,
            refused: false,
            log: Vec::new(),
        };
        for kid in &setup.kids {
            new.add(*kid);
        }
        new.rules.begin();
        new.work();
        new
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn apply(&mut self, op: &Op) {
        let place = |n: usize| n.checked_rem(self.places.len());
        match *op {
            Op::Advance(seconds) => {
                for _ in 0..seconds {
                    self.now += Duration::from_secs(1);
                    self.settle();
                }
            }
            Op::Start(n) | Op::Enable(n) | Op::Disable(n) => {
                if let Some(spec) = n.checked_rem(self.specs.len()) {
                    match self.manage(op, spec) {
                        Some(answer) => self.say(format!("manage: {answer}")),
                        None => self.work(),
                    }
                }
            }
            Op::Add(kid) => {
                let answer = self.check_open();
                if answer == "ok" {
                    if let Some(id) = self.add(kid) {
                        self.rules.start(id).expect("it was just made");
                    }
                    self.work();
                }
                self.say(format!("add: {answer}"));
            }
            Op::Exit(clean) => {
                if !self.over {
                    self.rules.shut_down(&Op::exit_reason(clean), self.now);
                    self.work();
                }
            }
            Op::End(n, fate) => {
                if let Some(n) = place(n) {
                    self.end(n, fate.reason());
                }
            }
            Op::Hold(n) => {
                if let Some(n) = place(n)
                    && let Some(process) = &mut self.places[n].process
                {
                    process.held = true;
                }
            }
            Op::Release(n) => {
                if let Some(n) = place(n) {
                    self.release(n);
                }
            }
            Op::Fail(n, times) => {
                if let Some(n) = place(n) {
                    self.places[n].failures_to_come = times;
                }
            }
        }
        self.settle();
    }

    fn say(&mut self, what: impl std::fmt::Display) {
        let now = (self.now - self.began).as_secs();
        self.log.push(format!("{now}: {what}"));
    }

    fn end(&mut self, n: usize, why: Reason) {
        let Some(process) = &mut self.places[n].process else {
            return;
        };
        if process.ending.is_none() {
            process.ending = Some(why.clone());
            if !process.held {
                self.ended.push_back((n, why));
            }
        }
    }

    fn release(&mut self, n: usize) {
        let place = &mut self.places[n];
        place.zombies = 0;
        if let Some(process) = &mut place.process
            && std::mem::take(&mut process.held)
            && let Some(why) = &process.ending
        {
            self.ended.push_back((n, why.clone()));
        }
    }

    fn add(&mut self, kid: Kid) -> Option<ChildId> {
        self.specs.push((kid, true));
        let spec = self.specs.len() - 1;
        (!self.simple).then(|| self.add_place(spec))
    }

    fn add_place(&mut self, spec: usize) -> ChildId {
        let kid = self.specs[spec].0;
        let kind = if self.simple { "t" } else { "k" };
        let id = self.rules.place(Traits {
            name: format!("{kind}{spec}").into(),
            restart: kid.restart,
            significant: kid.significant,
            shutdown: kid.shutdown,
            instance: self.simple,
        });
        self.places.push(Place {
            id,
            spec,
            process: None,
            zombies: 0,
            failures_to_come: 0,
        });
        id
    }

    fn check_open(&self) -> &'static str {
        if self.over {
            return "gone";
        }
        self.rules.check_open().map_or_else(|e| word(&e), |()| "ok")
    }

    /// The answer, unless that is still to come.
    fn manage(&mut self, op: &Op, spec: usize) -> Option<&'static str> {
        let open = self.check_open();
        if open != "ok" {
            return Some(open);
        }
        let asked = match op {
            Op::Start(_) if self.simple && !self.specs[spec].1 => return Some("disabled"),
            Op::Start(_) if self.simple => {
                let id = self.add_place(spec);
                self.rules.start(id)
            }
            Op::Start(_) => self.rules.start(self.places[spec].id),
            Op::Enable(_) if self.simple => {
                self.specs[spec].1 = true;
                Ok(())
            }
            Op::Enable(_) => self.rules.enable(self.places[spec].id).map(|_| ()),
            _ => {
                self.specs[spec].1 = false;
                let of_it = self.places.iter().filter(|place| place.spec == spec);
                let there = of_it.map(|place| place.id);
                let known = |id: &ChildId| self.rules.children().any(|child| child.0 == *id);
                let ids: Vec<_> = there.filter(known).collect();
                for id in &ids {
                    self.rules.disable(*id, self.now).expect("it is known");
                }
                self.leaving.push((spec, ids));
                return None;
            }
        };
        if let Err(error) = asked {
            return Some(word(&error));
        }
        self.refused = false;
        self.work();
        Some(if self.refused { "spawn" } else { "ok" })
    }

    /// Everything that follows from what has happened.
    fn settle(&mut self) {
        loop {
            if let Some((n, why)) = self.ended.pop_front() {
                self.places[n].process = None;
                self.say(format!("gone {n} {}", text(&why)));
                self.rules.ended(self.places[n].id, &why, self.now);
            } else if self.rules.next_tick().is_some_and(|at| at <= self.now) {
                self.rules.tick(self.now);
            } else {
                break;
            }
            self.work();
        }
        let rules = &self.rules;
        let mut answered = Vec::new();
        self.leaving.retain(|(spec, ids)| {
            let waits = ids.iter().any(|id| rules.is_alive(*id));
            if !waits && !self.over {
                answered.push(*spec);
            }
            waits
        });
        for spec in answered {
            self.say(format!("disabled {spec}"));
        }
    }

    fn work(&mut self) {
        while let Some(command) = self.rules.poll() {
            let of = |id| {
                let n = self.places.iter().position(|place| place.id == id);
                n.expect("commands are about places")
            };
            match command {
                Command::Start(id) => self.start(of(id), id),
                Command::Stop(id, why) => {
                    let n = of(id);
                    self.tell(n, why);
                }
                Command::Kill(id) => {
                    let n = of(id);
                    self.say(format!("kills {n}"));
                    self.tell(n, Reason::Kill);
                }
                Command::GiveUp(id) => {
                    let n = of(id);
                    self.places[n].process = None;
                    self.places[n].zombies += 1;
                    self.say(format!("gives up {n}"));
                }
                Command::Forget(id) => {
                    assert!(!self.rules.is_alive(id), "what lives is not forgotten");
                }
                Command::End(why) => {
                    self.over = true;
                    self.say(format!("over {}", text(&why)));
                }
            }
        }
    }

    fn start(&mut self, n: usize, id: ChildId) {
        self.say(format!("tries {n}"));
        let place = &mut self.places[n];
        let taken = !self.simple && place.zombies > 0;
        if taken || place.failures_to_come > 0 {
            if !taken {
                place.failures_to_come -= 1;
            }
            self.refused = self.rules.is_asked(id);
            let why = Reason::error("cannot start");
            return self.rules.start_failed(id, why, self.now);
        }
        place.process = Some(Process::default());
        self.say(format!("up {n}"));
        self.rules.started(id);
    }

    fn tell(&mut self, n: usize, why: Reason) {
        let process = self.places[n].process.as_ref();
        if process.is_some_and(|process| process.ending.is_none()) {
            self.say(format!("told {n} {}", text(&why)));
        }
        self.end(n, why);
    }
}

/// An error as it stands in the logs.
pub(super) fn word(error: &ChildError) -> &'static str {
    match error {
        ChildError::Running => "running",
        ChildError::Stopping => "stopping",
        ChildError::Restarting => "restarting",
        ChildError::Disabled => "disabled",
        ChildError::Ending => "ending",
        ChildError::Spawn(_) => "spawn",
        other => panic!("{other}"),
    }
}
