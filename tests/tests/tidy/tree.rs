//! The files of the repository, and what a rule says about them.

use std::fmt;
use std::fs;
use std::path::Path;

/// A rule: from the files to whatever breaks it.
pub(crate) type Rule = fn(&[File]) -> Vec<Finding>;

/// A text file, by its path from the root of the repository with `/` between the parts.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The name of the crate directory, for anything under `crates/`.
    pub(crate) fn crate_dir(&self) -> Option<&str> {
        let (dir, _) = self.path.strip_prefix("crates/")?.split_once('/')?;
        Some(dir)
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|e| e == extension)
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// Something that breaks a rule.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn missing(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            line: 1,
            what: "is missing".to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every text file of the repository, sorted by path.
pub(crate) fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a directory of the repository");
    let mut files = Vec::new();
    read_into(root, "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        find(&files, "Cargo.toml").is_some(),
        "no manifest at the root: {}",
        root.display()
    );
    files
}

pub(crate) fn find<'a>(files: &'a [File], path: &str) -> Option<&'a File> {
    files.iter().find(|file| file.path == path)
}

fn read_into(dir: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(dir).expect("a directory of the repository is readable");
    for entry in entries.flatten() {
        // A file may vanish while we look, as editors' do; a rule is about those that stay.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            if name != "target" && name != ".git" && name != "__pycache__" {
                read_into(&entry.path(), &format!("{path}/"), files);
            }
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}

/// Shows that a rule finds what it should: `expected` is `path:line`, in order.
#[cfg(test)]
pub(crate) fn expect(rule: Rule, samples: &[(&str, &str)], expected: &[&str]) {
    let files: Vec<File> = samples
        .iter()
        .map(|&(path, text)| File {
            path: path.to_owned(),
            text: text.to_owned(),
        })
        .collect();
    let findings = rule(&files);
    let found: Vec<String> = findings
        .iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect();
    assert_eq!(found, expected, "\n{findings:#?}");
}
