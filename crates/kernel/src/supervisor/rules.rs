//! What a supervisor decides, without doing any of it: told what has happened and when, it says
//! what to do. No process, clock or thread is known here, so that every rule can be tried with a
//! virtual time of one's own.
//!
//! Whoever executes it asks [`Rules::poll`] until there is nothing left to do, and answers each
//! [`Command::Start`] before it asks again. Children are started one at a time, and while they are,
//! nothing else is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guard::Foreign;
use crate::id::Name;
use crate::reason::Reason;
use crate::supervisor::error::ChildError;
use crate::supervisor::spec::{AutoShutdown, Restart, Shutdown, Strategy};

/// How long a child that was killed may take to end before its supervisor goes on without it: its
/// handler has most likely blocked for good.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(5);

/// How many restarts are remembered for whoever asks.
pub(crate) const HISTORY: usize = 50;

/// One place for a child: the same through all of its lives. Later places have higher numbers, so
/// their order is the order in which children are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(u64);

/// What holds for all children.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: usize,
    pub(crate) period: Duration,
    /// How long to wait after a start that failed, at first and at most.
    pub(crate) retry: (Duration, Duration),
    pub(crate) keep_order: bool,
    pub(crate) auto_shutdown: AutoShutdown,
}

/// What holds for one child.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    pub(crate) name: Name,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) shutdown: Shutdown,
    /// Forgotten once it has ended for good: an instance, which is started again by no name.
    pub(crate) instance: bool,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Start it now, and say how that went.
    Start(ChildId),
    /// Ask it to end.
    Stop(ChildId, Reason),
    /// End it by force.
    Kill(ChildId),
    /// It has not even ended after the kill: its end will not be waited for.
    GiveUp(ChildId),
    /// Nothing will be asked of this place again.
    Forget(ChildId),
    /// All is over.
    End(Reason),
}

/// A restart that became necessary.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    pub(crate) at: Instant,
    pub(crate) child: Name,
    pub(crate) reason: Foreign<Reason>,
}

/// What a place is seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing runs, and nothing is due.
    Down,
    Up,
    /// Told to end; it was killed if that is true.
    Stopping(bool),
    /// Its start has failed and is due again.
    Retry,
}

#[derive(Debug)]
struct Slot {
    traits: Traits,
    enabled: bool,
    state: State,
    /// When its state has lasted too long; in [`Rules::due`] as well.
    due: Option<Instant>,
    /// Starts that have failed in a row.
    failures: u32,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The children are started for the first time; the first failure ends it all.
    First,
    Running,
    Group(Group),
    Ending(Reason),
    Over,
}

/// Children that are to be replaced together: those from this one on.
#[derive(Clone, Copy, Debug)]
struct Group {
    from: ChildId,
    /// A start has failed, and is not to be tried again before this.
    not_before: Option<Instant>,
}

/// Why a child is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// By the rules: a failure is one more crash.
    Rules,
    /// Somebody asked for it: a failure is told to whoever did, and changes nothing.
    Asked,
}

#[derive(Debug)]
pub(crate) struct Rules {
    policy: Policy,
    slots: BTreeMap<ChildId, Slot>,
    next: u64,
    phase: Phase,
    /// To be started, one after the other.
    queue: VecDeque<(ChildId, Cause)>,
    /// Being started.
    starting: Option<(ChildId, Cause)>,
    commands: VecDeque<Command>,
    due: BTreeSet<(Instant, ChildId)>,
    /// Those that run, whether told to end or not.
    alive: BTreeSet<ChildId>,
    /// When the latest crashes were, oldest first, at most `intensity + 1` of them.
    crashes: VecDeque<Instant>,
    history: VecDeque<Crash>,
}

impl Rules {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            slots: BTreeMap::new(),
            next: 0,
            phase: Phase::First,
            queue: VecDeque::new(),
            starting: None,
            commands: VecDeque::new(),
            due: BTreeSet::new(),
            alive: BTreeSet::new(),
            crashes: VecDeque::new(),
            history: VecDeque::new(),
        }
    }

    // What is asked for.

    /// Makes a place for a child, behind all others, without starting it.
    pub(crate) fn place(&mut self, traits: Traits) -> ChildId {
        let id = ChildId(self.next);
        self.next += 1;
        let slot = Slot {
            traits,
            enabled: true,
            state: State::Down,
            due: None,
            failures: 0,
        };
        self.slots.insert(id, slot);
        id
    }

    /// Starts all children for the first time.
    pub(crate) fn begin(&mut self) {
        let all = self.slots.keys().map(|id| (*id, Cause::Rules));
        self.queue.extend(all);
        if self.queue.is_empty() {
            self.phase = Phase::Running;
        }
    }

    /// Whether children can be managed now.
    pub(crate) fn check_open(&self) -> Result<(), ChildError> {
        match self.phase {
            Phase::Running => Ok(()),
            Phase::First | Phase::Group(_) => Err(ChildError::Restarting),
            Phase::Ending(_) | Phase::Over => Err(ChildError::Ending),
        }
    }

    /// Starts a child that does not run.
    pub(crate) fn start(&mut self, id: ChildId) -> Result<(), ChildError> {
        self.check_open()?;
        let slot = self.slots.get(&id).ok_or(ChildError::Unknown)?;
        if !slot.enabled {
            return Err(ChildError::Disabled);
        }
        match slot.state {
            State::Up => return Err(ChildError::Running),
            State::Stopping(_) => return Err(ChildError::Stopping),
            State::Retry => return Err(ChildError::Restarting),
            State::Down => {}
        }
        self.queue.push_back((id, Cause::Asked));
        Ok(())
    }

    /// Enables and starts a child that was disabled. False if it was not.
    pub(crate) fn enable(&mut self, id: ChildId) -> Result<bool, ChildError> {
        self.check_open()?;
        let slot = self.slots.get(&id).ok_or(ChildError::Unknown)?;
        if slot.enabled {
            return Ok(false);
        }
        if slot.state != State::Down {
            return Err(ChildError::Stopping);
        }
        self.queue.push_back((id, Cause::Asked));
        Ok(true)
    }

    /// Ends a child that will not be started again until it is enabled; an instance is forgotten.
    pub(crate) fn disable(&mut self, id: ChildId, now: Instant) -> Result<(), ChildError> {
        self.check_open()?;
        let slot = self.slots.get_mut(&id).ok_or(ChildError::Unknown)?;
        slot.enabled = false;
        match slot.state {
            State::Up => self.stop(id, &Reason::Shutdown, now),
            State::Retry => self.take_down(id),
            State::Stopping(_) | State::Down => {}
        }
        self.forget_if_gone(id);
        Ok(())
    }

    /// Takes back a place whose child could not be started when somebody asked for it.
    pub(crate) fn retract(&mut self, id: ChildId) -> bool {
        let is_down = |slot: &Slot| slot.state == State::Down;
        self.slots.get(&id).is_some_and(is_down) && self.slots.remove(&id).is_some()
    }

    // What has happened.

    pub(crate) fn started(&mut self, id: ChildId) {
        let starting = self.starting.take().map(|(id, _)| id);
        assert_eq!(starting, Some(id), "what is started was asked to be");
        let slot = self.slot(id);
        slot.state = State::Up;
        (slot.enabled, slot.failures) = (true, 0);
        self.alive.insert(id);
        if matches!(self.phase, Phase::First) && self.queue.is_empty() {
            self.phase = Phase::Running;
        }
    }

    pub(crate) fn start_failed(&mut self, id: ChildId, reason: Reason, now: Instant) {
        let (starting, cause) = self.starting.take().expect("a start was asked for");
        assert_eq!(starting, id, "what failed to start was asked to");
        if matches!(self.phase, Phase::First) {
            self.shut_down(&reason, now);
        } else if cause == Cause::Rules {
            let slot = self.slot(id);
            slot.failures = slot.failures.saturating_add(1);
            let delay = backoff(self.slots[&id].failures, self.policy.retry);
            self.crash(id, &reason, Some(delay), now);
        } else {
            self.forget_if_gone(id);
        }
    }

    /// With which reason all is about to end.
    pub(crate) fn ending(&self) -> Option<&Reason> {
        match &self.phase {
            Phase::Ending(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the start that failed just now was one that somebody asked for.
    pub(crate) fn is_asked(&self, id: ChildId) -> bool {
        self.starting == Some((id, Cause::Asked))
    }

    /// A child has ended, and nothing is left of it.
    pub(crate) fn ended(&mut self, id: ChildId, reason: &Reason, now: Instant) {
        let before = self.slot(id).state;
        self.take_down(id);
        if self.is_part_of_the_plan(id) || before != State::Up {
            return self.gone(id, now);
        }
        let restart = self.slots[&id].traits.restart;
        if restart.is_due_after(reason) {
            self.crash(id, reason, None, now);
        } else {
            self.ended_for_good(id, reason, now);
        }
    }

    /// Ends all children, the last first, and then all.
    pub(crate) fn shut_down(&mut self, reason: &Reason, now: Instant) {
        if matches!(self.phase, Phase::Ending(_) | Phase::Over) {
            return;
        }
        self.queue.clear();
        self.starting = None;
        for (id, slot) in &mut self.slots {
            if slot.state == State::Retry {
                slot.state = State::Down;
                if let Some(at) = slot.due.take() {
                    self.due.remove(&(at, *id));
                }
            }
        }
        self.phase = Phase::Ending(reason.clone());
        self.stop_next(ChildId(0), reason, now, true);
        self.end_if_alone();
    }

    /// The time has come for whatever was due.
    pub(crate) fn tick(&mut self, now: Instant) {
        // Not what becomes due only now: whoever was told to end this moment gets a chance to.
        let is_due = |(at, _): &&(Instant, ChildId)| *at <= now;
        let due: Vec<_> = self.due.iter().take_while(is_due).copied().collect();
        for (at, id) in due {
            if !self.due.remove(&(at, id)) {
                continue;
            }
            let slot = self.slot(id);
            slot.due = None;
            match slot.state {
                State::Stopping(false) => self.kill(id, now),
                State::Stopping(true) => {
                    self.take_down(id);
                    self.commands.push_back(Command::GiveUp(id));
                    self.gone(id, now);
                }
                State::Retry => {
                    slot.state = State::Down;
                    self.queue.push_back((id, Cause::Rules));
                }
                State::Up | State::Down => unreachable!("nothing is due for a child at rest"),
            }
        }
        self.restart_group_if_due(now);
    }

    // What is to be done.

    /// The next thing to do. A start must be answered before the next call.
    #[must_use = "whoever takes a command has to carry it out"]
    pub(crate) fn poll(&mut self) -> Option<Command> {
        assert!(self.starting.is_none(), "each start is answered");
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        self.starting = self.queue.pop_front();
        self.starting.map(|(id, _)| Command::Start(id))
    }

    /// When to call [`tick`](Self::tick), if nothing happens before.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let first = self.due.first().map(|(at, _)| *at);
        let group = match self.phase {
            Phase::Group(group) if self.alive.range(group.from..).next().is_none() => {
                group.not_before
            }
            _ => None,
        };
        first.into_iter().chain(group).min()
    }

    // What can be seen.

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    pub(crate) fn is_alive(&self, id: ChildId) -> bool {
        self.alive.contains(&id)
    }

    /// The children in their order: traits, state, and whether it is enabled.
    pub(crate) fn children(&self) -> impl Iterator<Item = (ChildId, &Traits, State, bool)> {
        let all = self.slots.iter();
        all.map(|(id, slot)| (*id, &slot.traits, slot.state, slot.enabled))
    }

    pub(crate) fn name(&self, id: ChildId) -> &Name {
        &self.slots[&id].traits.name
    }

    /// The latest restarts, oldest first.
    pub(crate) fn history(&self) -> impl Iterator<Item = &Crash> {
        self.history.iter()
    }

    // The rules themselves.

    fn slot(&mut self, id: ChildId) -> &mut Slot {
        self.slots
            .get_mut(&id)
            .expect("a place is kept as long as something can happen to its child")
    }

    fn set_due(&mut self, id: ChildId, delay: Duration, now: Instant) {
        let at = later(now, delay);
        self.slot(id).due = Some(at);
        self.due.insert((at, id));
    }

    fn take_down(&mut self, id: ChildId) {
        let slot = self.slot(id);
        slot.state = State::Down;
        if let Some(at) = slot.due.take() {
            self.due.remove(&(at, id));
        }
        self.alive.remove(&id);
    }

    /// Whether this end was to come anyway, because all or some are ending.
    fn is_part_of_the_plan(&self, id: ChildId) -> bool {
        match &self.phase {
            Phase::Group(group) => id >= group.from,
            Phase::Ending(_) | Phase::Over => true,
            Phase::First | Phase::Running => false,
        }
    }

    /// A child is gone whose end was asked for: on with what waits for it.
    fn gone(&mut self, id: ChildId, now: Instant) {
        match self.phase.clone() {
            Phase::Ending(reason) => {
                self.stop_next(ChildId(0), &reason, now, false);
                self.end_if_alone();
            }
            Phase::Group(group) if id >= group.from => {
                self.stop_next(group.from, &Reason::Shutdown, now, false);
                self.restart_group_if_due(now);
            }
            _ => self.forget_if_gone(id),
        }
    }

    fn forget_if_gone(&mut self, id: ChildId) {
        let slot = &self.slots[&id];
        if slot.traits.instance && slot.state == State::Down {
            self.slots.remove(&id);
            self.commands.push_back(Command::Forget(id));
        }
    }

    /// It ended by itself, and is not started again.
    fn ended_for_good(&mut self, id: ChildId, reason: &Reason, now: Instant) {
        let significant = self.slots[&id].traits.significant;
        self.forget_if_gone(id);
        if !significant {
            return;
        }
        let is_last = || {
            let others = self.slots.iter().filter(|(_, s)| s.traits.significant);
            others.fold(true, |last, (id, slot)| {
                last && !self.is_expected(*id, slot)
            })
        };
        if self.policy.auto_shutdown == AutoShutdown::Any || is_last() {
            self.shut_down(reason, now);
        }
    }

    /// Whether a child runs, or will again without being asked for.
    fn is_expected(&self, id: ChildId, slot: &Slot) -> bool {
        slot.state != State::Down
            || matches!(self.phase, Phase::Group(group) if id >= group.from && slot.comes_back())
    }

    /// A child needs to be started again: at once, or after a start that failed with a delay.
    fn crash(&mut self, id: ChildId, reason: &Reason, delay: Option<Duration>, now: Instant) {
        if let Err(reason) = self.count(id, reason, now) {
            return self.shut_down(&reason, now);
        }
        match self.policy.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => match delay {
                None => self.queue.push_back((id, Cause::Rules)),
                Some(delay) => {
                    self.slot(id).state = State::Retry;
                    self.set_due(id, delay, now);
                }
            },
            Strategy::AllForOne => self.regroup(ChildId(0), delay, now),
            Strategy::RestForOne => self.regroup(id, delay, now),
        }
    }

    /// Counts one more crash; an error if that is too many.
    fn count(&mut self, id: ChildId, reason: &Reason, now: Instant) -> Result<(), Reason> {
        let child = self.name(id).clone();
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Crash {
            at: now,
            child: child.clone(),
            reason: Foreign::new(reason.clone()),
        });
        self.crashes.push_back(now);
        let period = self.policy.period;
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > period;
        while self.crashes.front().is_some_and(is_old) {
            self.crashes.pop_front();
        }
        if self.crashes.len() <= self.policy.intensity {
            return Ok(());
        }
        Err(Reason::RestartsExceeded {
            child: child.as_str().into(),
            reason: Arc::new(reason.clone()),
        })
    }

    /// Replaces all children from this one on.
    fn regroup(&mut self, from: ChildId, delay: Option<Duration>, now: Instant) {
        let mut group = Group {
            from,
            not_before: delay.map(|delay| later(now, delay)),
        };
        if let Phase::Group(before) = self.phase {
            group.from = group.from.min(before.from);
            group.not_before = group.not_before.max(before.not_before);
        }
        // What was still to be started belongs to it.
        self.queue.clear();
        self.phase = Phase::Group(group);
        self.stop_next(group.from, &Reason::Shutdown, now, true);
        self.restart_group_if_due(now);
    }

    fn restart_group_if_due(&mut self, now: Instant) {
        let Phase::Group(group) = self.phase else {
            return;
        };
        if self.alive.range(group.from..).next().is_some()
            || group.not_before.is_some_and(|at| now < at)
        {
            return;
        }
        let members = self.slots.range(group.from..);
        let back = members.filter(|(_, slot)| slot.comes_back());
        self.queue.extend(back.map(|(id, _)| (*id, Cause::Rules)));
        self.phase = Phase::Running;
    }

    /// Tells the next one from here on to end: the last, or all if their order does not matter.
    /// `first` is true in the first of several calls.
    fn stop_next(&mut self, from: ChildId, reason: &Reason, now: Instant, first: bool) {
        let is_up = |id: &ChildId| self.slots[id].state == State::Up;
        if self.policy.keep_order && self.policy.strategy != Strategy::SimpleOneForOne {
            // Unless the last one is still about to end.
            let last = self.alive.range(from..).next_back().copied();
            if let Some(id) = last.filter(is_up) {
                self.stop(id, reason, now);
            }
        } else if first {
            let all: Vec<_> = self.alive.range(from..).rev().copied().collect();
            for id in all {
                if self.slots[&id].state == State::Up {
                    self.stop(id, reason, now);
                }
            }
        }
    }

    fn stop(&mut self, id: ChildId, reason: &Reason, now: Instant) {
        let slot = self.slot(id);
        let patience = match slot.traits.shutdown {
            Shutdown::Kill => return self.kill(id, now),
            Shutdown::Within(patience) => Some(patience),
            Shutdown::Wait => None,
        };
        slot.state = State::Stopping(false);
        if let Some(patience) = patience {
            self.set_due(id, patience, now);
        }
        // A kill is for those that do not end when they are asked to.
        let reason = match reason {
            Reason::Kill => Reason::Shutdown,
            other => other.clone(),
        };
        self.commands.push_back(Command::Stop(id, reason));
    }

    fn kill(&mut self, id: ChildId, now: Instant) {
        self.slot(id).state = State::Stopping(true);
        self.set_due(id, KILL_GRACE, now);
        self.commands.push_back(Command::Kill(id));
    }

    fn end_if_alone(&mut self) {
        if self.alive.is_empty()
            && let Phase::Ending(reason) = &self.phase
        {
            self.commands.push_back(Command::End(reason.clone()));
            self.phase = Phase::Over;
        }
    }
}

impl Slot {
    /// Whether it is started again with its group.
    fn comes_back(&self) -> bool {
        self.enabled && self.traits.restart != Restart::Temporary
    }
}

/// A time beyond the end of time is as good as never.
fn later(now: Instant, delay: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(86_400 * 365 * 30);
    now.checked_add(delay).unwrap_or_else(|| now + NEVER)
}

/// How long to wait after so many failures in a row: twice as long each time.
fn backoff(failures: u32, (first, most): (Duration, Duration)) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1));
    factor
        .and_then(|factor| first.checked_mul(factor))
        .map_or(most, |delay| delay.min(most.max(first)))
}
