//! `ibuild.lock`: which state of the archives a project is built from, and which packages its stages use. Text, one line
//! per fact, sorted, so that a change reads well in a diff. No mirror is in it: any will do, the digests decide. An archive that
//! is not Debian's is named by its address in the recipe, which is the only one that it has.
//!
//! ```text
//! # The state of the archives that this project is built from. Written by ibuild: commit it.
//! format 2
//! release debian main trixie sha256:b5f0… 140421 2026-09-12T07:55:41Z
//! release debian security trixie-security sha256:09c1… 43409 2026-11-21T00:53:03Z 2026-11-28T00:53:03Z
//! release tor https://deb.example.org/tor trixie sha256:1f0c… 5912 2026-11-20T11:02:00Z
//! deb debian hello 2.10-5 amd64 53184 sha256:77aa… main pool/main/h/hello/hello_2.10-5_amd64.deb ws/tools,ws/20-x
//! end 6
//! ```
//!
//! The last line says how many there are before it. Without it a file that was cut short would be one that locks less, and what
//! it lacks would be recorded as it is by now. Format 1 is the same without that line; it is read, and not written any more.
//!
//! The releases decide what stages get. The packages follow from them and from what the stages do; they are written down
//! when stages have run, so that a change of them is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::lock_error::LockError;
use crate::{DebRef, PackageError};
use ibuild_debian::{Base, Known, Name, Suite, Timestamp};
use ibuild_host::bounded;

/// What is written.
const FORMAT: Format = Format::Counted;
const HEADER: &str =
    "# The state of the archives that this project is built from. Written by ibuild: commit it.\n";

/// What the first line says that the others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// 1: facts.
    Plain,
    /// 2: facts, then how many lines there are before the last one.
    Counted,
}

impl Format {
    fn read(number: &str) -> Option<Self> {
        [Self::Plain, Self::Counted].into_iter().find(|format| format.number() == number)
    }

    fn number(self) -> &'static str {
        match self {
            Self::Plain => "1",
            Self::Counted => "2",
        }
    }
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    releases: Vec<LockedRelease>,
    debs: BTreeMap<LockedDeb, BTreeSet<String>>,
}

/// A package that stages use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedDeb {
    /// The archive's name in the recipe.
    pub archive: Name,
    /// What it is, and where in the archive.
    pub deb: DebRef,
}

/// What another lock says that this one does not, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockChange {
    /// A suite is at another state.
    Release {
        /// The archive and the suite.
        suite: String,
        /// When the state was made before, if it was locked.
        old: Option<Timestamp>,
        /// When the state is made now, if it is locked.
        new: Option<Timestamp>,
    },
    /// A package is there that was not.
    Added(LockedDeb),
    /// A package is there no more.
    Removed(LockedDeb),
    /// A package is used by other stages.
    Stages(LockedDeb),
}

impl fmt::Display for LockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deb =
            |LockedDeb { deb, .. }: &LockedDeb| format!("{} {} {}", deb.name, deb.version, deb.architecture);
        match self {
            Self::Release { suite, old: Some(old), new: Some(new) } => write!(f, "{suite}: {old} -> {new}"),
            Self::Release { suite, old: None, new: Some(new) } => write!(f, "{suite}: new, of {new}"),
            Self::Release { suite, .. } => write!(f, "{suite}: not in the recipe any more"),
            Self::Added(locked) => write!(f, "+ {}", deb(locked)),
            Self::Removed(locked) => write!(f, "- {}", deb(locked)),
            Self::Stages(locked) => write!(f, "{}: used by other stages", deb(locked)),
        }
    }
}

/// The signed root of one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRelease {
    /// The archive's name in the recipe.
    pub archive: Name,
    /// Where the suite is.
    pub base: Base,
    /// The suite.
    pub suite: Suite,
    /// Its InRelease.
    pub inrelease: Known,
    /// When it was made.
    pub date: Timestamp,
    /// When a mirror should have a newer one.
    pub valid_until: Option<Timestamp>,
}

impl Lock {
    /// What is locked, sorted.
    pub fn releases(&self) -> &[LockedRelease] {
        &self.releases
    }

    /// The locked root of a suite.
    pub fn release(&self, archive: &str, base: &Base, suite: &Suite) -> Option<&LockedRelease> {
        let is_it =
            |r: &&LockedRelease| r.archive.as_str() == archive && r.base == *base && r.suite == *suite;
        self.releases.iter().find(is_it)
    }

    /// The packages with the stages that use them, sorted.
    pub fn debs(&self) -> impl Iterator<Item = (&LockedDeb, &BTreeSet<String>)> {
        self.debs.iter()
    }

    /// Replaces the packages that a stage uses.
    pub fn set_stage(&mut self, stage: &str, debs: impl IntoIterator<Item = LockedDeb>) {
        self.retain_stages(|name| name != stage);
        for locked in debs {
            self.debs.entry(locked).or_default().insert(stage.to_owned());
        }
    }

    /// Puts another version in the place of a package, for all stages that use it.
    pub fn exchange(&mut self, old: &LockedDeb, new: Option<&DebRef>) {
        let Some(stages) = self.debs.remove(old) else { return };
        if let Some(deb) = new {
            let new = LockedDeb { archive: old.archive.clone(), deb: deb.clone() };
            self.debs.entry(new).or_default().extend(stages);
        }
    }

    /// Forgets the packages of all other stages.
    pub fn retain_stages(&mut self, wanted: impl Fn(&str) -> bool) {
        self.debs.values_mut().for_each(|stages| stages.retain(|stage| wanted(stage)));
        self.debs.retain(|_, stages| !stages.is_empty());
    }

    /// What `new` says otherwise, in the order of its lines.
    pub fn changes(&self, new: &Self) -> Vec<LockChange> {
        let suites = |lock: &Self| -> BTreeMap<String, LockedRelease> {
            let named = |r: &LockedRelease| (format!("{} {}", r.archive, r.suite), r.clone());
            lock.releases.iter().map(named).collect()
        };
        let (before, after) = (suites(self), suites(new));
        let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let moved = all.into_iter().filter(|suite| before.get(*suite) != after.get(*suite));
        let date = |lock: &BTreeMap<String, LockedRelease>, suite: &String| lock.get(suite).map(|r| r.date);
        let release = |suite: &String| LockChange::Release {
            suite: suite.clone(),
            old: date(&before, suite),
            new: date(&after, suite),
        };
        let mut changes: Vec<_> = moved.map(release).collect();
        let debs: BTreeSet<_> = self.debs.keys().chain(new.debs.keys()).collect();
        changes.extend(debs.into_iter().filter_map(|deb| match (self.debs.get(deb), new.debs.get(deb)) {
            (None, _) => Some(LockChange::Added(deb.clone())),
            (_, None) => Some(LockChange::Removed(deb.clone())),
            (old, new) if old != new => Some(LockChange::Stages(deb.clone())),
            _ => None,
        }));
        changes
    }

    /// Replaces everything that is locked of an archive, but what stages use of it.
    pub fn set_archive(&mut self, archive: &str, releases: Vec<LockedRelease>) {
        self.releases.retain(|release| release.archive.as_str() != archive);
        self.releases.extend(releases);
        self.releases.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    }

    /// Reads a lock.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (number, first) = lines.next().ok_or(LockError::Empty)?;
        let format = match first.strip_prefix("format ") {
            Some(found) => Format::read(found).ok_or_else(|| LockError::format(found))?,
            None => return Err(LockError::line(number, first)),
        };
        let mut reading = Reading::default();
        for (number, line) in lines {
            reading.line(number, line, format)?;
        }
        if format == Format::Counted && reading.end.is_none() {
            return Err(LockError::Cut);
        }
        let Reading { mut lock, .. } = reading;
        lock.releases.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        Ok(lock)
    }

    /// The lock as text; equal locks give equal texts.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}format {}\n", FORMAT.number());
        for LockedRelease { archive, base, suite, inrelease, date, valid_until } in &self.releases {
            let Known { sha256, size } = inrelease;
            write!(text, "release {archive} {base} {suite} {sha256} {size} {date}").expect("memory");
            if let Some(until) = valid_until {
                write!(text, " {until}").expect("memory");
            }
            text.push('\n');
        }
        for (LockedDeb { archive, deb }, stages) in &self.debs {
            let DebRef { name, version, architecture, base, path, sha256, size } = deb;
            let stages = stages.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            writeln!(
                text,
                "deb {archive} {name} {version} {architecture} {size} {sha256} {base} {path} {stages}"
            )
            .expect("memory");
        }
        let count = text.lines().count();
        writeln!(text, "end {count}").expect("memory");
        text
    }

    /// Reads the lock at `path`; `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, PackageError> {
        // A hundred times what a desktop's takes.
        const LARGEST: u64 = 64 << 20;
        let bytes = match bounded::read(path, LARGEST) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(PackageError::io("read", path)(e)),
        };
        let lock = text(&bytes).and_then(Self::parse);
        lock.map(Some).map_err(|source| PackageError::Lock { path: path.to_owned(), source })
    }

    /// Writes the lock to `path` in one step: a crash leaves the old one or the new one. Where a link is, the file that it leads
    /// to is replaced.
    pub fn write(&self, path: &Path) -> Result<(), PackageError> {
        use std::os::unix::fs::PermissionsExt;
        let write = || {
            let path = &behind_links(path)?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut file =
                tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o644)).tempfile_in(dir)?;
            file.write_all(self.to_text().as_bytes())?;
            file.as_file().sync_data()?;
            file.persist(path).map_err(|e| e.error).map(drop)
        };
        write().map_err(PackageError::io("write", path))
    }
}

/// A lock that is being read.
#[derive(Default)]
struct Reading {
    lock: Lock,
    /// The line of each release.
    releases: Vec<usize>,
    /// The number of the last line.
    end: Option<usize>,
}

impl Reading {
    fn line(&mut self, number: usize, line: &str, format: Format) -> Result<(), LockError> {
        let bad = || LockError::line(number, line);
        if self.end.is_some() {
            return Err(bad());
        }
        match line.split_ascii_whitespace().next().ok_or_else(bad)? {
            "deb" => {
                let (deb, stages) = parse_deb(line).ok_or_else(bad)?;
                self.lock.debs.entry(deb).or_default().extend(stages);
            }
            "end" if format == Format::Counted => {
                let said = line.strip_prefix("end ").and_then(|count| count.parse().ok()).ok_or_else(bad)?;
                let found = number - 1;
                if said != found {
                    return Err(LockError::Count { said, found });
                }
                self.end = Some(number);
            }
            _ => self.release(number, parse_release(line).ok_or_else(bad)?)?,
        }
        Ok(())
    }

    fn release(&mut self, number: usize, release: LockedRelease) -> Result<(), LockError> {
        let same = self.lock.releases.iter().position(|other| sort_key(other) == sort_key(&release));
        if let Some(same) = same {
            let LockedRelease { archive, base, suite, .. } = release;
            let suite = format!("{archive} {base} {suite}");
            return Err(LockError::Twice { first: self.releases[same], second: number, suite });
        }
        self.lock.releases.push(release);
        self.releases.push(number);
        Ok(())
    }
}

/// Where the links lead that lie at a path; the path itself if there is none. What they lead to need not be there.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    /// As many as the kernel follows.
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        match fs::read_link(&path) {
            // Relative to where the link is.
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            // It is none, or there is nothing.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(e) => return Err(e),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

fn text(bytes: &[u8]) -> Result<&str, LockError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        LockError::NotText { number: before.iter().filter(|byte| **byte == b'\n').count() + 1 }
    })
}

fn sort_key(release: &LockedRelease) -> (&Name, &Base, &Suite) {
    (&release.archive, &release.base, &release.suite)
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

fn parse_deb(line: &str) -> Option<(LockedDeb, Vec<String>)> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let ["deb", archive, name, version, architecture, size, sha256, base, path, stages] = words[..] else {
        return None;
    };
    let deb = DebRef {
        name: name.parse().ok()?,
        version: version.parse().ok()?,
        architecture: architecture.parse().ok()?,
        base: base.parse().ok()?,
        path: path.to_owned(),
        sha256: sha256.parse().ok()?,
        size: size.parse().ok()?,
    };
    let locked = LockedDeb { archive: archive.parse().ok()?, deb };
    Some((locked, stages.split(',').map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests;
