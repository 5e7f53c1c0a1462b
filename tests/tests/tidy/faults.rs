//! The rules about faults: those that others had have a test by their name, or a reason, and a code
//! that is cited anywhere can be looked up.

use std::collections::HashSet;

use crate::tree::{File, Finding};

const TABLE: &str = "docs/known-faults.md";

/// How many there are of each kind.
const KINDS: [(char, usize); 5] = [('P', 12), ('M', 9), ('S', 9), ('L', 4), ('E', 5)];

/// What stands instead of a test.
const REASON: &str = "no test: ";

/// Each row of the table names tests that there are, and no number is left out.
pub(crate) fn every_fault_has_its_test(files: &[File]) -> Vec<Finding> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![Finding::missing(TABLE)];
    };
    let is_known = |test: &str| {
        let head = format!("fn {test}(");
        let is_rust = |file: &&File| file.has_extension("rs");
        files
            .iter()
            .filter(is_rust)
            .any(|file| file.text.contains(&head))
    };
    let mut findings = Vec::new();
    let mut expected = KINDS
        .iter()
        .flat_map(|&(kind, count)| (1..=count).map(move |n| format!("{kind}-{n:02}")));
    for (n, line) in table.text.lines().enumerate() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, id, _, tests, _] = cells[..] else {
            continue;
        };
        if !id.contains('-') || id.contains("--") {
            continue;
        }
        if expected.next().as_deref() != Some(id) {
            findings.push(table.finding(n + 1, format!("{id} is not the next in order")));
        }
        let name = id.to_lowercase().replace('-', "_");
        if tests.starts_with(REASON) {
            continue;
        }
        if !tests.contains(&name) {
            findings.push(table.finding(n + 1, format!("no test is called after {id}")));
        }
        for test in tests.split('`').filter(|part| part.contains('_')) {
            if !is_known(test) {
                findings.push(table.finding(n + 1, format!("there is no test `{test}`")));
            }
        }
    }
    if let Some(id) = expected.next() {
        findings.push(table.finding(1, format!("{id} is left out")));
    }
    findings
}

/// A code in a comment has a row in a table: who reads it can find out what is meant.
pub(crate) fn every_code_has_its_row(files: &[File]) -> Vec<Finding> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![Finding::missing(TABLE)];
    };
    let rows = table.text.lines().filter_map(|line| {
        let cell = line.strip_prefix("| ")?.split(" |").next()?;
        is_code(cell).then_some(cell)
    });
    let known: HashSet<&str> = rows.collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        for (n, line) in file.text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else {
                continue;
            };
            let words = comment.split(|c: char| !c.is_alphanumeric() && c != '-');
            for code in words.filter(|word| is_code(word) && !known.contains(word)) {
                findings.push(file.finding(n + 1, format!("{code} has no row in {TABLE}")));
            }
        }
    }
    findings
}

/// `A01`, `E-01` or `O1`.
fn is_code(word: &str) -> bool {
    matches!(
        *word.as_bytes(),
        [b'A'..=b'K', b'0'..=b'9', b'0'..=b'9']
            | [b'A'..=b'Z', b'-', b'0'..=b'9', b'0'..=b'9']
            | [b'O', b'1'..=b'9']
    )
}

#[cfg(test)]
mod tests {
    use super::{KINDS, TABLE, every_code_has_its_row, every_fault_has_its_test};
    use crate::tree::{File, expect};

    fn findings(change: impl Fn(&str) -> String) -> Vec<String> {
        let mut rows = String::from("| fault | what | test |\n|---|---|---|\n");
        let mut tests = String::new();
        for (kind, count) in KINDS {
            for n in 1..=count {
                let name = format!("{}_{n:02}_it_holds", kind.to_lowercase());
                rows += &change(&format!("| {kind}-{n:02} | bad | `{name}` |\n"));
                tests += &format!("fn {name}() {{}}\n");
            }
        }
        let file = |path: &str, text| File {
            path: path.to_owned(),
            text,
        };
        let files = [file(TABLE, rows), file("tests/tests/faults.rs", tests)];
        let findings = every_fault_has_its_test(&files);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_fault_without_a_test_is_found() {
        assert!(findings(str::to_owned).is_empty());
        let reason = |row: &str| row.replace("`m_01_it_holds`", "no test: it cannot be had");
        assert!(findings(reason).is_empty());
        let renamed = |row: &str| row.replace("p_02_it_holds", "p_02_it_held");
        assert_eq!(findings(renamed).len(), 1);
        let another = |row: &str| row.replace("p_02_it_holds", "p_03_it_holds");
        assert_eq!(findings(another).len(), 1);
        let left_out = |row: &str| if row.contains("E-05") { "" } else { row }.to_owned();
        assert_eq!(findings(left_out).len(), 1);
    }

    #[test]
    fn a_code_without_a_row_is_found() {
        let rule = every_code_has_its_row;
        let table = (
            TABLE,
            "| E01 | bad |\n| E-02 | bad | `test` |\n| O1 | good |\n",
        );
        let good =
            "//! E01, (E-02): O1's.\n// U+0A01, RUSTSEC-2024-0399, O(1), A1, L2\nlet x = A01;\n";
        expect(rule, &[table, ("a.rs", good)], &[]);
        for bad in ["// E02", "x(); // see E-01", "/// O1, A10."] {
            expect(rule, &[table, ("a.rs", bad)], &["a.rs:1"]);
        }
    }
}
