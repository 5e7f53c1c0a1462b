//! How a supervisor answers what is asked of it while it runs.

use std::collections::BTreeSet;

use crate::call::Reply;
use crate::ctx::Ctx;
use crate::guard::Foreign;
use crate::id::{Name, Pid};
use crate::reason::{Flow, Reason};
use crate::supervisor::error::ChildError;
use crate::supervisor::requests::{ChildInfo, RestartInfo, StartChild, SupervisorMsg};
use crate::supervisor::rules::ChildId;
use crate::supervisor::spec::ChildSpec;
use crate::supervisor::{Arguments, Child, Supervisor, crew};

/// Whoever waits until children are gone.
pub(super) struct Leaving {
    children: BTreeSet<ChildId>,
    reply: Reply<Result<(), ChildError>>,
}

impl Supervisor {
    pub(super) fn answer(&mut self, ctx: &mut Ctx<'_, Self>, message: SupervisorMsg) -> Flow {
        match message {
            SupervisorMsg::Start(request) => {
                let StartChild {
                    name,
                    arguments,
                    reply,
                } = request;
                let started = match arguments {
                    None => self.start_child(&name),
                    Some(arguments) => self.start_instance(&name, Foreign::new(arguments)),
                };
                let outcome = self.carry_out(ctx, started)?;
                reply.send(outcome);
            }
            SupervisorMsg::Add(request) => {
                let outcome = match self.add_child(request.spec) {
                    Ok(Some(id)) => {
                        let started = self.carry_out(ctx, Ok(id))?;
                        if started.is_err() {
                            self.take_back(id);
                        }
                        started.map(|_| ())
                    }
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                };
                request.reply.send(outcome);
            }
            SupervisorMsg::Enable(request) => {
                let outcome = match self.enable(&request.name) {
                    Ok(Some(id)) => self.carry_out(ctx, Ok(id))?.map(|_| ()),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                };
                request.reply.send(outcome);
            }
            SupervisorMsg::Disable(request) => {
                let children = self.disable(ctx, &request.name);
                crew::work(self, ctx)?;
                match children {
                    Ok(children) => {
                        let reply = request.reply;
                        self.leaving.push(Leaving { children, reply });
                        self.tell_who_waits();
                    }
                    Err(error) => drop(request.reply.send(Err(error))),
                }
            }
            SupervisorMsg::List(request) => drop(request.reply.send(self.list())),
            SupervisorMsg::History(request) => {
                let history = self.crew.rules.history().map(RestartInfo::new);
                request.reply.send(history.collect());
            }
            SupervisorMsg::Tick(_) => {
                crew::tick(self, ctx)?;
                self.tell_who_waits();
            }
        }
        Ok(())
    }

    fn list(&self) -> Vec<ChildInfo> {
        let children = self.crew.rules.children();
        children
            .map(|(id, traits, state, enabled)| {
                ChildInfo::new(traits, self.crew.pid(id), state, enabled)
            })
            .collect()
    }

    /// Starts what was asked for, and tells which process it is.
    fn carry_out(
        &mut self,
        ctx: &mut Ctx<'_, Self>,
        asked: Result<ChildId, ChildError>,
    ) -> Result<Result<Pid, ChildError>, Reason> {
        let id = match asked {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        crew::work(self, ctx)?;
        Ok(match self.refused.take() {
            Some(error) => Err(error.into()),
            // It may have been started and, by a callback's panic, told to end again.
            None => self.crew.pid(id).ok_or(ChildError::Ending),
        })
    }

    /// Forgets the child that was added last, and could not be started.
    fn take_back(&mut self, id: ChildId) {
        if self.crew.rules.retract(id) {
            self.children.remove(&id);
            self.specs.pop();
        }
    }

    fn find(&self, name: &Name) -> Result<usize, ChildError> {
        let found = self.specs.iter().position(|s| s.spec.name == *name);
        found.ok_or(ChildError::Unknown)
    }

    /// The child of this name, which is no template.
    fn find_child(&self, name: &Name) -> Result<ChildId, ChildError> {
        self.specs[self.find(name)?]
            .id
            .ok_or(ChildError::WrongArguments)
    }

    fn start_child(&mut self, name: &Name) -> Result<ChildId, ChildError> {
        self.crew.rules.check_open()?;
        let id = self.find_child(name)?;
        self.crew.rules.start(id)?;
        Ok(id)
    }

    fn start_instance(&mut self, name: &Name, arguments: Arguments) -> Result<ChildId, ChildError> {
        self.crew.rules.check_open()?;
        let spec = self.find(name)?;
        let template = &self.specs[spec];
        if template.spec.arguments != Some((**arguments).type_id()) {
            return Err(ChildError::WrongArguments);
        }
        if !template.enabled {
            return Err(ChildError::Disabled);
        }
        let traits = template.spec.traits(template.restart);
        let id = self.crew.rules.place(traits);
        self.children.insert(id, Child { spec, arguments });
        self.crew.rules.start(id)?;
        Ok(id)
    }

    fn add_child(&mut self, spec: ChildSpec) -> Result<Option<ChildId>, ChildError> {
        self.crew.rules.check_open()?;
        let id = self.place(spec)?;
        if let Some(id) = id {
            self.crew.rules.start(id)?;
        }
        Ok(id)
    }

    fn enable(&mut self, name: &Name) -> Result<Option<ChildId>, ChildError> {
        self.crew.rules.check_open()?;
        let n = self.find(name)?;
        match self.specs[n].id {
            Some(id) => Ok(self.crew.rules.enable(id)?.then_some(id)),
            None => {
                self.specs[n].enabled = true;
                Ok(None)
            }
        }
    }

    /// Gives out the children that have to be gone first.
    fn disable(
        &mut self,
        ctx: &Ctx<'_, Self>,
        name: &Name,
    ) -> Result<BTreeSet<ChildId>, ChildError> {
        self.crew.rules.check_open()?;
        let n = self.find(name)?;
        self.specs[n].enabled = false;
        let of_it = self.children.iter().filter(|(_, child)| child.spec == n);
        let children: BTreeSet<_> = of_it.map(|(id, _)| *id).collect();
        for id in &children {
            self.crew.rules.disable(*id, ctx.now())?;
        }
        Ok(children)
    }

    /// Answers those that waited for children which are gone now.
    pub(super) fn tell_who_waits(&mut self) {
        let rules = &self.crew.rules;
        let is_over = |waits: &mut Leaving| !waits.children.iter().any(|id| rules.is_alive(*id));
        for Leaving { reply, .. } in self.leaving.extract_if(.., is_over) {
            reply.send(Ok(()));
        }
    }
}
