//! The output of stages: one file each, of its last run, whether that succeeded or not.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ibuild_cache::Layout;

use super::StageError;

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
    pub(super) fn create(&self, stage: &str) -> Result<(File, PathBuf), StageError> {
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

/// What a terminal would show of a line: the part after the last carriage return, without control characters.
pub fn printable(line: &str) -> String {
    let shown = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    shown.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_without_tricks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\n\x1b[31mred\n50%\r100%\n\n\ttab\n").unwrap();
        assert_eq!(tail(file.path(), 3), ["[31mred", "100%", " tab"]);
        assert_eq!(tail(Path::new("/nonexistent"), 3), [] as [String; 0]);
    }
}
