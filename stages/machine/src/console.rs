//! A serial console: bytes as they come, and the lines in them without terminal control.

use std::collections::VecDeque;

use regex::Regex;

/// Hears what a machine says on its serial console.
pub trait ConsoleSink {
    /// The bytes, as they come.
    fn raw(&mut self, bytes: &[u8]);

    /// A line that has ended, without control sequences.
    fn line(&mut self, _line: &str) {}

    /// Asked several times a second; false ends the wait.
    fn keep_going(&mut self) -> bool {
        true
    }
}

/// Cuts console output into lines and keeps those that nobody has asked about.
#[derive(Debug, Default)]
pub struct Lines {
    state: State,
    current: Vec<u8>,
    pending: VecDeque<String>,
    last: String,
}

/// Where in a control sequence the output is (ECMA-48).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// After `ESC [`, until a letter.
    Sequence,
    /// After `ESC ]`, until BEL or `ESC \`.
    Command,
}

impl Lines {
    /// Takes more output; tells of every line that it ends.
    pub fn feed(&mut self, bytes: &[u8], mut ended: impl FnMut(&str)) {
        for &byte in bytes {
            if let Some(line) = self.byte(byte) {
                ended(&line);
                self.last.clone_from(&line);
                self.pending.push_back(line);
            }
        }
    }

    /// The first line, ended or not, that matches. It and those before it are not looked at again.
    pub fn find(&mut self, pattern: &Regex) -> Option<String> {
        while let Some(line) = self.pending.pop_front() {
            if pattern.is_match(&line) {
                return Some(line);
            }
        }
        let current = String::from_utf8_lossy(&self.current).into_owned();
        if current.is_empty() || !pattern.is_match(&current) {
            return None;
        }
        self.current.clear();
        Some(current)
    }

    /// The last line with anything on it, ended or not.
    pub fn last(&self) -> String {
        match self.current.as_slice() {
            [] => self.last.clone(),
            current => String::from_utf8_lossy(current).into_owned(),
        }
    }

    fn byte(&mut self, byte: u8) -> Option<String> {
        self.state = match (self.state, byte) {
            (State::Text, 0x1b) | (State::Command, 0x1b) => State::Escape,
            (State::Escape, b'[') => State::Sequence,
            (State::Escape, b']') => State::Command,
            // Intermediate bytes, as in `ESC ( B`, come before the last one.
            (State::Escape, 0x20..=0x2f) => State::Escape,
            (State::Sequence, 0x40..=0x7e) | (State::Command, 0x07) | (State::Escape, _) => State::Text,
            (State::Text, b'\n' | b'\r') => return self.end_line(),
            (State::Text, 0..=0x08 | 0x0b..=0x1f) => State::Text,
            (State::Text, _) => {
                self.current.push(byte);
                State::Text
            }
            (unfinished, _) => unfinished,
        };
        None
    }

    fn end_line(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.current).trim_end().to_owned();
        self.current.clear();
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        Lines::default().feed(text.as_bytes(), |line| seen.push(line.to_owned()));
        seen
    }

    #[test]
    fn control_sequences_are_taken_out() {
        let text = "\x1b[0;32m[  OK  ]\x1b[0m Started\r\n\x1b]0;title\x07plain\x1b(B\n\x1b[2J\r\n";
        assert_eq!(lines_of(text), ["[  OK  ] Started", "plain"]);
    }

    #[test]
    fn a_prompt_matches_before_its_line_ends_and_only_once() {
        let prompt = Regex::new("login: $").unwrap();
        let mut lines = Lines::default();
        lines.feed(b"Debian\r\n\r\nhost log", |_| {});
        assert_eq!(lines.find(&prompt), None);
        lines.feed(b"in: ", |_| {});
        assert_eq!(lines.last(), "host login: ");
        assert_eq!(lines.find(&prompt), Some("host login: ".into()));
        assert_eq!(lines.find(&prompt), None);
        assert_eq!(lines.last(), "Debian");
    }

    #[test]
    fn lines_behind_a_match_wait_for_the_next_question() {
        let mut lines = Lines::default();
        lines.feed(b"one\ntwo\nthree\n", |_| {});
        assert_eq!(lines.find(&Regex::new("^t").unwrap()), Some("two".into()));
        assert_eq!(lines.find(&Regex::new("^t").unwrap()), Some("three".into()));
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        assert_eq!(lines_of("caf\u{e9}\n"), ["caf\u{e9}"]);
        let mut lines = Lines::default();
        lines.feed(b"\xff\xfe\x00ok\n", |line| assert_eq!(line, "\u{fffd}\u{fffd}ok"));
    }
}
