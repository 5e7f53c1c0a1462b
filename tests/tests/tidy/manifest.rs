//! Rules about manifests: which crate may depend on what.
//!
//! Manifests are read line by line, which suffices for the plain form ours have. What this reader
//! would not understand is itself a finding, so a dependency cannot hide in unusual TOML.

use crate::tree::{File, Finding, find};

/// A package, how high it stands, and the outside crates it may use.
struct Place {
    manifest: &'static str,
    package: &'static str,
    layer: u8,
    /// `None`: any, because the package is never published.
    outside: Option<&'static [&'static str]>,
}

/// The layers: a package may depend on packages of a lower layer, never of its own or a higher one.
///
/// A new outside dependency is a decision for everybody who uses the crate: change this table and
/// the one in docs/ARCHITECTURE.md in the same commit.
const PLACES: [Place; 10] = [
    place(
        "crates/kernel",
        "socktree-kernel",
        0,
        &["crossbeam-channel", "log"],
    ),
    place(
        "crates/reactor",
        "socktree-reactor",
        0,
        &[
            "crossbeam-channel",
            "log",
            "mio",
            "rustix",
            "slab",
            "socket2",
        ],
    ),
    place("crates/codec", "socktree-codec", 0, &["bytes"]),
    place("crates/buffer", "socktree-buffer", 0, &["bytes"]),
    place(
        "crates/tls",
        "socktree-tls",
        0,
        &[
            "log",
            "rustls",
            "rustls-native-certs",
            "rustls-pki-types",
            "x509-cert",
            "zeroize",
        ],
    ),
    place("crates/tcp", "socktree-tcp", 1, &["bytes", "log"]),
    place("crates/socktree", "socktree", 2, &[]),
    unpublished("crates/bench", "socktree-bench"),
    unpublished("examples", "socktree-examples"),
    unpublished("tests", "socktree-tests"),
];

const fn place(
    manifest: &'static str,
    package: &'static str,
    layer: u8,
    outside: &'static [&'static str],
) -> Place {
    Place {
        manifest,
        package,
        layer,
        outside: Some(outside),
    }
}

const fn unpublished(manifest: &'static str, package: &'static str) -> Place {
    Place {
        manifest,
        package,
        layer: 3,
        outside: None,
    }
}

impl Place {
    fn of_package(name: &str) -> Option<&'static Self> {
        PLACES.iter().find(|place| place.package == name)
    }

    fn of_manifest(file: &File) -> Option<&'static Self> {
        let dir = file.path.strip_suffix("/Cargo.toml")?;
        PLACES.iter().find(|place| place.manifest == dir)
    }
}

/// One `key = value`, with the table it stands in.
struct Entry {
    line: usize,
    table: String,
    key: String,
    value: String,
}

#[derive(PartialEq)]
enum Kind {
    Normal,
    Dev,
}

struct Dependency {
    line: usize,
    name: String,
    kind: Kind,
}

/// Nothing sideways and nothing up, for dev-dependencies too: a leaf crate's tests that need a
/// sibling belong in `tests/`. A crate may be its own dev-dependency, to turn a feature on.
pub(crate) fn arrows_point_down(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in packages(files) {
        let Some(from) = Place::of_manifest(file) else {
            let what = "this package is not in the table of tests/tests/tidy/manifest.rs";
            findings.push(file.finding(1, what));
            continue;
        };
        for dependency in dependencies(&file.text) {
            let Some(to) = Place::of_package(&dependency.name) else {
                if dependency.name.starts_with("socktree") {
                    let what = format!("`{}` is not in the table", dependency.name);
                    findings.push(file.finding(dependency.line, what));
                }
                continue;
            };
            let itself = to.package == from.package && dependency.kind == Kind::Dev;
            if to.layer >= from.layer && !itself {
                let direction = if to.layer == from.layer {
                    "sideways"
                } else {
                    "up"
                };
                let what = format!("`{}` to `{}` points {direction}", from.package, to.package);
                findings.push(file.finding(dependency.line, what));
            } else if from.package == "socktree-examples" && to.package != "socktree" {
                let what = "an example shows the facade, as a user would write it";
                findings.push(file.finding(dependency.line, what));
            }
        }
    }
    findings
}

/// Build-dependencies count as normal ones: whoever uses the crate builds them.
pub(crate) fn outside_dependencies_are_in_the_table(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in packages(files) {
        let Some(allowed) = Place::of_manifest(file).and_then(|place| place.outside) else {
            continue;
        };
        for dependency in dependencies(&file.text) {
            let known = Place::of_package(&dependency.name).is_some()
                || allowed.contains(&dependency.name.as_str());
            if dependency.kind == Kind::Normal && !known {
                let what = format!("`{}` is not among {allowed:?}", dependency.name);
                findings.push(file.finding(dependency.line, what));
            }
        }
    }
    findings
}

/// Forms of TOML in which the rules above would overlook a dependency.
pub(crate) fn manifests_are_plain(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_manifest(file)) {
        for entry in entries(&file.text) {
            let table = entry.table.as_str();
            let in_dependencies = dependency_table(table).is_some();
            let hidden = !in_dependencies && entry.key.contains("dependencies");
            let what = if table.is_empty() && file.path != "Cargo.toml" || hidden {
                "write dependencies as a table of their own"
            } else if (in_dependencies || table.starts_with("workspace.dependencies"))
                && (entry.key.ends_with("package") || has_word(&entry.value, "package"))
            {
                "a renamed dependency hides which crate it is"
            } else if table.starts_with("patch") || table == "replace" {
                "what is patched here is not what users get"
            } else {
                continue;
            };
            findings.push(file.finding(entry.line, what));
        }
    }
    findings
}

/// Ours are released together: a mixture of versions is never tested.
pub(crate) fn inner_dependencies_are_pinned(files: &[File]) -> Vec<Finding> {
    let Some(root) = find(files, "Cargo.toml") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let entries_of_root = entries(&root.text);
    let version = entries_of_root
        .iter()
        .find(|entry| entry.table == "workspace.package" && entry.key == "version")
        .map_or("", |entry| entry.value.trim_matches('"'));
    let pinned = format!("version = \"={version}\"");
    for entry in &entries_of_root {
        let inner = entry.value.contains("path =") || entry.key.starts_with("socktree");
        if entry.table == "workspace.dependencies" && inner && !entry.value.contains(&pinned) {
            findings.push(root.finding(entry.line, format!("pin it: `{pinned}`")));
        }
    }
    for file in packages(files) {
        for entry in entries(&file.text) {
            let inner = dependency_table(&entry.table).is_some_and(|name| {
                let name = name.unwrap_or(&entry.key);
                name.starts_with("socktree") || entry.value.contains("path =")
            });
            // Itself, to turn a feature on in tests. Without a version, publishing leaves it out.
            let itself = entry.table == "dev-dependencies"
                && entry.value.contains("path = \".\"")
                && !entry.value.contains("version");
            let from_workspace = entry.key.ends_with("workspace") && entry.value == "true"
                || entry.value.contains("workspace = true");
            // A table of its own may add features beside its `workspace = true`.
            let addition = ["features", "optional", "default-features"]
                .iter()
                .any(|key| entry.key == *key);
            if inner && !from_workspace && !addition && !itself {
                findings.push(file.finding(entry.line, "take it from the workspace"));
            }
        }
    }
    findings
}

/// A package without `[lints]` is checked by nothing.
pub(crate) fn packages_take_the_lint_table(files: &[File]) -> Vec<Finding> {
    packages(files)
        .filter(|file| {
            !entries(&file.text)
                .iter()
                .any(|e| e.table == "lints" && e.key == "workspace" && e.value == "true")
        })
        .map(|file| file.finding(1, "add `[lints]` with `workspace = true`"))
        .collect()
}

/// A package that lists itself, to turn features on in its tests, turns all of them on: then nobody
/// has to test it once more with all features, and `.ci/run` does not.
pub(crate) fn self_tests_have_every_feature(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in packages(files) {
        let entries = entries(&file.text);
        let itself =
            |entry: &&Entry| entry.value.contains("path = \".\"") || entry.value == "\".\"";
        let Some(itself) = entries.iter().find(itself) else {
            continue;
        };
        if itself.table != "dev-dependencies" || itself.key == "path" {
            findings
                .push(file.finding(itself.line, "list it in `[dev-dependencies]`, in one line"));
        }
        for feature in entries.iter().filter(|entry| entry.table == "features") {
            if !has_word(&itself.value, &feature.key) {
                let what = format!("`{}` is off in the tests of its own package", feature.key);
                findings.push(file.finding(feature.line, what));
            }
        }
    }
    findings
}

/// Whether this is the manifest of a crate that goes to the registry.
pub(crate) fn is_published(file: &File) -> bool {
    is_package(file)
        && !entries(&file.text)
            .iter()
            .any(|e| e.table == "package" && e.key == "publish" && e.value == "false")
}

fn is_manifest(file: &File) -> bool {
    // The fuzz targets and the loom models are workspaces of their own and ship to nobody.
    (file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
        && !file.path.contains("/fuzz/")
        && !file.path.contains("/loom/")
}

fn is_package(file: &File) -> bool {
    is_manifest(file) && file.path != "Cargo.toml"
}

fn packages(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| is_package(file))
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    for entry in entries(manifest) {
        let Some(name) = dependency_table(&entry.table) else {
            continue;
        };
        let in_key = entry.key.split('.').next().unwrap_or_default();
        let name = name.unwrap_or(in_key).to_owned();
        let kind = if entry.table.contains("dev-dependencies") {
            Kind::Dev
        } else {
            Kind::Normal
        };
        if !found
            .iter()
            .any(|other| other.name == name && other.kind == kind)
        {
            found.push(Dependency {
                line: entry.line,
                name,
                kind,
            });
        }
    }
    found
}

/// Whether a table holds dependencies; and the name, if it holds a single one.
#[expect(
    clippy::option_option,
    reason = "no table of dependencies, of many, of the one named"
)]
fn dependency_table(table: &str) -> Option<Option<&str>> {
    let mut rest = table;
    if rest.starts_with("target.") {
        // The condition in between may hold dots and brackets of its own.
        let at = ["dependencies", "dev-dependencies", "build-dependencies"]
            .iter()
            .filter_map(|kind| rest.find(&format!(".{kind}")))
            .min()?;
        rest = &rest[at + 1..];
    }
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(name) = rest.strip_prefix(kind) {
            return if name.is_empty() {
                Some(None)
            } else {
                Some(name.strip_prefix('.'))
            };
        }
    }
    None
}

/// The entries of a manifest, in order; a value over several lines is joined.
fn entries(manifest: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut depth = 0_i32;
    for (index, line) in manifest.lines().enumerate() {
        let line = without_comment(line).trim();
        if depth > 0 {
            let last = found.last_mut().expect("a value is open");
            last.value.push_str(line);
        } else if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).replace(['"', '\'', ' '], "");
            continue;
        } else if let Some((key, value)) = line.split_once('=') {
            found.push(Entry {
                line: index + 1,
                table: table.clone(),
                key: key.replace(['"', '\'', ' '], ""),
                value: value.trim().to_owned(),
            });
        }
        depth += opened(line);
    }
    found
}

/// How many brackets a line opens and does not close, those in strings aside.
fn opened(line: &str) -> i32 {
    let mut quoted = false;
    let mut depth = 0;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

fn has_word(value: &str, word: &str) -> bool {
    value
        .split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Rule, expect};

    /// Applies a rule to a manifest of the codec that ends with `text`, and counts lines from there.
    fn codec(rule: Rule, text: &str, lines: &[usize]) {
        let path = "crates/codec/Cargo.toml";
        let expected: Vec<String> = lines.iter().map(|line| format!("{path}:{line}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        expect(rule, &[(path, text)], &expected);
    }

    #[test]
    fn an_arrow_that_does_not_point_down_is_found() {
        let rule = arrows_point_down;
        codec(rule, "[dependencies]\nbytes = \"1\"\n", &[]);
        let sideways = "[dependencies]\nbytes = \"1\"\nsocktree-buffer.workspace = true\n";
        codec(rule, sideways, &[3]);
        codec(
            rule,
            "[dev-dependencies]\nsocktree-tcp = { path = \"../tcp\" }\n",
            &[2],
        );
        codec(rule, "[dependencies.socktree]\nworkspace = true\n", &[2]);
        codec(
            rule,
            "[target.'cfg(unix)'.dependencies]\nsocktree-tls.workspace = true\n",
            &[2],
        );
        codec(
            rule,
            "[build-dependencies]\n\"socktree-tls\" = \"1\"\n",
            &[2],
        );
        codec(
            rule,
            "[dependencies]\nsocktree-util.workspace = true\n",
            &[2],
        );
        expect(
            rule,
            &[("crates/util/Cargo.toml", "")],
            &["crates/util/Cargo.toml:1"],
        );
        let down = "[dependencies]\nsocktree-codec.workspace = true\n";
        expect(
            rule,
            &[("crates/tcp/Cargo.toml", down), ("tests/Cargo.toml", down)],
            &[],
        );
        expect(
            rule,
            &[("examples/Cargo.toml", down)],
            &["examples/Cargo.toml:2"],
        );
    }

    #[test]
    fn an_outside_dependency_is_found() {
        let rule = outside_dependencies_are_in_the_table;
        codec(rule, "[dependencies]\nbytes.workspace = true\n", &[]);
        codec(rule, "[dev-dependencies]\ntokio-util = \"0.7\"\n", &[]);
        codec(
            rule,
            "[dependencies]\n# a [\nmemchr = \"2\" # bytes\n",
            &[3],
        );
        codec(rule, "[build-dependencies]\ncc = \"1\"\n", &[2]);
        codec(
            rule,
            "[target.x86_64-unknown-linux-gnu.dependencies]\nlibc = \"1\"\n",
            &[2],
        );
        codec(
            rule,
            "[target.\"cfg(a)\".dependencies.libc]\nversion = \"1\"\n",
            &[2],
        );
        codec(
            rule,
            "[dependencies]\nbytes = { version = \"1\", features = [\n\"a\",\n] }\nlog = \"0.4\"\n",
            &[5],
        );
        expect(
            rule,
            &[("examples/Cargo.toml", "[dependencies]\nlog = \"0.4\"\n")],
            &[],
        );
    }

    #[test]
    fn a_hidden_dependency_is_found() {
        let rule = manifests_are_plain;
        codec(rule, "[package]\nname = \"a\"\n[features]\nsim = []\n", &[]);
        codec(rule, "dependencies.libc = \"1\"\n", &[1]);
        codec(
            rule,
            "[target]\n'cfg(unix)'.dependencies.libc = \"1\"\n",
            &[2],
        );
        codec(
            rule,
            "[dependencies]\nbytes = { package = \"libc\", version = \"1\" }\n",
            &[2],
        );
        codec(
            rule,
            "[dependencies.bytes]\nversion = \"1\"\npackage = \"libc\"\n",
            &[3],
        );
        codec(rule, "[patch.crates-io]\nbytes = { path = \"b\" }\n", &[2]);
        let root = "[workspace.dependencies]\nbytes = { version = \"1\", package = \"c\" }\n";
        expect(rule, &[("Cargo.toml", root)], &["Cargo.toml:2"]);
    }

    #[test]
    fn an_unpinned_inner_dependency_is_found() {
        let rule = inner_dependencies_are_pinned;
        let root = |line: &str| {
            format!("[workspace.package]\nversion = \"0.2.0\"\n[workspace.dependencies]\n{line}\n")
        };
        let good = root("socktree-a = { path = \"crates/a\", version = \"=0.2.0\" }");
        expect(rule, &[("Cargo.toml", &good)], &[]);
        for bad in [
            "\"0.2.0\"",
            "{ path = \"crates/a\" }",
            "{ path = \"a\", version = \"=0.1.0\" }",
        ] {
            let root = root(&format!("socktree-a = {bad}"));
            expect(rule, &[("Cargo.toml", &root)], &["Cargo.toml:4"]);
        }
        let tcp = "crates/tcp/Cargo.toml";
        let member = |text| [("Cargo.toml", good.as_str()), (tcp, text)];
        let features = "[dependencies]\nsocktree-a = { workspace = true, features = [\"b\"] }\n";
        expect(rule, &member(features), &[]);
        expect(
            rule,
            &member("[dependencies]\nsocktree-a.workspace = true\n"),
            &[],
        );
        let table = "[dependencies.socktree-a]\nworkspace = true\nfeatures = [\"b\"]\n";
        expect(rule, &member(table), &[]);
        let own = "[dependencies]\nsocktree-a = { path = \"../a\" }\n";
        expect(rule, &member(own), &["crates/tcp/Cargo.toml:2"]);
        let itself = "[dev-dependencies]\nsocktree-tcp = { path = \".\", features = [\"b\"] }\n";
        expect(rule, &member(itself), &[]);
        let versioned = "[dependencies.socktree-a]\nversion = \"0.2\"\n";
        expect(rule, &member(versioned), &["crates/tcp/Cargo.toml:2"]);
    }

    #[test]
    fn a_package_without_lints_is_found() {
        let rule = packages_take_the_lint_table;
        codec(rule, "[package]\n[lints]\nworkspace = true\n", &[]);
        codec(rule, "[package]\n", &[1]);
        codec(rule, "[package]\n[lints]\nworkspace = false\n", &[1]);
    }

    #[test]
    fn a_feature_that_no_test_of_its_package_has_is_found() {
        let rule = self_tests_have_every_feature;
        let itself = |features: &str| {
            format!(
                "[dev-dependencies]\nsocktree-codec = {{ path = \".\", features = [{features}] }}\n\
                 [features]\na = []\nb = []\n"
            )
        };
        codec(rule, &itself("\"a\", \"b\""), &[]);
        codec(rule, &itself("\"b\""), &[4]);
        codec(rule, "[features]\na = []\n", &[]);
        let elsewhere = "[target.x.dev-dependencies]\nsocktree-codec = { path = \".\" }\n";
        codec(rule, elsewhere, &[2]);
        let table = "[dev-dependencies.socktree-codec]\npath = \".\"\n";
        codec(rule, table, &[2]);
    }
}
