//! Rules about the repository as a whole.

use std::collections::BTreeSet;

use crate::text::is_word;
use crate::tree::{File, Finding, find};

const TOP_LEVEL: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "deny.toml",
    "docs",
    "examples",
    "tests",
];

/// Past this a file is more than one noun; most should be well under 400.
const MAX_LINES: usize = 700;

/// A newcomer reads it in one sitting, or not at all.
const MAX_ARCHITECTURE_LINES: usize = 250;

/// Whoever opens the repository sees a handful of entries and knows what each of them is.
pub(crate) fn the_top_level_is_fixed(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let top = file.path.split('/').next().unwrap_or_default();
        if !top.starts_with('.') && !TOP_LEVEL.contains(&top) && seen.insert(top) {
            findings.push(file.finding(1, format!("`{top}` does not belong at the top level")));
        }
    }
    findings
}

/// The command a newcomer is told is the command that is known to pass.
pub(crate) fn readme_and_ci_name_the_same_test_command(files: &[File]) -> Vec<Finding> {
    let (Some(readme), Some(ci)) = (find(files, "README.md"), find(files, ".ci/run")) else {
        return vec![Finding::missing("README.md or .ci/run")];
    };
    let commands = test_commands(&readme.text);
    let mut findings: Vec<Finding> = commands
        .iter()
        .filter(|&&(_, command)| {
            let step = format!("step 'tests' {command}");
            !ci.text.lines().any(|line| line == step)
        })
        .map(|&(line, command)| {
            readme.finding(
                line,
                format!("`{command}` is not the step 'tests' of .ci/run"),
            )
        })
        .collect();
    if commands.is_empty() {
        findings.push(readme.finding(1, "say how the tests are run, in a code block"));
    }
    findings
}

/// Lines of code blocks that start with `cargo test`, without prompt or comment.
fn test_commands(readme: &str) -> Vec<(usize, &str)> {
    let mut in_block = false;
    let mut commands = Vec::new();
    for (index, line) in readme.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let line = line.split(" #").next().unwrap_or(line).trim();
            let line = line.strip_prefix("$ ").unwrap_or(line);
            if line.starts_with("cargo test") {
                commands.push((index + 1, line));
            }
        }
    }
    commands
}

/// A code map that names a crate which is gone, or forgets one, is worse than none.
pub(crate) fn architecture_names_the_crates_there_are(files: &[File]) -> Vec<Finding> {
    let crates: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.path.matches('/').count() == 2 && file.path.ends_with("/Cargo.toml"))
        .filter_map(File::crate_dir)
        .collect();
    let Some(page) = find(files, "docs/ARCHITECTURE.md") else {
        return vec![Finding::missing("docs/ARCHITECTURE.md")];
    };
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for (index, line) in page.text.lines().enumerate() {
        for (at, found) in line.match_indices("crates/") {
            let rest = &line[at + found.len()..];
            let end = rest.find(|c| !is_word(c) && c != '-').unwrap_or(rest.len());
            let name = &rest[..end];
            if name.is_empty() {
                continue;
            }
            if !crates.contains(name) {
                findings.push(page.finding(index + 1, format!("there is no crates/{name}")));
            }
            named.insert(name);
        }
    }
    for missing in crates.difference(&named) {
        findings.push(page.finding(1, format!("crates/{missing} is not on the map")));
    }
    findings
}

/// Files that people write and read; not the lock file, licences or vectors, and not the changelog,
/// which only grows.
pub(crate) fn no_file_is_too_long(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let ours = ["json", "md", "py", "rs", "sh", "toml"]
            .iter()
            .any(|extension| file.has_extension(extension))
            || file.path.starts_with(".ci/");
        if !ours || file.path.contains("/data/") || file.path == "docs/CHANGELOG.md" {
            continue;
        }
        let limit = if file.path == "docs/ARCHITECTURE.md" {
            MAX_ARCHITECTURE_LINES
        } else {
            MAX_LINES
        };
        let lines = file.text.lines().count();
        if lines > limit {
            findings
                .push(file.finding(limit + 1, format!("{lines} lines, at most {limit}: split")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::expect;

    #[test]
    fn a_stray_entry_is_found() {
        let rule = the_top_level_is_fixed;
        let good = [
            ("Cargo.toml", ""),
            (".ci/run", ""),
            ("crates/x/src/lib.rs", ""),
        ];
        expect(rule, &good, &[]);
        expect(
            rule,
            &[("NOTES.md", ""), ("util/a.rs", "")],
            &["NOTES.md:1", "util/a.rs:1"],
        );
        expect(
            rule,
            &[("util/a.rs", ""), ("util/b.rs", "")],
            &["util/a.rs:1"],
        );
    }

    #[test]
    fn a_drifting_test_command_is_found() {
        let rule = readme_and_ci_name_the_same_test_command;
        let ci = (".ci/run", "step 'tests' cargo test --workspace\n");
        let same = "```sh\n$ cargo test --workspace   # all of them\n```\n";
        expect(rule, &[("README.md", same), ci], &[]);
        let other = "# a\n```sh\ncargo test --all\n```\n";
        expect(rule, &[("README.md", other), ci], &["README.md:3"]);
        expect(
            rule,
            &[("README.md", "cargo test --workspace\n"), ci],
            &["README.md:1"],
        );
        expect(rule, &[ci], &["README.md or .ci/run:1"]);
        let longer = (".ci/run", "step 'tests' cargo test --workspace --lib\n");
        expect(rule, &[("README.md", same), longer], &["README.md:2"]);
    }

    #[test]
    fn a_wrong_map_is_found() {
        let rule = architecture_names_the_crates_there_are;
        let manifests = [("crates/a/Cargo.toml", ""), ("crates/b-c/Cargo.toml", "")];
        let page = |text| [manifests[0], manifests[1], ("docs/ARCHITECTURE.md", text)];
        expect(
            rule,
            &page("`crates/a`, `crates/b-c/src` under crates/\n"),
            &[],
        );
        expect(rule, &manifests, &["docs/ARCHITECTURE.md:1"]);
        expect(rule, &page("crates/a\n"), &["docs/ARCHITECTURE.md:1"]);
        expect(
            rule,
            &page("crates/a crates/b-c\ncrates/d\n"),
            &["docs/ARCHITECTURE.md:2"],
        );
    }

    #[test]
    fn a_long_file_is_found() {
        let rule = no_file_is_too_long;
        let long = "\n".repeat(MAX_LINES + 1);
        expect(rule, &[("a.rs", &long[1..]), ("Cargo.lock", &long)], &[]);
        expect(
            rule,
            &[("a.rs", &long), (".ci/run", &long)],
            &["a.rs:701", ".ci/run:701"],
        );
        let page = &long[..MAX_ARCHITECTURE_LINES + 1];
        expect(
            rule,
            &[("docs/ARCHITECTURE.md", page)],
            &["docs/ARCHITECTURE.md:251"],
        );
    }
}
