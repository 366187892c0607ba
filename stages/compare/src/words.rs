//! The words in which two lines differ, and what kind of thing they are.

use std::sync::LazyLock;

use regex::Regex;

use crate::Cause;

/// A time that a program wrote is not further from now than this, in seconds, either way: a varied clock is 400 days ahead.
const FAR: i64 = 500 * 86_400;

macro_rules! pattern {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("a pattern of this file is well-formed"));
    };
}

pattern!(TIME, r"\b\d{1,2}:\d{2}(:\d{2})?\b");
pattern!(
    DATE,
    r"\b\d{4}-\d{2}-\d{2}|\b20\d{6}(T?\d{4,6}Z?)?\b|\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
);
pattern!(UUID, r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b");
pattern!(
    TEMPORARY,
    r"tmp[._-]?\w{6,12}\b|/tmp/\S+|\.\w+\.[A-Za-z0-9]{6}\b|\b\w+[.-][A-Za-z0-9]{6,10}\.tmp\b"
);
pattern!(ADDRESS, r"\b0x[0-9a-f]{6,16}\b");
pattern!(SALT, r"\$(y|1|5|6|2[aby]|apr1|gy)\$");
pattern!(HASH, r"\$(y|1|5|6|2[aby]|apr1|gy)\$[^:\s]+");
pattern!(KEY, r"(?m)^-----BEGIN|^ssh-(rsa|ed25519) |^ecdsa-sha2-");
pattern!(HEX, r"^[0-9a-fA-F:]{8,}$");
pattern!(BASE64, r"^[A-Za-z0-9+/_-]{16,}={0,2}$");
pattern!(FRACTION, r"^\d+\.\d+(e-?\d+)?$");
pattern!(NUMBER, r"\d{9,19}");
pattern!(DURATION, r"(?i)elapsed|took|duration|seconds|real\b|user\b|sys\b|\d m?s\b|\d+m\d");

/// The cause of lines that stand in each other's place.
pub(crate) fn cause(pairs: &[(String, String)], now: i64) -> Option<Cause> {
    pairs.iter().find_map(|(old, new)| of_lines(old, new, now))
}

/// A line without the secrets that may be in it: the hashes of passwords.
pub(crate) fn without_secrets(line: &str) -> String {
    HASH.replace_all(line, "$$${1}$$...").into_owned()
}

/// Whether a text is a key or a certificate (RFC 7468), or a public key of OpenSSH.
pub(crate) fn is_key(text: &str) -> bool {
    KEY.is_match(text)
}

/// The cause of a file whose name only one run has.
pub(crate) fn cause_of_name(path: &str) -> Option<Cause> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if UUID.is_match(name) {
        return Some(Cause::Uuid);
    }
    (TEMPORARY.is_match(name) && !name.ends_with(".tmp.d")).then_some(Cause::TemporaryName)
}

fn of_lines(old: &str, new: &str, now: i64) -> Option<Cause> {
    let (a, b) = (split(old), split(new));
    if is_permuted(&a, &b) {
        return Some(Cause::HashOrder);
    }
    if a.len() != b.len() {
        return both(&TIME, old, new).then_some(Cause::Clock);
    }
    let differing: Vec<_> = a.iter().zip(&b).filter(|(a, b)| a != b).map(|(a, b)| (*a, *b)).collect();
    let of_word = |(a, b): &(&str, &str)| of_words(a, b, old, now);
    let number = || differing.iter().find_map(number);
    let elapsed = || (number().is_some() && DURATION.is_match(old)).then_some(Cause::Elapsed);
    differing.iter().find_map(of_word).or_else(elapsed).or_else(number)
}

fn split(line: &str) -> Vec<&str> {
    let is_border = |c: char| c.is_whitespace() || "\"'`(),;[]{}<>=|".contains(c);
    line.split(is_border).filter(|word| !word.is_empty()).collect()
}

fn is_permuted(old: &[&str], new: &[&str]) -> bool {
    let sorted = |words: &[&str]| {
        let mut words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        words.sort_unstable();
        words
    };
    old != new && old.len() > 1 && sorted(old) == sorted(new)
}

fn both(pattern: &Regex, old: &str, new: &str) -> bool {
    pattern.is_match(old) && pattern.is_match(new)
}

fn of_words(old: &str, new: &str, line: &str, now: i64) -> Option<Cause> {
    if has_time(old, now) && has_time(new, now) || both(&TIME, old, new) || both(&DATE, old, new) {
        return Some(Cause::Clock);
    }
    let shapes = [
        (&*UUID, Cause::Uuid),
        (&*SALT, Cause::Salt),
        (&*ADDRESS, Cause::Address),
        (&*TEMPORARY, Cause::TemporaryName),
    ];
    if both(&SALT, old, new) && salt(old) == salt(new) {
        // The password itself is another one.
        return Some(Cause::RandomBytes);
    }
    if let Some((_, cause)) = shapes.iter().find(|(pattern, _)| both(pattern, old, new)) {
        return Some(*cause);
    }
    if both(&FRACTION, old, new) || both(&DURATION, old, new) {
        let is_duration = DURATION.is_match(line) || old.len() < 8;
        return Some(if is_duration { Cause::Elapsed } else { Cause::RandomNumber });
    }
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(old) && is_number(new) {
        return None;
    }
    let is_random = old.len() == new.len() && (both(&HEX, old, new) || both(&BASE64, old, new));
    is_random.then_some(Cause::RandomBytes)
}

/// What stands before the hash in a password's field (crypt(5)).
fn salt(word: &str) -> Option<&str> {
    word.rsplit_once('$').map(|(salt, _)| salt)
}

/// Whether a word has a number in it that is about now, in seconds, or in thousandths, millionths or billionths of them.
fn has_time(word: &str, now: i64) -> bool {
    let is_time =
        |number: i64| [1, 1_000, 1_000_000, 1_000_000_000].iter().any(|unit| is_about(number / unit, now));
    NUMBER.find_iter(word).any(|number| number.as_str().parse().is_ok_and(is_time))
}

/// Whether a number of seconds since 1970 is about now.
pub(crate) fn is_about(number: i64, now: i64) -> bool {
    number.abs_diff(now) < FAR as u64
}

/// In a stage's own namespace processes have small numbers. Numbers of inodes are large and close together; those that are
/// large and far apart were drawn.
fn number((old, new): &(&str, &str)) -> Option<Cause> {
    const MOST_PROCESSES: u64 = 2_000;
    let (old, new) = (old.parse::<u64>().ok()?, new.parse::<u64>().ok()?);
    if old.max(new) < MOST_PROCESSES && old.abs_diff(new) < 100 {
        return None;
    }
    if old.min(new) > 10 * old.abs_diff(new) && old.min(new) > 100_000 {
        return Some(Cause::Inode);
    }
    Some(Cause::RandomNumber)
}
