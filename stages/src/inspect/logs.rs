//! The output of stages: one file each, of its last run, whether that succeeded or not.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::Chars;

use ibuild_cache::Layout;

use crate::StageError;

/// The logs of a project.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
}

impl Logs {
    /// The logs of `project` in a store.
    pub fn new(layout: &Layout, project: &str) -> Self {
        Self { dir: layout.logs().join(project) }
    }

    /// Where a stage's log is, or would be.
    pub fn path(&self, stage: &str) -> PathBuf {
        self.dir.join(format!("{stage}.log"))
    }

    /// The one of these stages that ran last, whether or not it succeeded; `None` if none ever ran.
    pub fn latest<'n>(&self, stages: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        let written = |stage: &&str| fs::metadata(self.path(stage)).and_then(|meta| meta.modified()).ok();
        let logged = stages.into_iter().filter_map(|stage| Some((written(&stage)?, stage)));
        logged.max().map(|(_, stage)| stage)
    }

    /// Starts a stage's log anew.
    pub(crate) fn create(&self, stage: &str) -> Result<(File, PathBuf), StageError> {
        let path = self.path(stage);
        let dir = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(dir).map_err(StageError::io("create", dir))?;
        let file = File::options().create(true).write(true).truncate(true).open(&path);
        Ok((file.map_err(StageError::io("create", &path))?, path))
    }
}

/// The last `count` lines of a log, without control characters: what a stage says is not to be trusted with a terminal.
pub fn tail(path: &Path, count: usize) -> Vec<String> {
    const FAR_ENOUGH: u64 = 64 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(FAR_ENOUGH)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(printable).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// What a terminal would show of a line: the part after the last carriage return, without tabs, control characters, and the
/// sequences that begin with one.
pub fn printable(line: &str) -> String {
    readable(line).replace('\t', " ")
}

/// The same with its tabs, for whoever looks at more than a line.
pub fn readable(line: &str) -> String {
    let shown = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let (mut rest, mut text) = (shown.chars(), String::with_capacity(shown.len()));
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_sequence(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\t' => text.push(c),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// Goes past what an escape character begins (ECMA-48).
fn skip_sequence(rest: &mut Chars<'_>) {
    match rest.next() {
        Some('[') => skip_control_sequence(rest),
        // A string, such as a title: up to its terminator, or up to the bell that xterm takes for one.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.next() {
                match c {
                    '\x07' | '\u{9c}' => break,
                    '\x1b' => {
                        rest.next();
                        break;
                    }
                    _ => {}
                }
            }
        }
        // Intermediate bytes, then the final one.
        Some(' '..='/') => {
            let _ = rest.find(|c| !matches!(c, ' '..='/'));
        }
        _ => {}
    }
}

/// Goes past parameters and the final byte.
fn skip_control_sequence(rest: &mut Chars<'_>) {
    let _ = rest.find(|c| !matches!(c, ' '..='?'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing() {
        let check = |line: &str, shown: &str| assert_eq!(readable(line), shown, "{line:?}");
        check("\x1b[1;31mred\x1b[0m and \u{9b}2Jplain", "red and plain");
        check("\x1b]0;title\x07a\x1b]52;c;x\x1b\\b\x1bP1$r\u{9c}c", "abc");
        check("\x1b(Ba\x1bcb\x08\x7fc\td", "abc\td");
        check("ends in \x1b", "ends in ");
        check("ends in \x1b[12", "ends in ");
        check("50%\r100%\r", "100%");
    }

    #[test]
    fn the_last_lines_without_tricks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\n\x1b[31mred\n50%\r100%\n\n\ttab\n").unwrap();
        assert_eq!(tail(file.path(), 3), ["red", "100%", " tab"]);
        assert_eq!(tail(Path::new("/nonexistent"), 3), [] as [String; 0]);
    }
}
