//! Supervisors against a model of what they should do, in virtual time.
//!
//! A random schedule of children that fall, hang, fail to start and are managed is played three
//! times: by the [oracle], by the bare rules with a world that is only pretended, and by a real
//! supervisor with real children in a test kit. After each step all three must have seen the same.
//!
//! Ten thousand schedules each; `PROPTEST_CASES=1000000` for a campaign.

mod bare;
mod oracle;
mod real;
mod schedule;

use std::env;

use proptest::prelude::*;

use bare::Bare;
use oracle::Oracle;
use real::Real;
use schedule::{Op, Setup, ops, setup};

fn config() -> ProptestConfig {
    let cases = env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(10_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What the model saw in one step, without what only the rules can show: a kill that finds its
/// process ending already changes nothing that a child could see.
fn visible(log: &[String]) -> Vec<&String> {
    let is_visible = |line: &&String| !line.contains(" kills ");
    log.iter().filter(is_visible).collect()
}

fn play(setup: &Setup, ops: &[Op]) {
    let mut oracle = Oracle::new(setup);
    let mut bare = Bare::new(setup);
    let mut real = Real::new(setup);
    let mut story = Vec::new();
    for n in 0..=ops.len() {
        // The first step is the start itself.
        if let Some(op) = n.checked_sub(1).map(|n| &ops[n]) {
            story.push(format!("{op:?}"));
            oracle.apply(op);
            bare.apply(op);
            real.apply(op);
        }
        let expected = oracle.take_log();
        assert_eq!(bare.take_log(), expected, "the rules, after {story:#?}");
        let seen = real.take_log();
        assert_eq!(
            seen.iter().collect::<Vec<_>>(),
            visible(&expected),
            "the supervisor, after {story:#?}"
        );
        story.extend(expected);
    }
}

proptest! {
    #![proptest_config(config())]

    /// S-01 to S-08, in all their combinations.
    #[test]
    fn s_01_s_08_supervisors_do_as_the_model_says(setup in setup(), ops in ops()) {
        play(&setup, &ops);
    }
}
