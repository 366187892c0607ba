//! Finds secrets in what a stage has made.

use std::ops::ControlFlow;

use aho_corasick::{AhoCorasick, MatchKind};

use super::dump::{self, LONGEST_LINE};
use super::escape::{Family, Piece, fold_plus, unescape};
use super::forms::{Form, Needle, Needles};
use super::{ShownSecret, given};

/// Finds secrets, whatever of their [forms](Form) they have.
pub struct Scanner {
    names: Vec<String>,
    exact: Patterns,
    squeezed: Patterns,
    escaped: Patterns,
    dumped: Patterns,
}

/// A secret that is where none should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// In which way it is there.
    pub form: Form,
}

struct Patterns {
    automaton: AhoCorasick,
    /// What each pattern is.
    kinds: Vec<(usize, Form)>,
    longest: usize,
}

impl Patterns {
    fn of(needles: &[Needle]) -> Self {
        let patterns = needles.iter().map(|needle| needle.bytes.as_slice());
        // This kind is the one that wide instructions help with.
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(patterns);
        Self {
            automaton: automaton.expect("secrets are short"),
            kinds: needles.iter().map(|needle| (needle.secret, needle.form)).collect(),
            longest: needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(1),
        }
    }

    fn find(&self, bytes: &[u8]) -> Option<(usize, Form)> {
        self.automaton.find(bytes).map(|found| self.kinds[found.pattern().as_usize()])
    }
}

impl Scanner {
    /// For those of the secrets that are given; `None` if none is.
    pub fn of(secrets: &[ShownSecret]) -> Option<Self> {
        let names: Vec<_> = given(secrets).map(|(name, _)| name.to_owned()).collect();
        let Needles { exact, squeezed, escaped, dumped } =
            Needles::of(given(secrets).map(|(_, value)| value));
        (!names.is_empty()).then(|| Self {
            names,
            exact: Patterns::of(&exact),
            squeezed: Patterns::of(&squeezed),
            escaped: Patterns::of(&escaped),
            dumped: Patterns::of(&dumped),
        })
    }

    /// A secret in bytes that are all there.
    pub fn find(&self, bytes: &[u8]) -> Option<Found> {
        self.stream().push(bytes)
    }

    /// For bytes that come in pieces.
    pub fn stream(&self) -> ScanStream<'_> {
        let (exact, squeezed, dumped) = Default::default();
        let escaped = Family::ALL.map(|family| EscapedEnd { family, bytes: Vec::new(), begun: Vec::new() });
        ScanStream { scanner: self, exact, squeezed, escaped, dumped }
    }
}

/// Finds secrets in bytes that come in pieces, across their borders as well.
pub struct ScanStream<'s> {
    scanner: &'s Scanner,
    /// The end of what has come, in which a secret may have begun.
    exact: Vec<u8>,
    /// The same without white space.
    squeezed: Vec<u8>,
    escaped: [EscapedEnd; 3],
    dumped: DumpedEnd,
}

impl ScanStream<'_> {
    /// The next piece: a secret that ends in it, if there is one.
    pub fn push(&mut self, piece: &[u8]) -> Option<Found> {
        let Scanner { names, exact, squeezed, escaped, dumped } = self.scanner;
        let found = find_squeezed(squeezed, &mut self.squeezed, piece)
            .or_else(|| find_exact(exact, &mut self.exact, piece))
            .or_else(|| self.escaped.iter_mut().find_map(|end| end.find(escaped, piece)))
            .or_else(|| self.dumped.find(dumped, piece).break_value());
        found.map(|(secret, form)| Found { name: names[secret].clone(), form })
    }

    /// So many zeros, as in the hole of a file.
    pub fn push_zeros(&mut self, count: u64) -> Option<Found> {
        let Scanner { exact, squeezed, escaped, dumped, .. } = self.scanner;
        let longest = [exact, squeezed, escaped, dumped].map(|patterns| patterns.longest);
        let enough = longest.into_iter().fold(LONGEST_LINE + 1, usize::max) as u64;
        self.push(&vec![0; count.min(enough) as usize])
    }
}

fn find_exact(patterns: &Patterns, end: &mut Vec<u8>, piece: &[u8]) -> Option<(usize, Form)> {
    if patterns.kinds.is_empty() {
        return None;
    }
    end.extend_from_slice(piece);
    let found = patterns.find(end);
    keep_end(end, patterns.longest - 1);
    found
}

fn find_squeezed(patterns: &Patterns, end: &mut Vec<u8>, piece: &[u8]) -> Option<(usize, Form)> {
    let mut length = end.len();
    end.resize(length + piece.len(), 0);
    for byte in piece {
        end[length] = *byte;
        length += usize::from(!byte.is_ascii_whitespace());
    }
    end.truncate(length);
    let found = patterns.find(end);
    keep_end(end, patterns.longest - 1);
    found
}

/// The end of a text without the escapes of a family.
struct EscapedEnd {
    family: Family,
    bytes: Vec<u8>,
    /// An escape that is not finished.
    begun: Vec<u8>,
}

impl EscapedEnd {
    fn find(&mut self, patterns: &Patterns, piece: &[u8]) -> Option<(usize, Form)> {
        let joined;
        let text = if self.begun.is_empty() {
            piece
        } else {
            joined = [&self.begun, piece].concat();
            &joined
        };
        let old = self.bytes.len();
        let end = unescape(text, self.family, |piece, _| match piece {
            Piece::Plain(piece) | Piece::Escaped(piece, _) => self.bytes.extend_from_slice(piece),
        });
        let length = self.bytes.len();
        // As long as nothing follows, it stands for itself.
        self.bytes.extend_from_slice(&text[end..]);
        fold_plus(&mut self.bytes[old..]);
        let found = patterns.find(&self.bytes);
        self.bytes.truncate(length);
        self.begun = text[end..].to_vec();
        keep_end(&mut self.bytes, patterns.longest - 1);
        found
    }
}

/// The end of a text of lines, and of the dump that it may be.
#[derive(Default)]
struct DumpedEnd {
    /// What has come of the last line, and not much more than its longest.
    line: Vec<u8>,
    readings: dump::Bytes,
}

impl DumpedEnd {
    fn find(&mut self, patterns: &Patterns, piece: &[u8]) -> ControlFlow<(usize, Form)> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let content = part.strip_suffix(b"\n").unwrap_or(part);
            let is_finished = content.len() < part.len();
            if self.line.is_empty() && is_finished {
                self.push(patterns, content)?;
                continue;
            }
            let room = (LONGEST_LINE + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&content[..content.len().min(room)]);
            if is_finished {
                let line = std::mem::take(&mut self.line);
                self.push(patterns, &line)?;
            }
        }
        // As long as nothing follows, the last line is as it is.
        let lengths = self.readings.each_ref().map(Vec::len);
        self.extend(dump::read(&self.line).unwrap_or_default());
        self.search(patterns)?;
        for (bytes, length) in self.readings.iter_mut().zip(lengths) {
            bytes.truncate(length);
            keep_end(bytes, patterns.longest - 1);
        }
        ControlFlow::Continue(())
    }

    /// A line that is of no dump ends the one in front of it.
    fn push(&mut self, patterns: &Patterns, line: &[u8]) -> ControlFlow<(usize, Form)> {
        match dump::read(line) {
            Some(readings) => self.extend(readings),
            None => {
                self.search(patterns)?;
                self.readings.iter_mut().for_each(Vec::clear);
            }
        }
        ControlFlow::Continue(())
    }

    fn extend(&mut self, readings: dump::Bytes) {
        for (bytes, more) in self.readings.iter_mut().zip(readings) {
            bytes.extend(more);
        }
    }

    fn search(&self, patterns: &Patterns) -> ControlFlow<(usize, Form)> {
        let found =
            self.readings.iter().filter(|bytes| !bytes.is_empty()).find_map(|bytes| patterns.find(bytes));
        found.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }
}

fn keep_end(bytes: &mut Vec<u8>, most: usize) {
    let beyond = bytes.len().saturating_sub(most);
    bytes.drain(..beyond);
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, Part, shown};
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_pieces_are_cut() {
        let scanner = Scanner::of(&[shown("OTHER", b"something else"), shown("TOKEN", b"s3cr3t/value\n")]);
        let scanner = scanner.unwrap();
        let texts: [(&[u8], Encoding); 3] = [
            (b"password = s3cr3t/value;", Encoding::Plain),
            (b"..czNjcjN0\nL3ZhbHVl..", Encoding::Base64),
            (b"73 33 63 72 33 74 2f 76\n61 6c 75 65", Encoding::Hexadecimal),
        ];
        for (text, encoding) in texts {
            for cut in 0..text.len() {
                let mut stream = scanner.stream();
                let found = stream.push(&text[..cut]).or_else(|| stream.push(&text[cut..]));
                let form = Form { part: Part::Whole, encoding };
                assert_eq!(found, Some(Found { name: "TOKEN".to_owned(), form }), "{cut}");
            }
            let mut stream = scanner.stream();
            assert!(text.iter().any(|byte| stream.push(&[*byte]).is_some()));
        }
        assert_eq!(scanner.find(b"s3cr3t/valu"), None);
        let mut stream = scanner.stream();
        assert_eq!(
            (stream.push(b"s3cr3t"), stream.push_zeros(1 << 40), stream.push(b"/value")),
            (None, None, None)
        );
    }

    #[test]
    fn without_a_value_there_is_nothing_to_find() {
        let nothing = ShownSecret { value: None, ..shown("A", b"12345678") };
        assert!(Scanner::of(&[nothing]).is_none() && Scanner::of(&[]).is_none());
    }
}
