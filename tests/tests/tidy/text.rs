//! Rust source without its comments and literals, so that a rule about code reads only code.

/// Replaces comments and the insides of literals by spaces; every line keeps its number.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    // The character before decides whether a quote after `r` or `b` starts a literal at all: the
    // `r` of `for` does not.
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let (blank, shown) = token(rest, before);
        if blank > 0 {
            for c in rest[..blank].chars() {
                code.push(if c == '\n' { '\n' } else { ' ' });
            }
            rest = &rest[blank..];
            before = ' ';
        } else {
            code.push_str(&rest[..shown]);
            before = rest[..shown].chars().next_back().unwrap_or(next);
            rest = &rest[shown..];
        }
    }
    code
}

/// Lengths of what `rest` starts with: a part to blank out, or else a part to keep.
fn token(rest: &str, before: char) -> (usize, usize) {
    let keep = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), 0);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), 0);
    }
    if rest.starts_with('"') {
        return (quoted(rest, 1, '"'), 0);
    }
    if rest.starts_with('\'') {
        return char_literal(rest).map_or((0, keep), |len| (len, 0));
    }
    if !is_word(before) {
        for prefix in ["br", "cr", "r"] {
            if let Some(len) = raw_string(rest, prefix) {
                return (len, 0);
            }
        }
    }
    (0, keep)
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of a literal whose contents start at `start` and end at an unescaped `end`.
fn quoted(rest: &str, start: usize, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest[start..].char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == end {
            return start + at + c.len_utf8();
        }
    }
    rest.len()
}

/// `'a'` and `'\n'` are literals; `'a` alone is a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(quoted(rest, 1, '\''));
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

fn raw_string(rest: &str, prefix: &str) -> Option<usize> {
    let after = rest.strip_prefix(prefix)?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len();
    Some(
        body.find(&close)
            .map_or(rest.len(), |at| start + at + close.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::code_only;

    fn check(source: &str, expected: &str) {
        let code = code_only(source);
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>().join(" "),
            expected
        );
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn comments_go() {
        check("a // b\nc", "a c");
        check("/// b\n//! c\nd", "d");
        check("a /* b /* c */ d */ e", "a e");
        check("a /* b\n\n c", "a");
    }

    #[test]
    fn literals_go() {
        check(r#"a("b // c", d)"#, "a( , d)");
        check(r#"a("\"", b)"#, "a( , b)");
        check(r##"a(r#"b" // "#, c)"##, "a( , c)");
        check(r##"a(br"\", c)"##, "a( , c)");
        check(r#"a(b"x", '"', '\'', b'"', c)"#, "a(b , , , b , c)");
    }

    #[test]
    fn lifetimes_and_names_stay() {
        check(
            "fn f<'a>(x: &'a str) -> &'a str",
            "fn f<'a>(x: &'a str) -> &'a str",
        );
        check(r#"for"x" in y"#, "for in y");
        check("r#type + br", "r#type + br");
    }
}
