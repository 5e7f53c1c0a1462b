//! Rules about Rust source.

use crate::manifest::is_published;
use crate::text::{code_only, is_word};
use crate::tree::{File, Finding, find};

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.has_extension("rs"))
}

/// mio, socket2, bytes, slab and rustls carry the unsafe code; what we publish carries none.
pub(crate) fn published_crates_forbid_unsafe_code(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in files.iter().filter(|file| is_published(file)) {
        let package = manifest.path.trim_end_matches("Cargo.toml");
        let roots = [
            format!("{package}src/lib.rs"),
            format!("{package}src/main.rs"),
        ];
        let roots: Vec<&File> = roots.iter().filter_map(|path| find(files, path)).collect();
        if roots.is_empty() {
            findings.push(manifest.finding(1, "a published package has a src/lib.rs"));
        }
        for root in roots {
            let forbidden = code_only(&root.text)
                .lines()
                .any(|line| line.trim() == "#![forbid(unsafe_code)]");
            if !forbidden {
                findings.push(root.finding(1, "add `#![forbid(unsafe_code)]`"));
            }
        }
    }
    findings
}

/// Every file opens with one sentence of what it is there for.
pub(crate) fn files_open_with_their_purpose(files: &[File]) -> Vec<Finding> {
    rust(files)
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.finding(1, "open with `//!` and what this file is for"))
        .collect()
}

/// `foo.rs` beside `foo/`: a dozen open files that are all called `mod.rs` help nobody.
pub(crate) fn no_module_is_called_mod(files: &[File]) -> Vec<Finding> {
    rust(files)
        .filter(|file| file.path.ends_with("/mod.rs"))
        .map(|file| file.finding(1, "name it after the module, beside the module's directory"))
        .collect()
}

/// What is not done is an issue, not a panic; a test that does not run is not a test.
pub(crate) fn nothing_is_left_undone(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(files) {
        for (number, line) in code_only(&file.text).lines().enumerate() {
            for undone in ["todo!", "unimplemented!", "#[ignore"] {
                if line.contains(undone) {
                    findings.push(file.finding(number + 1, format!("`{undone}` is left")));
                }
            }
        }
    }
    findings
}

/// A test that sleeps is slow on a fast machine and wrong on a slow one: wait for the thing itself,
/// with a deadline.
///
/// Where sleeping is what is tested (a handler that blocks), a comment `// sleep: why` on the line
/// or on the one above says so.
pub(crate) fn tests_do_not_sleep(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(files) {
        let code = code_only(&file.text);
        let Some(first) = first_line_of_tests(file, &code) else {
            continue;
        };
        let raw: Vec<&str> = file.text.lines().collect();
        for (index, line) in code.lines().enumerate().skip(first) {
            let above = index.checked_sub(1).map_or("", |above| raw[above]);
            if sleeps(line) && !is_explained(raw[index]) && !is_explained(above) {
                findings.push(file.finding(
                    index + 1,
                    "a test sleeps: wait for the event, or say `// sleep: why`",
                ));
            }
        }
    }
    findings
}

/// The index of the line from which a file is test code, if any of it is.
fn first_line_of_tests(file: &File, code: &str) -> Option<usize> {
    let path = &file.path;
    if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") {
        return Some(0);
    }
    code.lines().position(|line| line.trim() == "#[cfg(test)]")
}

fn sleeps(line: &str) -> bool {
    // Also `use std::thread::{self, sleep}`, after which the call itself names no thread.
    line.contains("thread::sleep")
        || line.contains("thread::")
            && line.trim_start().starts_with("use ")
            && line.split(|c| !is_word(c)).any(|word| word == "sleep")
}

fn is_explained(line: &str) -> bool {
    line.split_once("// sleep: ")
        .is_some_and(|(_, why)| !why.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::expect;

    #[test]
    fn a_missing_forbid_is_found() {
        let rule = published_crates_forbid_unsafe_code;
        let manifest = ("crates/x/Cargo.toml", "[package]\nname = \"x\"\n");
        let forbid = ("crates/x/src/lib.rs", "//! X.\n#![forbid(unsafe_code)]\n");
        expect(rule, &[manifest, forbid], &[]);
        expect(rule, &[manifest], &["crates/x/Cargo.toml:1"]);
        for bad in ["//! X.\n", "//! #![forbid(unsafe_code)]\n"] {
            let lib = ("crates/x/src/lib.rs", bad);
            expect(rule, &[manifest, lib], &["crates/x/src/lib.rs:1"]);
        }
        let main = ("crates/x/src/main.rs", "//! X.\n");
        expect(rule, &[manifest, forbid, main], &["crates/x/src/main.rs:1"]);
        let private = ("crates/x/Cargo.toml", "[package]\npublish = false\n");
        expect(rule, &[private, ("crates/x/src/lib.rs", "//! X.\n")], &[]);
    }

    #[test]
    fn a_file_without_purpose_is_found() {
        let rule = files_open_with_their_purpose;
        expect(rule, &[("a.rs", "//! A.\n"), ("b.md", "b\n")], &[]);
        for bad in ["", "use std::fs;\n", "// a\n", "//!\n", "\n//! A.\n"] {
            expect(
                rule,
                &[("crates/x/src/a.rs", bad)],
                &["crates/x/src/a.rs:1"],
            );
        }
    }

    #[test]
    fn mod_rs_is_found() {
        let rule = no_module_is_called_mod;
        expect(rule, &[("crates/x/src/remod.rs", "")], &[]);
        let bad = "crates/x/src/a/mod.rs";
        expect(rule, &[(bad, "//! A.\n")], &["crates/x/src/a/mod.rs:1"]);
    }

    #[test]
    fn undone_work_is_found() {
        let rule = nothing_is_left_undone;
        expect(rule, &[("a.rs", "// todo!()\nlet a = \"todo!()\";\n")], &[]);
        expect(rule, &[("a.rs", "fn a() {\n    todo!()\n}\n")], &["a.rs:2"]);
        expect(
            rule,
            &[("a.rs", "fn a() { unimplemented!(\"b\") }\n")],
            &["a.rs:1"],
        );
        expect(
            rule,
            &[("a.rs", "#[test]\n#[ignore = \"slow\"]\n")],
            &["a.rs:2"],
        );
    }

    #[test]
    fn a_sleeping_test_is_found() {
        let rule = tests_do_not_sleep;
        let sleep = "\nfn a() {\n    std::thread::sleep(t);\n}\n";
        expect(rule, &[("crates/x/src/a.rs", sleep)], &[]);
        for path in [
            "tests/tests/a.rs",
            "crates/x/tests/a.rs",
            "crates/x/src/a/tests.rs",
        ] {
            expect(rule, &[(path, sleep)], &[&format!("{path}:3")]);
        }
        let inline = "fn a() {\n    thread::sleep(t);\n}\n#[cfg(test)]\nmod tests {\n    \
                      fn b() {\n        thread::sleep(t);\n    }\n}\n";
        expect(
            rule,
            &[("crates/x/src/a.rs", inline)],
            &["crates/x/src/a.rs:7"],
        );
        expect(
            rule,
            &[("tests/a.rs", "use std::thread::{self, sleep};\n")],
            &["tests/a.rs:1"],
        );
    }

    #[test]
    fn an_explained_sleep_is_allowed() {
        let rule = tests_do_not_sleep;
        expect(
            rule,
            &[(
                "tests/a.rs",
                "thread::sleep(t); // sleep: the handler blocks\n",
            )],
            &[],
        );
        expect(
            rule,
            &[("tests/a.rs", "// sleep: it blocks\nthread::sleep(t);\n")],
            &[],
        );
        expect(
            rule,
            &[("tests/a.rs", "thread::sleep(t); // sleep: \n")],
            &["tests/a.rs:1"],
        );
    }
}
