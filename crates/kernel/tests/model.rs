//! Names, aliases, links and monitors against a slow and obvious model of them.
//!
//! Every operation gives the model's answer, every process hears what the model says it hears,
//! and the node's counts are the model's.

#[path = "common/lab.rs"]
mod lab;

use std::collections::{BTreeMap, BTreeSet};

use lab::{Handle, Note, PATIENCE, node, stop};
use proptest::prelude::*;
use socktree_kernel::{Alias, Node, Pid, Reason, RelationError, Target};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Whom an operation is about: some process by number, name, or one of its aliases.
#[derive(Clone, Copy, Debug)]
enum To {
    Pid(usize),
    Name(usize),
    Alias(usize),
}

/// What a process does; the first number says which.
#[derive(Clone, Copy, Debug)]
enum Op {
    Start,
    End(usize),
    Register(usize, usize),
    Unregister(usize),
    CreateAlias(usize),
    DeleteAlias(usize, usize),
    Watch(usize, To, bool),
    Unwatch(usize, To, bool),
    Send(usize, To),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let to = || {
        prop_oneof![
            any::<usize>().prop_map(To::Pid),
            (0..NAMES.len()).prop_map(To::Name),
            any::<usize>().prop_map(To::Alias),
        ]
    };
    let process = any::<usize>;
    let op = prop_oneof![
        1 => Just(Op::Start),
        1 => process().prop_map(Op::End),
        2 => (process(), 0..NAMES.len()).prop_map(|(p, n)| Op::Register(p, n)),
        1 => process().prop_map(Op::Unregister),
        2 => process().prop_map(Op::CreateAlias),
        1 => (process(), any::<usize>()).prop_map(|(p, n)| Op::DeleteAlias(p, n)),
        4 => (process(), to(), any::<bool>()).prop_map(|(p, t, k)| Op::Watch(p, t, k)),
        2 => (process(), to(), any::<bool>()).prop_map(|(p, t, k)| Op::Unwatch(p, t, k)),
        2 => (process(), to()).prop_map(|(p, t)| Op::Send(p, t)),
    ];
    proptest::collection::vec(op, 1..60)
}

/// A watcher, its target as text, and whether it is a link.
type Relation = (Pid, String, bool);

/// What is, and what has to be heard.
#[derive(Default)]
struct Model {
    names: BTreeMap<&'static str, Pid>,
    aliases: BTreeMap<Alias, Pid>,
    living: BTreeSet<Pid>,
    relations: BTreeSet<Relation>,
    heard: BTreeMap<Pid, Vec<String>>,
}

impl Model {
    fn holder(&self, target: &Target) -> Option<Pid> {
        match target {
            Target::Pid(pid) => self.living.get(pid).copied(),
            Target::Name(name) => self.names.get(name.as_str()).copied(),
            Target::Alias(alias) => self.aliases.get(alias).copied(),
        }
    }

    fn name_of(&self, pid: Pid) -> Option<&'static str> {
        let mut held = self.names.iter().filter(|(_, holder)| **holder == pid);
        held.next().map(|(name, _)| *name)
    }

    fn watch(&mut self, who: Pid, target: &Target, link: bool) -> Result<(), RelationError> {
        match self.holder(target) {
            Some(holder) if link && holder == who => Err(RelationError::ToItself),
            None => Err(RelationError::Unknown),
            Some(_) if !self.relations.insert((who, target.to_string(), link)) => {
                Err(RelationError::Exists)
            }
            Some(_) => Ok(()),
        }
    }

    /// An address is no more.
    fn gone(&mut self, target: &str, reason: &str) {
        let (ended, kept) = std::mem::take(&mut self.relations)
            .into_iter()
            .partition(|(_, watched, _)| watched == target);
        self.relations = kept;
        let ended: BTreeSet<Relation> = ended;
        for (who, target, link) in ended {
            let kind = if link { "exit" } else { "down" };
            let heard = self.heard.entry(who).or_default();
            heard.push(format!("{kind} {target} {reason}"));
        }
    }

    fn end(&mut self, pid: Pid) {
        self.living.remove(&pid);
        self.relations.retain(|(who, _, _)| *who != pid);
        let mut gone = vec![pid.to_string()];
        if let Some(name) = self.name_of(pid) {
            self.names.remove(name);
            gone.push(Target::from(name).to_string());
        }
        let of = |(alias, holder): (&Alias, &Pid)| (*holder == pid).then(|| alias.to_string());
        gone.extend(self.aliases.iter().filter_map(of));
        self.aliases.retain(|_, holder| *holder != pid);
        for target in gone {
            self.gone(&target, "over");
        }
    }
}

/// The node beside its model.
struct Pair {
    node: Node,
    model: Model,
    processes: Vec<Handle>,
    /// All that there ever were, so that dead ones are tried too.
    pids: Vec<Pid>,
    aliases: Vec<Alias>,
}

impl Pair {
    fn new() -> Self {
        Self {
            node: node(1),
            model: Model::default(),
            processes: Vec::new(),
            pids: Vec::new(),
            aliases: Vec::new(),
        }
    }

    fn start(&mut self) {
        let process = Handle::new(&self.node);
        process.run(|ctx| ctx.trap_exit(true));
        self.model.living.insert(process.pid());
        self.pids.push(process.pid());
        self.processes.push(process);
    }

    fn target(&self, to: To) -> Target {
        match to {
            To::Pid(n) => self.pids[n % self.pids.len()].into(),
            To::Alias(n) if !self.aliases.is_empty() => self.aliases[n % self.aliases.len()].into(),
            To::Name(n) | To::Alias(n) => NAMES[n % NAMES.len()].into(),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Start if self.processes.len() < 6 => self.start(),
            Op::Start => {}
            Op::End(n) => {
                if self.processes.len() > 1 {
                    self.end(n % self.processes.len());
                }
            }
            Op::Register(n, name) => self.register(n, NAMES[name]),
            Op::Unregister(n) => self.unregister(n),
            Op::CreateAlias(n) => {
                let process = self.process(n);
                let (pid, alias) = (process.pid(), process.run(|ctx| ctx.create_alias()));
                assert!(self.model.aliases.insert(alias, pid).is_none());
                self.aliases.push(alias);
            }
            Op::DeleteAlias(n, alias) => {
                if !self.aliases.is_empty() {
                    self.delete_alias(n, self.aliases[alias % self.aliases.len()]);
                }
            }
            Op::Watch(n, to, link) => {
                let (process, target) = (self.process(n), self.target(to));
                let (pid, to) = (process.pid(), target.clone());
                let made = process.run(move |ctx| match link {
                    true => ctx.link(to),
                    false => ctx.monitor(to),
                });
                assert_eq!(made, self.model.watch(pid, &target, link), "{target}");
            }
            Op::Unwatch(n, to, link) => {
                let (process, target) = (self.process(n), self.target(to));
                let (pid, to) = (process.pid(), target.clone());
                let undone = process.run(move |ctx| match link {
                    true => ctx.unlink(to),
                    false => ctx.demonitor(to),
                });
                let was = self
                    .model
                    .relations
                    .remove(&(pid, target.to_string(), link));
                assert_eq!(undone.is_ok(), was, "{target}");
            }
            Op::Send(n, to) => self.send(n, self.target(to)),
        }
    }

    fn process(&self, n: usize) -> &Handle {
        &self.processes[n % self.processes.len()]
    }

    fn end(&mut self, n: usize) {
        let process = self.processes.swap_remove(n);
        let ended = self.node.monitor(process.pid()).expect("it lives");
        process.tell(|_| Err(Reason::error("over")));
        ended.wait_for(PATIENCE).expect("it ends");
        self.model.heard.remove(&process.pid());
        self.model.end(process.pid());
    }

    fn register(&mut self, n: usize, name: &'static str) {
        let process = self.process(n);
        let (pid, got) = (process.pid(), process.run(move |ctx| ctx.register(name)));
        let expected = match (self.model.name_of(pid), self.model.names.get(name)) {
            (Some(own), _) => Err(RelationError::HasName(own.into())),
            (None, Some(_)) => Err(RelationError::NameTaken(name.into())),
            (None, None) => Ok(()),
        };
        assert_eq!(got, expected);
        if got.is_ok() {
            self.model.names.insert(name, pid);
        }
    }

    fn unregister(&mut self, n: usize) {
        let process = self.process(n);
        let (pid, got) = (process.pid(), process.run(|ctx| ctx.unregister()));
        let name = self.model.name_of(pid);
        assert_eq!(got.is_ok(), name.is_some());
        if let Some(name) = name {
            self.model.names.remove(name);
            self.model
                .gone(&Target::from(name).to_string(), "unregistered");
        }
    }

    /// P-07: any of them, in any order, and those of others.
    fn delete_alias(&mut self, n: usize, alias: Alias) {
        let process = self.process(n);
        let (pid, got) = (
            process.pid(),
            process.run(move |ctx| ctx.delete_alias(alias)),
        );
        let own = self.model.aliases.get(&alias) == Some(&pid);
        assert_eq!(got.is_ok(), own);
        if own {
            self.model.aliases.remove(&alias);
            self.model.gone(&alias.to_string(), "unregistered");
        }
    }

    fn send(&mut self, n: usize, target: Target) {
        let process = self.process(n);
        let to = target.clone();
        let sent = process.run(move |ctx| ctx.send(to, 7_u64).is_ok());
        let holder = self.model.holder(&target);
        assert_eq!(sent, holder.is_some(), "{target}");
        if let Some(holder) = holder {
            self.model
                .heard
                .entry(holder)
                .or_default()
                .push("number".to_owned());
        }
    }

    /// Everyone has heard what the model says, and the counts agree.
    fn compare(&mut self) {
        for process in &self.processes {
            // Whatever was sent or signalled before is handled when this is.
            process.run(|_| ());
            let mut heard = Vec::new();
            while let Some(note) = process.noted() {
                heard.push(match note {
                    Note::Number(..) => "number".to_owned(),
                    Note::Down(target, reason) => format!("down {target} {reason}"),
                    Note::Exit(target, reason) => format!("exit {target} {reason}"),
                    other => panic!("{other:?}"),
                });
            }
            let mut expected = self.model.heard.remove(&process.pid()).unwrap_or_default();
            // The order of the notices about one end is nobody's promise.
            heard.sort_unstable();
            expected.sort_unstable();
            assert_eq!(heard, expected, "{}", process.pid());
        }
        let info = self.node.info();
        let model = &self.model;
        assert_eq!(info.processes, model.living.len());
        assert_eq!(info.names, model.names.len());
        assert_eq!(info.aliases, model.aliases.len());
        assert_eq!(
            info.relations,
            model.relations.len(),
            "{:?}",
            model.relations
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// P-02, P-04, P-05, P-07, F11.
    #[test]
    fn p_02_p_04_p_05_p_07_relations_are_as_the_model_says(ops in ops()) {
        let mut pair = Pair::new();
        pair.start();
        for op in ops {
            pair.apply(op);
            pair.compare();
        }
        stop(&pair.node);
    }
}
