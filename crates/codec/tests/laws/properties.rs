//! Laws that hold for every framing, every option, every stream and every way to cut it.
//!
//! Ten thousand cases each; `PROPTEST_CASES=1000000` for a campaign.

use std::env;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::check as law;

/// Runs `check` on arbitrary bytes, shrinking those that break it.
pub(crate) fn check(most: usize, check: fn(&[u8])) {
    let cases = env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let config = ProptestConfig {
        cases: cases.unwrap_or(10_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&vec(any::<u8>(), 0..most), |bytes| {
        check(&bytes);
        Ok::<(), TestCaseError>(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn any_cut_and_any_pause_give_the_same_frames() {
    check(400, law::check_decode);
}

#[test]
fn options_are_refused_exactly_when_they_are_wrong() {
    check(24, law::check_options);
}

#[test]
fn what_is_encoded_is_read_back_and_nothing_else_is_encoded() {
    check(400, law::check_round_trip);
}

#[test]
fn switching_the_framing_loses_no_byte() {
    check(400, law::check_switch);
}

#[test]
fn switching_the_framing_between_reads_loses_no_byte() {
    check(400, law::check_switch_between);
}
