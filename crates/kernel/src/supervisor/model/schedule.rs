//! What happens to a supervisor and its children in one schedule.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::reason::Reason;
use crate::supervisor::spec::{AutoShutdown, Restart, Shutdown, Strategy as Kind};

/// One child, or one template.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kid {
    pub(super) restart: Restart,
    pub(super) significant: bool,
    pub(super) shutdown: Shutdown,
}

#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) strategy: Kind,
    pub(super) intensity: usize,
    /// Times are in seconds.
    pub(super) period: u64,
    pub(super) retry: (u64, u64),
    pub(super) keep_order: bool,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) kids: Vec<Kid>,
}

/// Why a child ends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Leaves,
    Crashes,
    IsKilled,
}

impl Fate {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Leaves => Reason::Normal,
            Self::Crashes => Reason::error("crash"),
            Self::IsKilled => Reason::Kill,
        }
    }
}

/// One step. Children are counted by their places, in the order in which there came to be any.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    End(usize, Fate),
    /// From now on, this process does not end before it is released.
    Hold(usize),
    /// All processes that there ever were in this place.
    Release(usize),
    /// So many of the next starts fail.
    Fail(usize, usize),
    Advance(u64),
    /// Somebody ends the supervisor, in good order or not.
    Exit(bool),
    /// A child again, or one more instance of a template.
    Start(usize),
    Enable(usize),
    Disable(usize),
    Add(Kid),
}

impl Op {
    pub(super) fn exit_reason(clean: bool) -> Reason {
        match clean {
            true => Reason::Shutdown,
            false => Reason::error("asked"),
        }
    }
}

/// A reason as it stands in the logs.
pub(super) fn text(reason: &Reason) -> String {
    match reason {
        Reason::RestartsExceeded { child, .. } => format!("exceeded by {child}"),
        other => other.to_string(),
    }
}

fn kid() -> impl Strategy<Value = Kid> {
    let restart = prop_oneof![
        2 => Just(Restart::Permanent),
        3 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ];
    let shutdown = prop_oneof![
        1 => Just(Shutdown::Kill),
        4 => (0_u64..8).prop_map(|s| Shutdown::Within(std::time::Duration::from_secs(s))),
        1 => Just(Shutdown::Wait),
    ];
    let kid = (restart, prop::bool::weighted(0.2), shutdown);
    kid.prop_map(|(restart, significant, shutdown)| Kid {
        restart,
        // A permanent one never ends for good.
        significant: significant && restart != Restart::Permanent,
        shutdown,
    })
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let strategy = prop_oneof![
        Just(Kind::OneForOne),
        Just(Kind::AllForOne),
        Just(Kind::RestForOne),
        Just(Kind::SimpleOneForOne),
    ];
    let auto = prop_oneof![Just(AutoShutdown::Any), Just(AutoShutdown::All)];
    let limits = (0_usize..6, 0_u64..12, (0_u64..4, 0_u64..10));
    (strategy, limits, any::<bool>(), auto, vec(kid(), 0..5)).prop_map(
        |(strategy, (intensity, period, retry), keep_order, auto_shutdown, kids)| Setup {
            strategy,
            intensity,
            period,
            retry,
            keep_order,
            auto_shutdown,
            kids,
        },
    )
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let n = || 0_usize..8;
    let fate = prop_oneof![
        2 => Just(Fate::Leaves),
        4 => Just(Fate::Crashes),
        1 => Just(Fate::IsKilled),
    ];
    let op = prop_oneof![
        8 => (n(), fate).prop_map(|(n, fate)| Op::End(n, fate)),
        4 => n().prop_map(Op::Hold),
        3 => n().prop_map(Op::Release),
        2 => (n(), 1_usize..4).prop_map(|(n, times)| Op::Fail(n, times)),
        6 => (1_u64..8).prop_map(Op::Advance),
        1 => any::<bool>().prop_map(Op::Exit),
        4 => n().prop_map(Op::Start),
        1 => n().prop_map(Op::Enable),
        2 => n().prop_map(Op::Disable),
        1 => kid().prop_map(Op::Add),
    ];
    vec(op, 0..24)
}
