//! The rules of the tree itself: what no compiler checks and a reviewer would have to.
//!
//! Each rule is a function from the files of the repository to findings, so that the tests beside
//! it show it failing on a bad sample. A finding names the file, the line and what to do about it.

#[path = "tidy/faults.rs"]
mod faults;
#[path = "tidy/layout.rs"]
mod layout;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tree.rs"]
mod tree;

use tree::{Rule, repository};

/// Applies one rule to the repository and fails with everything it found.
fn check(rule: Rule) {
    let findings = rule(&repository());
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn arrows_point_down() {
    check(manifest::arrows_point_down);
}

#[test]
fn outside_dependencies_are_in_the_table() {
    check(manifest::outside_dependencies_are_in_the_table);
}

#[test]
fn manifests_are_written_so_that_they_can_be_checked() {
    check(manifest::manifests_are_plain);
}

#[test]
fn inner_dependencies_are_pinned() {
    check(manifest::inner_dependencies_are_pinned);
}

#[test]
fn every_package_takes_the_lint_table() {
    check(manifest::packages_take_the_lint_table);
}

#[test]
fn self_tests_have_every_feature() {
    check(manifest::self_tests_have_every_feature);
}

#[test]
fn published_crates_forbid_unsafe_code() {
    check(source::published_crates_forbid_unsafe_code);
}

#[test]
fn every_file_says_what_it_is() {
    check(source::files_open_with_their_purpose);
}

#[test]
fn no_module_is_called_mod() {
    check(source::no_module_is_called_mod);
}

#[test]
fn nothing_is_left_undone() {
    check(source::nothing_is_left_undone);
}

#[test]
fn tests_do_not_sleep() {
    check(source::tests_do_not_sleep);
}

#[test]
fn every_fault_of_others_has_its_test() {
    check(faults::every_fault_has_its_test);
}

#[test]
fn every_code_of_a_fault_can_be_looked_up() {
    check(faults::every_code_has_its_row);
}

#[test]
fn the_top_level_is_fixed() {
    check(layout::the_top_level_is_fixed);
}

#[test]
fn readme_and_ci_name_the_same_test_command() {
    check(layout::readme_and_ci_name_the_same_test_command);
}

#[test]
fn architecture_names_the_crates_there_are() {
    check(layout::architecture_names_the_crates_there_are);
}

#[test]
fn no_file_is_too_long() {
    check(layout::no_file_is_too_long);
}
