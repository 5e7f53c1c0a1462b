//! What supervisors should do, written as plainly as possible: whenever something has happened,
//! everything is looked at again. It shares no code with the rules that it judges.

use std::collections::VecDeque;

use super::schedule::{Kid, Op, Setup, text};
use crate::supervisor::spec::{AutoShutdown, Restart, Shutdown, Strategy};

/// How long a killed child may take.
const GRACE: u64 = 5;

struct Process {
    held: bool,
    /// Why it ends, once it does.
    ending: Option<String>,
    /// When its supervisor told it to end, and when it killed it.
    told: Option<u64>,
    killed: Option<u64>,
}

struct Place {
    spec: usize,
    process: Option<Process>,
    /// Given up, and still not gone: by how many it keeps the name.
    zombies: Vec<Process>,
    retry_at: Option<u64>,
    failed_in_a_row: u32,
    failures_to_come: usize,
}

struct Spec {
    kid: Kid,
    enabled: bool,
}

#[derive(Clone, PartialEq)]
enum Mode {
    Normal,
    Replacing { from: usize, not_before: u64 },
    Ending(String),
    Over,
}

pub(super) struct Oracle {
    setup: Setup,
    specs: Vec<Spec>,
    places: Vec<Place>,
    mode: Mode,
    now: u64,
    crashes: Vec<u64>,
    /// Ends that the supervisor has not yet heard of.
    ended: VecDeque<(usize, String)>,
    /// Specs whose disabling waits for children.
    leaving: Vec<(usize, Vec<usize>)>,
    log: Vec<String>,
}

impl Oracle {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut new = Self {
            setup: setup.clone(),
            specs: Vec::new(),
            places: Vec::new(),
            mode: Mode::Normal,
            now: 0,
            crashes: Vec::new(),
            ended: VecDeque::new(),
            leaving: Vec::new(),
            log: Vec::new(),
        };
        for kid in &setup.kids {
            new.add(*kid);
        }
        for n in 0..new.places.len() {
            new.start(n);
        }
        new
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match *op {
            Op::Advance(seconds) => {
                for _ in 0..seconds {
                    self.now += 1;
                    self.settle();
                }
            }
            Op::Start(n) | Op::Enable(n) | Op::Disable(n) => self.manage(op, n),
            Op::Add(kid) => {
                let open = self.open();
                if open == "ok" {
                    let place = self.add(kid);
                    let started = place.is_none_or(|place| self.start(place));
                    assert!(started, "nothing has been said of failures yet");
                }
                self.say(format!("add: {open}"));
            }
            Op::Exit(clean) => self.end_all(&text(&Op::exit_reason(clean))),
            Op::End(n, fate) => {
                if let Some(n) = self.place(n) {
                    self.end(n, &text(&fate.reason()));
                }
            }
            Op::Hold(n) => {
                if let Some(n) = self.place(n)
                    && let Some(process) = &mut self.places[n].process
                {
                    process.held = true;
                }
            }
            Op::Release(n) => {
                if let Some(n) = self.place(n) {
                    self.release(n);
                }
            }
            Op::Fail(n, times) => {
                if let Some(n) = self.place(n) {
                    self.places[n].failures_to_come = times;
                }
            }
        }
        self.settle();
    }

    fn say(&mut self, what: impl std::fmt::Display) {
        self.log.push(format!("{}: {what}", self.now));
    }

    fn is_simple(&self) -> bool {
        self.setup.strategy == Strategy::SimpleOneForOne
    }

    fn place(&self, n: usize) -> Option<usize> {
        n.checked_rem(self.places.len())
    }

    fn kid(&self, n: usize) -> Kid {
        self.specs[self.places[n].spec].kid
    }

    fn enabled(&self, n: usize) -> bool {
        self.specs[self.places[n].spec].enabled
    }

    // The world.

    fn end(&mut self, n: usize, why: &str) {
        let Some(process) = &mut self.places[n].process else {
            return;
        };
        if process.ending.is_none() {
            process.ending = Some(why.to_owned());
            if !process.held {
                self.ended.push_back((n, why.to_owned()));
            }
        }
    }

    fn release(&mut self, n: usize) {
        let place = &mut self.places[n];
        place.zombies.clear();
        if let Some(process) = &mut place.process
            && std::mem::take(&mut process.held)
            && let Some(why) = &process.ending
        {
            self.ended.push_back((n, why.clone()));
        }
    }

    // The supervisor.

    fn add(&mut self, kid: Kid) -> Option<usize> {
        self.specs.push(Spec { kid, enabled: true });
        let spec = self.specs.len() - 1;
        (!self.is_simple()).then(|| self.add_place(spec))
    }

    fn add_place(&mut self, spec: usize) -> usize {
        self.places.push(Place {
            spec,
            process: None,
            zombies: Vec::new(),
            retry_at: None,
            failed_in_a_row: 0,
            failures_to_come: 0,
        });
        self.places.len() - 1
    }

    fn open(&self) -> &'static str {
        match self.mode {
            Mode::Normal => "ok",
            Mode::Replacing { .. } => "restarting",
            Mode::Ending(_) => "ending",
            Mode::Over => "gone",
        }
    }

    fn manage(&mut self, op: &Op, n: usize) {
        let Some(spec) = n.checked_rem(self.specs.len()) else {
            return;
        };
        let open = self.open();
        let answer = match op {
            _ if open != "ok" => open,
            Op::Start(_) if !self.specs[spec].enabled => "disabled",
            Op::Start(_) if self.is_simple() => {
                let place = self.add_place(spec);
                self.start(place);
                "ok"
            }
            Op::Start(_) => match self.state(spec) {
                "down" if self.start(spec) => "ok",
                "down" => "spawn",
                busy => busy,
            },
            Op::Enable(_) if self.specs[spec].enabled => "ok",
            Op::Enable(_) if self.is_simple() => {
                self.specs[spec].enabled = true;
                "ok"
            }
            Op::Enable(_) => match self.state(spec) {
                "down" if self.start(spec) => {
                    self.specs[spec].enabled = true;
                    "ok"
                }
                "down" => "spawn",
                busy => busy,
            },
            _ => return self.disable(spec),
        };
        self.say(format!("manage: {answer}"));
    }

    /// What keeps a child from being started.
    fn state(&self, n: usize) -> &'static str {
        let place = &self.places[n];
        match &place.process {
            Some(process) if process.told.is_some() => "stopping",
            Some(_) => "running",
            None if place.retry_at.is_some() => "restarting",
            None => "down",
        }
    }

    fn disable(&mut self, spec: usize) {
        self.specs[spec].enabled = false;
        let mut waits = Vec::new();
        for n in 0..self.places.len() {
            if self.places[n].spec == spec {
                self.places[n].retry_at = None;
                self.tell(n, "shutdown");
                waits.push(n);
            }
        }
        self.leaving.push((spec, waits));
    }

    fn start(&mut self, n: usize) -> bool {
        self.say(format!("tries {n}"));
        let is_simple = self.is_simple();
        let place = &mut self.places[n];
        if !is_simple && !place.zombies.is_empty() {
            return false;
        }
        if place.failures_to_come > 0 {
            place.failures_to_come -= 1;
            return false;
        }
        place.failed_in_a_row = 0;
        place.process = Some(Process {
            held: false,
            ending: None,
            told: None,
            killed: None,
        });
        self.say(format!("up {n}"));
        true
    }

    fn start_by_the_rules(&mut self, n: usize) -> bool {
        let started = self.start(n);
        if !started {
            self.places[n].failed_in_a_row += 1;
            let (first, most) = self.setup.retry;
            let mut delay = first;
            for _ in 1..self.places[n].failed_in_a_row {
                delay = (delay * 2).min(most.max(first));
            }
            self.crash(n, Some(delay));
        }
        started
    }

    fn tell(&mut self, n: usize, why: &str) {
        let (now, shutdown) = (self.now, self.kid(n).shutdown);
        let Some(process) = &mut self.places[n].process else {
            return;
        };
        if process.told.is_some() {
            return;
        }
        process.told = Some(now);
        let by_force = shutdown == Shutdown::Kill;
        process.killed = by_force.then_some(now);
        let is_news = process.ending.is_none();
        let why = match (by_force, why) {
            (true, _) => "kill",
            // Only who does not hear is killed.
            (false, "kill") => "shutdown",
            (false, why) => why,
        };
        if by_force {
            self.say(format!("kills {n}"));
        }
        if is_news {
            self.say(format!("told {n} {why}"));
        }
        self.end(n, why);
    }

    fn settle(&mut self) {
        loop {
            if let Some((n, why)) = self.ended.pop_front() {
                self.say(format!("gone {n} {why}"));
                self.hear(n, &why);
            } else if !self.something_was_due() {
                break;
            }
        }
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|(spec, places)| {
            let waits = places.iter().any(|n| self.places[*n].process.is_some());
            if !waits && self.mode != Mode::Over {
                self.say(format!("disabled {spec}"));
            }
            waits
        });
        self.leaving = leaving;
    }

    /// A child has ended, and the supervisor hears of it.
    fn hear(&mut self, n: usize, why: &str) {
        let process = self.places[n]
            .process
            .take()
            .expect("it has ended just now");
        let was_meant_to = match self.mode {
            Mode::Replacing { from, .. } => n >= from,
            Mode::Ending(_) | Mode::Over => true,
            Mode::Normal => false,
        };
        if was_meant_to || process.told.is_some() {
            return self.go_on();
        }
        let clean = why == "normal" || why == "shutdown";
        let again = match self.kid(n).restart {
            Restart::Permanent => true,
            Restart::Transient => !clean,
            Restart::Temporary => false,
        };
        if again {
            return self.crash(n, None);
        }
        if self.kid(n).significant {
            let others = (0..self.places.len()).any(|m| self.kid(m).significant && self.counts(m));
            if self.setup.auto_shutdown == AutoShutdown::Any || !others {
                self.end_all(why);
            }
        }
    }

    /// Whether a child is there, or will be.
    fn counts(&self, n: usize) -> bool {
        let in_group = matches!(self.mode, Mode::Replacing { from, .. } if n >= from);
        self.state(n) != "down" || in_group && self.comes_back(n)
    }

    fn comes_back(&self, n: usize) -> bool {
        self.enabled(n) && self.kid(n).restart != Restart::Temporary
    }

    fn crash(&mut self, n: usize, delay: Option<u64>) {
        self.crashes.push(self.now);
        let (now, period) = (self.now, self.setup.period);
        let recent = self.crashes.iter().filter(|at| now - **at <= period);
        if recent.count() > self.setup.intensity {
            let kind = if self.is_simple() { "t" } else { "k" };
            let spec = self.places[n].spec;
            return self.end_all(&format!("exceeded by {kind}{spec}"));
        }
        let from = match self.setup.strategy {
            Strategy::AllForOne => 0,
            Strategy::RestForOne => n,
            Strategy::OneForOne | Strategy::SimpleOneForOne => {
                match delay {
                    None => drop(self.start_by_the_rules(n)),
                    Some(delay) => self.places[n].retry_at = Some(self.now + delay),
                }
                return;
            }
        };
        let not_before = self.now + delay.unwrap_or(0);
        self.mode = match self.mode {
            Mode::Replacing {
                from: f,
                not_before: t,
            } => Mode::Replacing {
                from: f.min(from),
                not_before: t.max(not_before),
            },
            _ => Mode::Replacing { from, not_before },
        };
        self.go_on();
    }

    fn end_all(&mut self, why: &str) {
        if matches!(self.mode, Mode::Normal | Mode::Replacing { .. }) {
            self.places
                .iter_mut()
                .for_each(|place| place.retry_at = None);
            self.mode = Mode::Ending(why.to_owned());
            self.go_on();
        }
    }

    /// On with whatever is under way.
    fn go_on(&mut self) {
        let (from, why) = match &self.mode {
            Mode::Normal | Mode::Over => return,
            Mode::Replacing { from, .. } => (*from, "shutdown".to_owned()),
            Mode::Ending(why) => (0, why.clone()),
        };
        let there = (from..self.places.len()).rev();
        let there: Vec<_> = there
            .filter(|n| self.places[*n].process.is_some())
            .collect();
        if !there.is_empty() {
            let at_once = !self.setup.keep_order || self.is_simple();
            let next = if at_once { there.len() } else { 1 };
            for n in &there[..next] {
                self.tell(*n, &why);
            }
            return;
        }
        match self.mode {
            Mode::Replacing { not_before, .. } if self.now >= not_before => {
                self.mode = Mode::Normal;
                for n in from..self.places.len() {
                    if self.comes_back(n) && !self.start_by_the_rules(n) {
                        break;
                    }
                }
            }
            Mode::Ending(_) => {
                self.say(format!("over {why}"));
                self.mode = Mode::Over;
            }
            _ => {}
        }
    }

    /// Whether a process that was told to end, or killed, has had its time.
    fn is_late(&self, n: usize) -> bool {
        let Some(process) = &self.places[n].process else {
            return false;
        };
        let patience = match self.kid(n).shutdown {
            Shutdown::Within(patience) => Some(patience.as_secs()),
            Shutdown::Kill | Shutdown::Wait => None,
        };
        match (process.killed, process.told, patience) {
            (Some(at), _, _) => self.now >= at + GRACE,
            (None, Some(at), Some(patience)) => self.now >= at + patience,
            _ => false,
        }
    }

    /// Does what is due by now: kills, gives up, tries again.
    fn something_was_due(&mut self) -> bool {
        let mut something = false;
        // As it is now: whoever is told to end in between gets a chance to.
        let late: Vec<_> = (0..self.places.len())
            .filter(|n| self.is_late(*n))
            .collect();
        for n in late {
            something = true;
            let now = self.now;
            match &mut self.places[n].process {
                Some(process) if process.killed.is_none() => {
                    process.killed = Some(now);
                    self.say(format!("kills {n}"));
                }
                process => {
                    let zombie = process.take();
                    self.places[n].zombies.extend(zombie);
                    self.say(format!("gives up {n}"));
                    self.go_on();
                }
            }
        }
        for n in 0..self.places.len() {
            if self.places[n].retry_at.is_some_and(|at| self.now >= at) {
                something = true;
                self.places[n].retry_at = None;
                self.start_by_the_rules(n);
            }
        }
        if let Mode::Replacing { from, not_before } = self.mode {
            let waits = self.places[from..].iter().any(|p| p.process.is_some());
            if !waits && self.now >= not_before {
                something = true;
                self.go_on();
            }
        }
        something
    }
}
