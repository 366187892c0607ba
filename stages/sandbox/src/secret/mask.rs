//! Keeps secrets out of what is said: each is replaced by its name.
//!
//! Output comes in pieces that are cut anywhere. What may be the beginning of a secret is held back until the next piece tells,
//! and not a byte more: a person who waits for a prompt sees it. Secrets that overlap are covered together.

use std::io::{self, Read};

use aho_corasick::AhoCorasick;
use zeroize::Zeroizing;

use super::dump::Dumps;
use super::escape::{Family, Piece, fold_plus, unescape};
use super::forms::{Needle, Needles};
use super::view::{Place, Rest, View};
use super::{ShownSecret, given};

/// More than this is not held back besides what the longest form of a secret takes, even if it is white space within one.
const MOST_WHITE_SPACE: usize = 1 << 20;

/// Replaces secrets by their names, whatever of their [forms](super::Form) they have.
pub struct Mask {
    labels: Vec<String>,
    exact: Patterns,
    squeezed: Patterns,
    escaped: Patterns,
    dumped: Patterns,
}

struct Patterns {
    automaton: AhoCorasick,
    /// The secret of each pattern.
    secrets: Vec<usize>,
    /// The patterns in the order of their bytes.
    sorted: Vec<Zeroizing<Vec<u8>>>,
    longest: usize,
}

/// A part of a text that has a secret.
#[derive(Clone, Copy)]
struct Covered {
    start: usize,
    end: usize,
    secret: usize,
}

impl Patterns {
    fn of(needles: Vec<Needle>) -> Self {
        let patterns = needles.iter().map(|needle| needle.bytes.as_slice());
        let automaton = AhoCorasick::new(patterns).expect("secrets are short");
        let secrets = needles.iter().map(|needle| needle.secret).collect();
        let mut sorted: Vec<_> = needles.into_iter().map(|needle| needle.bytes).collect();
        sorted.sort_unstable_by(|a, b| a.as_slice().cmp(b.as_slice()));
        let longest = sorted.iter().map(|bytes| bytes.len()).max().unwrap_or(1);
        Self { automaton, secrets, sorted, longest }
    }

    fn covered(&self, bytes: &[u8]) -> impl Iterator<Item = Covered> {
        self.automaton.find_overlapping_iter(bytes).map(|found| Covered {
            start: found.start(),
            end: found.end(),
            secret: self.secrets[found.pattern().as_usize()],
        })
    }

    fn covered_of<'a>(&'a self, view: &'a View) -> impl Iterator<Item = Covered> + 'a {
        self.covered(&view.bytes).map(|Covered { start, end, secret }| Covered {
            start: view.place(start).start,
            end: view.place(end - 1).end,
            secret,
        })
    }

    fn begun_of(&self, view: &View) -> Option<usize> {
        self.begun(&view.bytes).map(|at| view.place(at).start)
    }

    /// Where the end of some bytes begins that may be the beginning of a pattern.
    fn begun(&self, bytes: &[u8]) -> Option<usize> {
        (bytes.len().saturating_sub(self.longest - 1)..bytes.len()).find(|at| self.begins(&bytes[*at..]))
    }

    /// Whether a pattern begins so, and goes on.
    fn begins(&self, bytes: &[u8]) -> bool {
        let first = self.sorted.partition_point(|pattern| pattern.as_slice() <= bytes);
        self.sorted.get(first).is_some_and(|pattern| pattern.starts_with(bytes))
    }
}

impl Mask {
    /// For those of the secrets that are given; `None` if none is.
    pub fn of(secrets: &[ShownSecret]) -> Option<Self> {
        let labels: Vec<_> = given(secrets).map(|(name, _)| format!("[secret {name}]")).collect();
        let Needles { exact, squeezed, escaped, dumped } =
            Needles::of(given(secrets).map(|(_, value)| value));
        (!labels.is_empty()).then(|| Self {
            labels,
            exact: Patterns::of(exact),
            squeezed: Patterns::of(squeezed),
            escaped: Patterns::of(escaped),
            dumped: Patterns::of(dumped),
        })
    }

    /// A text without secrets.
    pub fn text(&self, text: &str) -> String {
        let (mut stream, mut masked) = (Stream::default(), Vec::new());
        stream.push(self, text.as_bytes(), &mut masked);
        stream.finish(self, &mut masked);
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// The parts of a text that have secrets, in order and apart from each other.
    fn covered(&self, text: &[u8], views: &Views) -> Vec<Covered> {
        let dumps = views.dumps.all.iter().flatten().flat_map(|dump| self.dumped.covered_of(dump));
        let mut found: Vec<_> = self.exact.covered(text).chain(dumps).collect();
        found.extend(self.squeezed.covered_of(&views.squeezed));
        found.extend(views.escaped.iter().flat_map(|view| self.escaped.covered_of(view)));
        found.sort_unstable_by_key(|covered| covered.start);
        let mut merged = Vec::<Covered>::new();
        for covered in found {
            match merged.last_mut().filter(|last| covered.start < last.end) {
                Some(last) => last.end = last.end.max(covered.end),
                None => merged.push(covered),
            }
        }
        merged
    }

    /// Where what has to be held back begins.
    fn begun(&self, text: &[u8], views: &Views) -> usize {
        let dumps =
            views.dumps.all.last().into_iter().flatten().filter_map(|dump| self.dumped.begun_of(dump));
        let begun = dumps
            .chain(self.exact.begun(text))
            .chain(self.squeezed.begun_of(&views.squeezed))
            .chain(views.escaped.iter().filter_map(|view| self.escaped.begun_of(view)))
            .chain(views.escape.into_iter().chain(views.dumps.unfinished))
            .fold(text.len(), usize::min);
        let longest = [&self.exact, &self.squeezed, &self.escaped, &self.dumped].map(|all| all.longest);
        let most = 2 * longest.into_iter().fold(0, usize::max) + MOST_WHITE_SPACE;
        if text.len() - begun > most { text.len() } else { begun }
    }
}

/// What a text is searched as, besides as it is.
struct Views {
    squeezed: View,
    /// Of each family.
    escaped: [View; 3],
    /// Where an escape begins that is not finished.
    escape: Option<usize>,
    dumps: Dumps,
}

impl Views {
    fn of(text: &[u8], rest: Rest) -> Self {
        let unescaped = Family::ALL.map(|family| without_escapes(text, family, rest));
        let escape = unescaped.iter().map(|(_, end)| *end).min().filter(|end| *end < text.len());
        let escaped = unescaped.map(|(view, _)| view);
        Self { squeezed: View::squeezed(text), escaped, escape, dumps: Dumps::of(text, rest) }
    }
}

/// What a text stands for, and where an escape begins at its end that is not finished.
fn without_escapes(text: &[u8], family: Family, rest: Rest) -> (View, usize) {
    let mut view = View::default();
    let end = unescape(text, family, |piece, start| match piece {
        Piece::Plain(bytes) => view.push_each(bytes, start),
        Piece::Escaped(bytes, length) => view.push_all(bytes, Place { start, end: start + length }),
    });
    if rest == Rest::Ended {
        view.push_each(&text[end..], end);
    }
    fold_plus(&mut view.bytes);
    (view, end)
}

/// What is held back of some output.
#[derive(Default)]
struct Stream {
    pending: Vec<u8>,
    /// So much of it is part of a secret whose name has been said.
    said: usize,
}

impl Stream {
    /// Takes the next piece, and gives what can be said by now.
    fn push(&mut self, mask: &Mask, piece: &[u8], out: &mut Vec<u8>) {
        self.pending.extend_from_slice(piece);
        let views = Views::of(&self.pending, Rest::Open);
        self.say(mask, &views, mask.begun(&self.pending, &views), out);
    }

    /// Gives the rest.
    fn finish(&mut self, mask: &Mask, out: &mut Vec<u8>) {
        let views = Views::of(&self.pending, Rest::Ended);
        self.say(mask, &views, self.pending.len(), out);
    }

    /// Says what stands in front of `until`. Of a secret that begins there its name is said, and the rest of it is not.
    fn say(&mut self, mask: &Mask, views: &Views, until: usize, out: &mut Vec<u8>) {
        let mut at = self.said;
        for Covered { start, end, secret } in mask.covered(&self.pending, views) {
            if start >= until {
                break;
            }
            if start >= at {
                out.extend_from_slice(&self.pending[at..start]);
                out.extend_from_slice(mask.labels[secret].as_bytes());
            }
            at = at.max(end);
        }
        if at < until {
            out.extend_from_slice(&self.pending[at..until]);
        }
        self.said = at.saturating_sub(until);
        self.pending.drain(..until);
    }
}

/// Output without secrets.
pub(crate) struct Masked<R> {
    inner: R,
    mask: Mask,
    stream: Stream,
    /// What can be said, from `at` on.
    ready: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R> Masked<R> {
    pub(crate) fn new(inner: R, mask: Mask) -> Self {
        Self { inner, mask, stream: Stream::default(), ready: Vec::new(), at: 0, ended: false }
    }
}

impl<R: Read> Masked<R> {
    fn fill(&mut self) -> io::Result<()> {
        let mut piece = Zeroizing::new(vec![0; 64 << 10]);
        self.ready.clear();
        self.at = 0;
        while self.ready.is_empty() && !self.ended {
            let length = self.inner.read(&mut piece)?;
            match length {
                0 => self.stream.finish(&self.mask, &mut self.ready),
                _ => self.stream.push(&self.mask, &piece[..length], &mut self.ready),
            }
            self.ended = length == 0;
        }
        Ok(())
    }
}

impl<R: Read> Read for Masked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.fill()?;
        }
        let length = buffer.len().min(self.ready.len() - self.at);
        buffer[..length].copy_from_slice(&self.ready[self.at..][..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shown;
    use super::*;

    fn mask(secrets: &[(&str, &str)]) -> Mask {
        let secrets: Vec<_> = secrets.iter().map(|(name, value)| shown(name, value.as_bytes())).collect();
        Mask::of(&secrets).unwrap()
    }

    /// What comes out when pieces of these lengths go in, over and over again.
    fn in_pieces(mask: &Mask, text: &[u8], lengths: &[usize]) -> String {
        let (mut stream, mut out, mut rest) = (Stream::default(), Vec::new(), text);
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*length));
            stream.push(mask, piece, &mut out);
            rest = after;
        }
        stream.finish(mask, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check(secrets: &[(&str, &str)], text: &str, expected: &str) {
        let mask = mask(secrets);
        assert_eq!(mask.text(text), expected);
        for length in 1..=text.len() {
            assert_eq!(in_pieces(&mask, text.as_bytes(), &[length]), expected, "pieces of {length}");
        }
    }

    #[test]
    fn each_form_is_replaced_by_the_name() {
        let secrets = [("TOKEN", "s3cr3t-value\n"), ("KEY", "first line\nsecond line\n")];
        check(&secrets, "+ curl -H s3cr3t-value x\n", "+ curl -H [secret TOKEN] x\n");
        check(&secrets, "s3cr3t-values3cr3t-value", "[secret TOKEN][secret TOKEN]");
        check(&secrets, "s3cr3t-valu s3cr3t-value", "s3cr3t-valu [secret TOKEN]");
        check(&secrets, "czNjcjN0LXZhbHVl", "[secret TOKEN]");
        check(
            &secrets,
            "73336372 33742D76\n616c7565 733363723374 2d76616c7565.",
            "73336372 33742D76\n616c7565 [secret TOKEN].",
        );
        check(&secrets, "a second line, a first line", "a [secret KEY], a [secret KEY]");
        check(&secrets, "<first line\nsecond line>", "<[secret KEY]>");
        check(&secrets, "", "");
    }

    #[test]
    fn secrets_that_overlap_are_covered_together() {
        let secrets = [("A", "abcdefgh"), ("B", "efghijklm"), ("C", "abcdefghXYZ")];
        check(&secrets, "<abcdefghijklm>", "<[secret A]>");
        check(&secrets, "<abcdefghXYZ>", "<[secret A]>");
        check(&secrets, "<abcdefghXY>", "<[secret A]XY>");
        check(&secrets, "<abcdefgh", "<[secret A]");
    }

    #[test]
    fn only_what_may_begin_a_secret_is_held_back() {
        let mask = mask(&[("TOKEN", "password1")]);
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        stream.push(&mask, b"Enter it: ", &mut out);
        assert_eq!(out, b"Enter it: ");
        stream.push(&mask, b"pass", &mut out);
        assert_eq!(out, b"Enter it: ");
        stream.push(&mask, b"age", &mut out);
        assert_eq!(out, b"Enter it: passage");
    }

    #[test]
    fn memory_is_bounded() {
        let mask = mask(&[("TOKEN", "abababababab")]);
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        for piece in [&b"ab"[..], b"61\n", b" "] {
            for _ in 0..100 {
                stream.push(&mask, &piece.repeat(100_000 / piece.len()), &mut out);
                assert!(stream.pending.len() < 2 * MOST_WHITE_SPACE, "{}", stream.pending.len());
                out.clear();
            }
        }
    }

    /// Whatever the pieces are, no form of a secret comes through, and nothing else is lost.
    #[test]
    fn generated_outputs_have_no_secret() {
        let mut random = fastrand::Rng::with_seed(2024);
        for round in 0..300 {
            // Few letters, so that secrets overlap with themselves and with each other.
            let letters = [&b"ab"[..], b"abc\n", b"abcdefghijklmnop0123+/="][round % 3];
            let mut some = |most: usize| -> Vec<u8> {
                (0..random.usize(8..most)).map(|_| letters[random.usize(..letters.len())]).collect()
            };
            let values: Vec<_> =
                [some(12), some(20)].into_iter().filter(|it| it.trim_ascii().len() >= 8).collect();
            let secrets: Vec<_> = values.iter().map(|value| shown("S", value)).collect();
            let Some(mask) = Mask::of(&secrets) else { continue };
            let mut text = some(300);
            for value in &values {
                text.extend_from_slice(value);
                text.extend(some(10));
            }
            let whole = in_pieces(&mask, &text, &[text.len()]);
            let cuts: Vec<_> = (0..20).map(|_| random.usize(1..30)).collect();
            let cut = in_pieces(&mask, &text, &cuts);
            assert_eq!(cut, whole);
            for secret in values.iter().map(|value| value.trim_ascii()) {
                assert!(!whole.as_bytes().windows(secret.len()).any(|window| window == secret), "{whole}");
            }
            let kept = mask
                .covered(&text, &Views::of(&text, Rest::Ended))
                .iter()
                .fold(text.len(), |kept, it| kept - (it.end - it.start));
            assert_eq!(whole.replace("[secret S]", "").len(), kept);
        }
    }
}
