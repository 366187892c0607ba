//! `ibuild.lock`: which state of the archives a project is built from. Text, one line per fact, sorted, so that
//! a change reads well in a diff. No host is in it: any mirror will do, the digests decide.
//!
//! ```text
//! format 1
//! release debian main trixie sha256:b5f0… 140421 2026-09-12T07:55:41Z
//! release debian security trixie-security sha256:09c1… 43409 2026-11-21T00:53:03Z 2026-11-28T00:53:03Z
//! ```

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::time::Timestamp;
use super::{Base, Known, Name, PackageError};

const FORMAT: &str = "1";
const HEADER: &str =
    "# The state of the archives that this project is built from. Written by ibuild: commit it.\n";

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    releases: Vec<LockedRelease>,
}

/// The signed root of one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRelease {
    /// The archive's name in the recipe.
    pub archive: Name,
    /// Where the suite is.
    pub base: Base,
    /// The suite.
    pub suite: Name,
    /// Its InRelease.
    pub inrelease: Known,
    /// When it was made.
    pub date: Timestamp,
    /// When a mirror should have a newer one.
    pub valid_until: Option<Timestamp>,
}

/// Why a text is no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another version wrote it.
    #[error("the lock has format `{found}`, this ibuild reads format {FORMAT}")]
    Format {
        /// What its first line says.
        found: String,
    },
    /// A line that means nothing.
    #[error("line {number} of the lock cannot be read: `{line}`")]
    Line {
        /// Counted from one.
        number: usize,
        /// What stands there.
        line: String,
    },
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Format { .. } => {
                "use the ibuild that wrote it, or make a new one with `ibuild lock`".to_owned()
            }
            Self::Line { .. } => {
                "restore it from version control, or make a new one with `ibuild lock`".to_owned()
            }
        }
    }
}

impl Lock {
    /// What is locked, sorted.
    pub fn releases(&self) -> &[LockedRelease] {
        &self.releases
    }

    /// The locked root of a suite.
    pub fn release(&self, archive: &str, base: Base, suite: &Name) -> Option<&LockedRelease> {
        let is_it = |r: &&LockedRelease| r.archive.as_str() == archive && r.base == base && r.suite == *suite;
        self.releases.iter().find(is_it)
    }

    /// Replaces everything that is locked of an archive.
    pub fn set_archive(&mut self, archive: &str, releases: Vec<LockedRelease>) {
        self.releases.retain(|release| release.archive.as_str() != archive);
        self.releases.extend(releases);
        self.releases.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    }

    /// Reads a lock.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().map_or("", |(_, line)| line);
        match first.strip_prefix("format ") {
            Some(FORMAT) => {}
            found => return Err(LockError::Format { found: found.unwrap_or(first).to_owned() }),
        }
        let mut lock = Self::default();
        for (number, line) in lines {
            let release = parse_release(line);
            let release = release.ok_or_else(|| LockError::Line { number, line: line.to_owned() })?;
            lock.releases.push(release);
        }
        lock.releases.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        Ok(lock)
    }

    /// The lock as text; equal locks give equal texts.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}format {FORMAT}\n");
        for LockedRelease { archive, base, suite, inrelease, date, valid_until } in &self.releases {
            let Known { sha256, size } = inrelease;
            write!(text, "release {archive} {base} {suite} {sha256} {size} {date}").expect("memory");
            if let Some(until) = valid_until {
                write!(text, " {until}").expect("memory");
            }
            text.push('\n');
        }
        text
    }

    /// Reads the lock at `path`; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, PackageError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Self::parse(&text)?)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(PackageError::io("read", path)(e)),
        }
    }

    /// Writes the lock to `path` in one step: a crash leaves the old one or the new one.
    pub fn write(&self, path: &Path) -> Result<(), PackageError> {
        use std::os::unix::fs::PermissionsExt;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            let mut file = tempfile::Builder::new()
                .permissions(std::fs::Permissions::from_mode(0o644))
                .tempfile_in(dir)?;
            file.write_all(self.to_text().as_bytes())?;
            file.as_file().sync_data()?;
            file.persist(path).map_err(|e| e.error).map(drop)
        };
        write().map_err(PackageError::io("write", path))
    }
}

fn sort_key(release: &LockedRelease) -> (&Name, Base, &Name) {
    (&release.archive, release.base, &release.suite)
}

fn parse_release(line: &str) -> Option<LockedRelease> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let (fields, until) = match words[..] {
        ["release", archive, base, suite, sha256, size, date] => {
            ([archive, base, suite, sha256, size, date], None)
        }
        ["release", archive, base, suite, sha256, size, date, until] => {
            ([archive, base, suite, sha256, size, date], Some(until.parse().ok()?))
        }
        _ => return None,
    };
    let [archive, base, suite, sha256, size, date] = fields;
    Some(LockedRelease {
        archive: archive.parse().ok()?,
        base: base.parse().ok()?,
        suite: suite.parse().ok()?,
        inrelease: Known { sha256: sha256.parse().ok()?, size: size.parse().ok()? },
        date: date.parse().ok()?,
        valid_until: until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# The state of the archives that this project is built from. Written by ibuild: commit it.\n\
        format 1\n\
        release debian main trixie sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 140421 \
        2026-09-12T07:55:41Z\n\
        release debian security trixie-security \
        sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210 43409 2026-11-21T00:53:03Z \
        2026-11-28T00:53:03Z\n";

    #[test]
    fn text_and_back() {
        let lock = Lock::parse(TEXT).unwrap();
        assert_eq!(lock.to_text(), TEXT);
        let suite = "trixie-security".parse().unwrap();
        let release = lock.release("debian", Base::Security, &suite).unwrap();
        assert_eq!(release.inrelease.size, 43409);
        assert_eq!(lock.release("debian", Base::Main, &suite), None);
    }

    #[test]
    fn order_does_not_matter() {
        let lock = Lock::parse(TEXT).unwrap();
        let mut reversed = Lock::default();
        reversed.set_archive("debian", lock.releases().iter().rev().cloned().collect());
        assert_eq!(reversed.to_text(), TEXT);
        reversed.set_archive("debian", Vec::new());
        assert_eq!(reversed, Lock::default());
    }

    #[test]
    fn bad_locks() {
        let format = |found: &str| Err(LockError::Format { found: found.to_owned() });
        assert_eq!(Lock::parse("format 2\nnew things\n"), format("2"));
        assert_eq!(Lock::parse("<<<<<<< HEAD\n"), format("<<<<<<< HEAD"));
        assert_eq!(Lock::parse(""), format(""));
        let line = Lock::parse("format 1\n\ndeb x\n");
        assert_eq!(line, Err(LockError::Line { number: 3, line: "deb x".to_owned() }));
    }

    #[test]
    fn on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ibuild.lock");
        assert_eq!(Lock::read(&path).unwrap(), None);
        let lock = Lock::parse(TEXT).unwrap();
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(lock));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
