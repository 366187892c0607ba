//! Two versions of one file that a stage made: where they differ, and which cause that has.
//!
//! [`compare`] is a function of bytes. It looks for a cause in this order, and stops at the first that it finds: files that
//! Debian's own tools are known to make differently each time (`known`), fields of formats that hold times or random
//! identifiers (`formats`), the differing words of a text (`words`), and what the program calls that wrote the file (`calls`).
//! A cause is a guess, told as what it is likely to be; that the versions differ is none.

mod binary;
mod calls;
mod cause;
mod formats;
mod known;
mod text;
mod words;

pub use calls::Call;
pub use cause::Cause;
pub use text::unified;

/// Which program wrote a file, as far as it is a script.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// How messages call it: `scripts/30-user`.
    pub name: &'a str,
    /// Its text. Of a compiled program nothing.
    pub text: &'a str,
}

/// What differs between two versions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The format in which it was compared: `text`, `gzip`.
    pub format: &'static str,
    /// Whether both versions have the same lines in another order.
    pub arrangement: Arrangement,
    /// A short account of the difference for people: lines of a unified diff, or what a format says of it.
    pub lines: Vec<String>,
    /// What it is likely to come from.
    pub cause: Option<Cause>,
    /// The line of the program that does so, if one does.
    pub call: Option<Call>,
}

/// How the parts of two versions are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// They have other parts.
    Other,
    /// They have the same parts in another order.
    Permuted,
}

/// What a format or a text says of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    format: &'static str,
    arrangement: Arrangement,
    lines: Vec<String>,
    cause: Option<Cause>,
}

impl Finding {
    fn new(format: &'static str, lines: Vec<String>, cause: Option<Cause>) -> Self {
        Self { format, arrangement: Arrangement::Other, lines, cause }
    }
}

/// Compares two versions of the file at `path`, an absolute path in the image. `now` is when the later one was made, in
/// seconds since 1970.
pub fn compare(path: &str, old: &[u8], new: &[u8], program: Option<Program<'_>>, now: i64) -> Comparison {
    let Finding { format, arrangement, mut lines, cause } = find(old, new, Depth::default(), now);
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        lines.push("...".to_owned());
    }
    let (cause, call) = settle(path, cause, program);
    Comparison { format, arrangement, lines, cause, call }
}

/// What is known of the path counts most, then what the bytes look like. Bytes that look like several things are what the
/// program asks for, if it asks for one of them.
fn settle(path: &str, seen: Option<Cause>, program: Option<Program<'_>>) -> (Option<Cause>, Option<Call>) {
    let known = known::cause(path);
    let call = |wanted: &[Cause]| program.and_then(|program| calls::find(&program, wanted, path));
    let found = match known.or(seen) {
        Some(cause) => call(&[cause]).or_else(|| call(cause.lookalikes())),
        None => call(&Cause::ALL),
    };
    match (known, found) {
        (Some(known), call) => (Some(known), call.filter(|call| call.cause == known)),
        (None, Some(call)) => (Some(call.cause), Some(call)),
        (None, None) => (seen, None),
    }
}

/// The cause of a difference that is not one of content: an owner, a mode, a missing file.
pub fn compare_names(path: &str, program: Option<Program<'_>>) -> (Option<Cause>, Option<Call>) {
    settle(path, words::cause_of_name(path), program)
}

/// Lines of an account.
const MOST_LINES: usize = 32;

/// How many formats are around what is compared. Files are made by anybody: an archive in an archive, and so on, is compared as
/// bytes at last.
#[derive(Debug, Clone, Copy, Default)]
struct Depth(u8);

impl Depth {
    const MOST: u8 = 4;

    /// One more; `None` if that is too many.
    fn deeper(self) -> Option<Self> {
        (self.0 < Self::MOST).then_some(Self(self.0 + 1))
    }
}

/// By format, or else byte by byte.
fn find(old: &[u8], new: &[u8], depth: Depth, now: i64) -> Finding {
    depth
        .deeper()
        .and_then(|depth| formats::find(old, new, depth, now))
        .or_else(|| text::find(old, new, now))
        .unwrap_or_else(|| binary::find(old, new, now))
}

#[cfg(test)]
mod tests;
