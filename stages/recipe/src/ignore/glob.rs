//! Patterns for one name: `*`, `?`, `[a-z]`, `[!a-z]`, and a backslash before what is meant as it is.

/// Whether the whole of `name` is what `pattern` says. No wildcard stands for a `/`.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where the last star is, and how much of the name it had taken when it was last tried.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, seen));
            at += 1;
        } else if let Some(length) = one(&pattern[at..], name[seen]) {
            at += length;
            seen += 1;
        } else if let Some((place, taken)) = star {
            star = Some((place, taken + 1));
            at = place + 1;
            seen = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of the first element of a pattern, if it stands for this byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => (byte != b'/').then_some(1),
        [b'[', rest @ ..] => class(rest, byte).map(|length| length + 1),
        [b'\\', quoted, ..] => (*quoted == byte).then_some(2),
        [plain, ..] => (*plain == byte && *plain != b'\\').then_some(1),
        [] => None,
    }
}

/// The length of a class after its `[`, if the byte is in it. One that does not end stands for nothing.
fn class(rest: &[u8], byte: u8) -> Option<usize> {
    let is_negated = matches!(rest.first(), Some(b'!' | b'^'));
    let mut at = usize::from(is_negated);
    let start = at;
    let mut is_in = false;
    while rest.get(at)? != &b']' || at == start {
        let low = member(rest, &mut at)?;
        let mut high = low;
        if rest.get(at) == Some(&b'-') && rest.get(at + 1).is_some_and(|next| *next != b']') {
            at += 1;
            high = member(rest, &mut at)?;
        }
        is_in |= (low..=high).contains(&byte);
    }
    (is_in != is_negated && byte != b'/').then_some(at + 1)
}

fn member(rest: &[u8], at: &mut usize) -> Option<u8> {
    if rest.get(*at)? == &b'\\' {
        *at += 1;
    }
    let member = *rest.get(*at)?;
    *at += 1;
    Some(member)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for (names, expected) in [(yes, true), (no, false)] {
            for name in names {
                assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} and {name}");
            }
        }
    }

    #[test]
    fn wildcards() {
        check("*~", &["a~", "~"], &["a", "a~b"]);
        check(".*.sw?", &[".a.swp", ".a.b.swo", "..swp"], &["a.swp", ".swp", ".a.swpx"]);
        check("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "acb"]);
        check("", &[""], &["a"]);
        check("???", &["abc"], &["ab", "abcd"]);
    }

    #[test]
    fn classes() {
        check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
        check("[!a-c]x", &["dx"], &["ax"]);
        check("[]-]", &["]", "-"], &["a"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[\\]]", &["]"], &["\\"]);
        check("[a", &[], &["a", "[a"]);
    }

    #[test]
    fn quoted() {
        check("\\*a", &["*a"], &["ba"]);
        check("a\\", &[], &["a", "a\\"]);
    }
}
