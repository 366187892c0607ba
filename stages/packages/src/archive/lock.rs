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

/// Why a file is no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another version wrote it.
    #[error("it has format `{found}`, this ibuild reads formats 1 and 2")]
    Format {
        /// What its first line says.
        found: String,
    },
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// The last line is missing.
    #[error("it was cut short: its last line, `end` with a number, is missing")]
    Cut,
    /// Lines are missing, or there are more than were written.
    #[error("its last line says that {said} lines are before it, but there are {found}")]
    Count {
        /// What the last line says.
        said: usize,
        /// How many there are.
        found: usize,
    },
    /// A suite is locked twice, as after a merge that took the lines of both sides.
    #[error("lines {first} and {second} both lock `{suite}`")]
    Twice {
        /// Counted from one.
        first: usize,
        /// Counted from one.
        second: usize,
        /// The archive and the suite.
        suite: String,
    },
    /// Two versions of it were to be merged.
    #[error("line {number} is the mark of a merge that is not settled: `{line}`")]
    Conflict {
        /// Counted from one.
        number: usize,
        /// What stands there.
        line: String,
    },
    /// Bytes that are no text.
    #[error("line {number} is not text")]
    NotText {
        /// Counted from one.
        number: usize,
    },
    /// A line that means nothing.
    #[error("line {number} cannot be read: `{line}`")]
    Line {
        /// Counted from one.
        number: usize,
        /// What stands there, cut where it is long.
        line: String,
    },
}

impl LockError {
    /// What can be said of the lock at `path`.
    pub(crate) fn verdict(&self, path: &Path) -> String {
        match self {
            Self::Format { .. } => format!("cannot read the lock `{}`", path.display()),
            _ => format!("the lock `{}` is broken", path.display()),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let first = match self {
            Self::Format { .. } => "use the ibuild that wrote it",
            Self::Conflict { .. } | Self::Twice { .. } | Self::Count { .. } => {
                "take one side of the merge (`git checkout --ours ibuild.lock` or `git checkout --theirs ibuild.lock`); the next \
                 build adds what it lacks"
            }
            Self::Empty | Self::Cut | Self::NotText { .. } | Self::Line { .. } => {
                "restore it from version control"
            }
        };
        format!(
            "{first}; or remove it: `ibuild lock` makes a new one then, of the archives as they are by now"
        )
    }

    fn format(found: &str) -> Self {
        Self::Format { found: shown(found) }
    }

    fn line(number: usize, line: &str) -> Self {
        const MARKS: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];
        let shown = shown(line);
        match MARKS.iter().any(|mark| line.starts_with(mark)) {
            true => Self::Conflict { number, line: shown },
            false => Self::Line { number, line: shown },
        }
    }
}

/// A text as a message shows it: its beginning, without anything that a terminal would obey.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let beginning: String = text.chars().take(MOST).map(escape).collect();
    if text.chars().nth(MOST).is_some() { beginning + "..." } else { beginning }
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
mod tests {
    use super::*;

    const TEXT: &str = "# The state of the archives that this project is built from. Written by ibuild: commit it.\n\
        format 2\n\
        release debian main trixie sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 140421 \
        2026-09-12T07:55:41Z\n\
        release debian security trixie-security \
        sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210 43409 2026-11-21T00:53:03Z \
        2026-11-28T00:53:03Z\n\
        deb debian hello 2.10-5 amd64 53184 \
        sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef main pool/hello.deb ws/a,ws/b\n\
        deb debian vim 2:9.1 amd64 7 \
        sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee security pool/vim.deb ws/b\n\
        end 6\n";

    #[test]
    fn text_and_back() {
        let lock = Lock::parse(TEXT).unwrap();
        assert_eq!(lock.to_text(), TEXT);
        let suite = "trixie-security".parse().unwrap();
        let release = lock.release("debian", &Base::Security, &suite).unwrap();
        assert_eq!(release.inrelease.size, 43409);
        assert_eq!(lock.release("debian", &Base::Main, &suite), None);
    }

    #[test]
    fn order_does_not_matter() {
        let lock = Lock::parse(TEXT).unwrap();
        let mut reversed = Lock::default();
        reversed.set_archive("debian", lock.releases().iter().rev().cloned().collect());
        for stage in ["ws/b", "ws/a"] {
            let of_stage = |(_, stages): &(_, &BTreeSet<String>)| stages.contains(stage);
            let debs = lock.debs().filter(of_stage).map(|(locked, _)| locked.clone());
            let mut debs: Vec<_> = debs.collect();
            debs.reverse();
            reversed.set_stage(stage, debs);
        }
        assert_eq!(reversed.to_text(), TEXT);
        reversed.set_archive("debian", Vec::new());
        reversed.retain_stages(|_| false);
        assert_eq!(reversed, Lock::default());
    }

    #[test]
    fn other_archives_have_their_address() {
        let text = TEXT.replace(" debian main ", " tor https://deb.example.org/tor ");
        assert_ne!(text, TEXT);
        let lock = Lock::parse(&text).unwrap();
        let base = "https://deb.example.org/tor".parse().unwrap();
        assert!(lock.release("tor", &base, &"trixie".parse().unwrap()).is_some());
        assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
    }

    #[test]
    fn a_package_is_exchanged_for_all_stages() {
        let mut lock = Lock::parse(TEXT).unwrap();
        let (hello, vim) = {
            let mut debs = lock.debs().map(|(locked, _)| locked.clone());
            (debs.next().unwrap(), debs.next().unwrap())
        };
        let newer = DebRef { version: "2.10-6".parse().unwrap(), ..hello.deb.clone() };
        lock.exchange(&hello, Some(&newer));
        lock.exchange(&vim, None);
        let left: Vec<_> = lock.debs().map(|(l, stages)| (l.deb.version.as_str(), stages.len())).collect();
        assert_eq!(left, [("2.10-6", 2)]);
    }

    #[test]
    fn what_changes_is_told() {
        let lock = Lock::parse(TEXT).unwrap();
        assert_eq!(lock.changes(&lock), []);
        let mut new =
            Lock::parse(&TEXT.replace("2.10-5", "2.10-6").replace("07:55:41Z", "09:00:00Z")).unwrap();
        new.retain_stages(|stage| stage != "ws/a");
        new.set_stage("ws/c", [lock.debs().nth(1).unwrap().0.clone()]);
        let told: Vec<_> = lock.changes(&new).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "debian trixie: 2026-09-12T07:55:41Z -> 2026-09-12T09:00:00Z",
                "- hello 2.10-5 amd64",
                "+ hello 2.10-6 amd64",
                "vim 2:9.1 amd64: used by other stages"
            ]
        );
    }

    #[test]
    fn bad_locks() {
        let check = |bytes: &[u8], why: &str| {
            let error = text(bytes).and_then(Lock::parse).unwrap_err();
            assert_eq!(error.to_string(), why);
        };
        check(b"format 3\nnew things\n", "it has format `3`, this ibuild reads formats 1 and 2");
        check(b"", "it is empty");
        check(b"# a comment\n\n", "it is empty");
        let mark = "is the mark of a merge that is not settled:";
        check(b"<<<<<<< HEAD\nformat 1\n", &format!("line 1 {mark} `<<<<<<< HEAD`"));
        check(b"format 1\n=======\n", &format!("line 2 {mark} `=======`"));
        check(b"format 1\n\ndeb x\n", "line 3 cannot be read: `deb x`");
        check(b"hello\n", "line 1 cannot be read: `hello`");
        check(b"deb \x1b[31m\n", "line 1 cannot be read: `deb \\u{1b}[31m`");
        check(b"format 1\n\xff\n", "line 2 is not text");
        check(b"format 1\nx\0y\x1b[2J\n", "line 2 cannot be read: `x\\u{0}y\\u{1b}[2J`");
        check(b"format 1\nend 1\n", "line 2 cannot be read: `end 1`");
        check(b"format 2\nend 1\nend 2\n", "line 3 cannot be read: `end 2`");
        check(
            b"format 2\n\n# a comment\nend 1\n",
            "its last line says that 1 lines are before it, but there are 3",
        );
        let long = "x".repeat(99);
        check(long.as_bytes(), &format!("line 1 cannot be read: `{}...`", &long[..60]));
    }

    /// A regression: a file that ended after some line was a lock, and what it lacked was recorded as it was by then.
    #[test]
    fn a_lock_that_was_cut_short_is_none() {
        let lock = Lock::parse(TEXT).unwrap();
        for end in 0..TEXT.len() - 1 {
            assert!(Lock::parse(&TEXT[..end]).is_err(), "{}", &TEXT[..end]);
        }
        assert_eq!(Lock::parse(TEXT.trim_end()), Ok(lock));
        let lines: Vec<_> = TEXT.lines().collect();
        for without in 2..lines.len() - 1 {
            let mut fewer = lines.clone();
            fewer.remove(without);
            let error = Lock::parse(&fewer.join("\n")).unwrap_err();
            assert_eq!(error, LockError::Count { said: 6, found: 5 });
        }
        assert_eq!(Lock::parse(&lines[..6].join("\n")), Err(LockError::Cut));
    }

    #[test]
    fn the_format_before_is_read_and_not_written() {
        let before = TEXT.replace("format 2", "format 1").replace("end 6\n", "");
        let lock = Lock::parse(&before).unwrap();
        assert_eq!(lock.to_text(), TEXT);
    }

    /// A regression: of two states the first one counted, and a merge by `union` chose it.
    #[test]
    fn a_suite_is_locked_once() {
        let release = TEXT.lines().nth(2).unwrap();
        for format in ["format 1", "format 2"] {
            for other in [release.to_owned(), release.replace("07:55:41Z", "09:00:00Z")] {
                let twice = TEXT.replace("format 2", format).replace(release, &format!("{release}\n{other}"));
                let error = Lock::parse(&twice).unwrap_err();
                assert_eq!(error.to_string(), "lines 3 and 4 both lock `debian main trixie`");
                assert!(error.hint().starts_with("take one side of the merge"), "{}", error.hint());
            }
        }
    }

    /// A regression: the link became a file, and what it led to stayed as it was.
    #[test]
    fn what_a_link_leads_to_is_written() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (link, elsewhere) = (dir.path().join("ibuild.lock"), dir.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        symlink("elsewhere/one", &link).unwrap();
        symlink("two", elsewhere.join("one")).unwrap();
        let lock = Lock::parse(TEXT).unwrap();
        for written in [Lock::default(), lock] {
            written.write(&link).unwrap();
            assert_eq!(Lock::read(&link).unwrap(), Some(written));
            assert!(link.is_symlink() && elsewhere.join("one").is_symlink());
            assert!(fs::symlink_metadata(elsewhere.join("two")).unwrap().is_file());
        }
        fs::remove_file(elsewhere.join("two")).unwrap();
        symlink("one", elsewhere.join("two")).unwrap();
        assert!(Lock::default().write(&link).is_err(), "a ring of links");
    }

    #[test]
    fn on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ibuild.lock");
        assert_eq!(Lock::read(&path).unwrap(), None);
        let lock = Lock::parse(TEXT).unwrap();
        lock.write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), Some(lock));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
