//! Finds secrets in what a stage has made.

use aho_corasick::{AhoCorasick, MatchKind};

use super::forms::{Form, Needle, Needles};
use super::{ShownSecret, given};

/// Finds secrets, whatever of their [forms](Form) they have.
pub struct Scanner {
    names: Vec<String>,
    exact: Patterns,
    squeezed: Patterns,
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
        let Needles { exact, squeezed } = Needles::of(given(secrets).map(|(_, value)| value));
        (!names.is_empty()).then(|| Self {
            names,
            exact: Patterns::of(&exact),
            squeezed: Patterns::of(&squeezed),
        })
    }

    /// A secret in bytes that are all there.
    pub fn find(&self, bytes: &[u8]) -> Option<Found> {
        self.stream().push(bytes)
    }

    /// For bytes that come in pieces.
    pub fn stream(&self) -> ScanStream<'_> {
        ScanStream { scanner: self, exact: Vec::new(), squeezed: Vec::new() }
    }
}

/// Finds secrets in bytes that come in pieces, across their borders as well.
pub struct ScanStream<'s> {
    scanner: &'s Scanner,
    /// The end of what has come, in which a secret may have begun.
    exact: Vec<u8>,
    /// The same without white space.
    squeezed: Vec<u8>,
}

impl ScanStream<'_> {
    /// The next piece: a secret that ends in it, if there is one.
    pub fn push(&mut self, piece: &[u8]) -> Option<Found> {
        let Scanner { names, exact, squeezed } = self.scanner;
        self.exact.extend_from_slice(piece);
        self.squeezed.extend(piece.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let found = exact.find(&self.exact).or_else(|| squeezed.find(&self.squeezed));
        keep_end(&mut self.exact, exact.longest - 1);
        keep_end(&mut self.squeezed, squeezed.longest - 1);
        found.map(|(secret, form)| Found { name: names[secret].clone(), form })
    }

    /// So many zeros, as in the hole of a file.
    pub fn push_zeros(&mut self, count: u64) -> Option<Found> {
        let enough = self.scanner.exact.longest.max(self.scanner.squeezed.longest) as u64;
        self.push(&vec![0; count.min(enough) as usize])
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
