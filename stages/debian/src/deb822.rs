//! The format of Debian's control files: paragraphs of `Field: value`, a value going on in lines that start
//! with a space. Borrows from the text, so that 60 MB of index cost one pass.

use std::io::{self, BufRead};

/// The paragraphs of a text.
pub fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty())
}

/// Hands on the paragraphs of a text while it is read, so that never more than one of them is in memory. Bytes that are not
/// UTF-8 are replaced.
pub fn each_paragraph<E: From<io::Error>>(
    mut text: impl BufRead,
    mut take: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut paragraph = Vec::new();
    loop {
        let start = paragraph.len();
        let is_end = text.read_until(b'\n', &mut paragraph)? == 0;
        if is_end || paragraph[start..] == *b"\n" {
            if !paragraph.trim_ascii().is_empty() {
                take(&String::from_utf8_lossy(&paragraph))?;
            }
            paragraph.clear();
        }
        if is_end {
            return Ok(());
        }
    }
}

/// The fields of a paragraph, in order. A value keeps its line breaks; comments are left out, and so are lines
/// that are no field.
pub fn fields(paragraph: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = paragraph;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (field, after) = rest.split_at(field_end(rest));
            rest = after;
            // A colon further down, or on a line that goes on from nothing, belongs to no field.
            let is_name = |name: &str| !name.starts_with(['#', ' ', '\t']) && !name.contains('\n');
            if let Some((name, value)) = field.split_once(':').filter(|(name, _)| is_name(name)) {
                return Some((name, value.trim()));
            }
        }
        None
    })
}

/// The value of one field.
pub fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    fields(paragraph).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Where the field at the start of `text` ends: after the first line break that no continuation follows.
fn field_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(line) = text[at..].find('\n') {
        at += line + 1;
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    #[test]
    fn values_go_on() {
        let text = " a: 0\nA: 1\n# B: comment\nC:\n x\n y\nnonsense\n z: 1\nD:4\n\n\nA: 2\n";
        let all: Vec<Vec<_>> = paragraphs(text).map(|p| fields(p).collect()).collect();
        assert_eq!(all, [vec![("A", "1"), ("C", "x\n y"), ("D", "4")], vec![("A", "2")]]);
        assert_eq!(field(text, "c"), Some("x\n y"));
        assert_eq!(field(text, "Z"), None);
    }

    #[test]
    fn paragraphs_do_not_wait_for_the_end() {
        let broken = BufReader::new(b"A: 1\n\nB: 2\n\nC: 3".chain(Broken));
        let mut read = Vec::new();
        let error = each_paragraph(broken, |paragraph| {
            read.push(paragraph.to_owned());
            io::Result::Ok(())
        });
        assert!(error.is_err() && read == ["A: 1\n\n", "B: 2\n\n"], "{read:?}");
    }

    /// A text that goes on, but cannot be read any further.
    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    #[test]
    fn paragraphs_are_the_same_while_they_are_read() {
        for text in [
            "",
            "\n",
            "A: 1",
            "\n\n\n\nA: 1\n x\n\n\nB: 2\n\n \n\n",
            "A: 1\n \n\n x\nB: 2\n\n\n\n y: 3\nC: 4",
        ] {
            let named = |paragraph: &str| -> Vec<String> {
                fields(paragraph).map(|(name, value)| format!("{name}={value}")).collect()
            };
            let mut read = Vec::new();
            each_paragraph(text.as_bytes(), |paragraph| {
                read.push(named(paragraph));
                io::Result::Ok(())
            })
            .unwrap();
            let whole: Vec<_> = paragraphs(text).map(named).collect();
            assert_eq!(read, whole, "{text:?}");
        }
    }
}
