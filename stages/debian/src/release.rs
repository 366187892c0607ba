//! What a suite's signed root says: which index files there are, and their digests.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::Sha256;

use crate::compression::Compression;
use crate::deb822;
use crate::time::{ParseTimeError, Timestamp};

/// A file whose digest and size are known before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Known {
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Their number.
    pub size: u64,
}

/// A file listed in a Release; the path is relative to the suite's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// `main/binary-amd64/Packages.xz`
    pub path: String,
    /// What it has to be.
    pub known: Known,
}

/// The forms of an index that are read, the smallest first.
const FORMS: [Compression; 3] = [Compression::Xz, Compression::Gzip, Compression::None];

/// Whether apt takes packages from a suite on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// The highest version wins.
    Automatic,
    /// Only what no other suite has: `NotAutomatic: yes`, as in backports.
    LastResort,
}

/// A parsed Release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `stable`
    pub suite: Option<String>,
    /// `trixie`
    pub codename: Option<String>,
    /// When it was made.
    pub date: Timestamp,
    /// When a mirror should have a newer one.
    pub valid_until: Option<Timestamp>,
    /// Whether its packages are taken without being asked for by suite.
    pub preference: Preference,
    separate_all: bool,
    files: BTreeMap<String, Known>,
    /// By component and architecture.
    packages: BTreeMap<String, BTreeMap<String, IndexFile>>,
    /// That of a flat repository.
    flat: Option<IndexFile>,
}

/// Why a verified text is no usable Release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The envelope is not one signed message and nothing else.
    #[error("it is not one clear-signed message")]
    Envelope,
    /// The signed text is not UTF-8.
    #[error("it is not text")]
    Encoding,
    /// A field is missing.
    #[error("it has no `{0}` field")]
    Missing(&'static str),
    /// A date cannot be read.
    #[error("its date is malformed")]
    Date(#[from] ParseTimeError),
    /// A line of the list of files cannot be read.
    #[error("`{0}` is not a digest, a size and a path")]
    Line(String),
}

/// Checks that a file is one clear-signed message from the first byte to the last, so that nothing unsigned can
/// stand before, between or behind.
pub fn check_envelope(signed: &[u8]) -> Result<(), ReleaseError> {
    const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
    const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
    const END: &[u8] = b"-----END PGP SIGNATURE-----";
    let lines: Vec<&[u8]> =
        signed.trim_ascii_end().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).collect();
    let places = |marker: &[u8]| {
        let found = lines.iter().enumerate().filter(|(_, line)| **line == marker);
        found.map(|(place, _)| place).collect::<Vec<_>>()
    };
    match (&places(BEGIN)[..], &places(SIGNATURE)[..], &places(END)[..]) {
        ([0], [signature], [end]) if signature < end && end + 1 == lines.len() => Ok(()),
        _ => Err(ReleaseError::Envelope),
    }
}

impl Release {
    /// Reads the text that the signature covers.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let field = |name| deb822::field(text, name);
        let date = field("Date").ok_or(ReleaseError::Missing("Date"))?;
        let listed = field("SHA256").ok_or(ReleaseError::Missing("SHA256"))?;
        let has_word =
            |name, word| field(name).is_some_and(|v: &str| v.split_whitespace().any(|w| w == word));
        let not_automatic = field("NotAutomatic") == Some("yes");
        let lines = listed.lines().filter(|line| !line.trim().is_empty());
        let files = lines.map(parse_line).collect::<Result<_, _>>()?;
        Ok(Self {
            suite: field("Suite").map(str::to_owned),
            codename: field("Codename").map(str::to_owned),
            date: Timestamp::from_release(date)?,
            valid_until: field("Valid-Until").map(Timestamp::from_release).transpose()?,
            preference: if not_automatic { Preference::LastResort } else { Preference::Automatic },
            separate_all: has_word("Architectures", "all")
                && !has_word("No-Support-for-Architecture-all", "Packages"),
            packages: indices_of_packages(&files),
            flat: smallest(&files, "Packages"),
            files,
        })
    }

    /// Whether this is the suite one asked for: a mirror must not pass off one signed suite as another.
    pub fn is_suite(&self, name: &str) -> bool {
        self.suite.as_deref() == Some(name) || self.codename.as_deref() == Some(name)
    }

    /// A listed file.
    pub fn file(&self, path: &str) -> Option<IndexFile> {
        self.files.get(path).map(|known| IndexFile { path: path.to_owned(), known: *known })
    }

    /// The listed file that a by-hash path stands for.
    pub fn by_hash(&self, path: &str) -> Option<IndexFile> {
        let (dir, digest) = path.split_once("by-hash/SHA256/").filter(|(dir, _)| is_directory(dir))?;
        let digest: Sha256 = digest.parse().ok()?;
        let in_dir = |path: &str| path.rfind('/').map_or("", |slash| &path[..=slash]) == dir;
        let found = self.files.iter().find(|(path, known)| known.sha256 == digest && in_dir(path));
        found.map(|(path, known)| IndexFile { path: path.clone(), known: *known })
    }

    /// The indices of packages that a machine of `architecture` sees in a component, each in its smallest form.
    pub fn packages(&self, component: &str, architecture: &str) -> Vec<IndexFile> {
        let all = self.separate_all.then_some("all");
        let Some(of_component) = self.packages.get(component) else { return Vec::new() };
        let architectures = std::iter::once(architecture).chain(all);
        architectures.filter_map(|architecture| of_component.get(architecture)).cloned().collect()
    }

    /// The index of packages of a flat repository, in its smallest form.
    pub fn flat_packages(&self) -> Option<&IndexFile> {
        self.flat.as_ref()
    }

    /// The index of source packages of a component, in its smallest form.
    pub fn sources(&self, component: &str) -> Option<IndexFile> {
        smallest(&self.files, &format!("{component}/source/Sources"))
    }

    /// That of a flat repository.
    pub fn flat_sources(&self) -> Option<IndexFile> {
        smallest(&self.files, "Sources")
    }

    /// The indices of packages of every component and architecture, each in its smallest form.
    pub fn all_packages(&self) -> impl Iterator<Item = &IndexFile> {
        self.packages.values().flat_map(BTreeMap::values)
    }

    /// Every architecture that it has packages for.
    pub fn architectures(&self) -> BTreeSet<&str> {
        self.packages.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// Every component that has packages for `architecture`.
    pub fn components(&self, architecture: &str) -> BTreeSet<&str> {
        let with_it = self.packages.iter().filter(|(_, indices)| indices.contains_key(architecture));
        with_it.map(|(component, _)| component.as_str()).collect()
    }

    /// Whether a listed file has this digest.
    pub fn lists(&self, digest: &Sha256) -> bool {
        self.files.values().any(|known| known.sha256 == *digest)
    }

    /// When it ended to be valid, if that was before `now`.
    pub fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        self.valid_until.filter(|until| *until < now)
    }
}

/// The indices of packages among all files, each in its smallest form. What has one more directory in front is not for
/// people's machines: `main/debian-installer`.
fn indices_of_packages(files: &BTreeMap<String, Known>) -> BTreeMap<String, BTreeMap<String, IndexFile>> {
    let mut packages: BTreeMap<_, BTreeMap<_, IndexFile>> = BTreeMap::new();
    for form in FORMS {
        let name = format!("Packages{}", form.suffix());
        for (path, known) in files {
            let dir = path.strip_suffix(&name).and_then(|rest| rest.strip_suffix('/'));
            let Some((component, architecture)) = dir.and_then(|dir| dir.split_once("/binary-")) else {
                continue;
            };
            if !component.contains('/') {
                let of_component = packages.entry(component.to_owned()).or_default();
                let index = || IndexFile { path: path.clone(), known: *known };
                of_component.entry(architecture.to_owned()).or_insert_with(index);
            }
        }
    }
    packages
}

/// The smallest form of a listed index.
fn smallest(files: &BTreeMap<String, Known>, name: &str) -> Option<IndexFile> {
    FORMS.iter().find_map(|form| {
        let path = format!("{name}{}", form.suffix());
        let known = *files.get(&path)?;
        Some(IndexFile { path, known })
    })
}

/// What stands before the name of a file.
fn is_directory(text: &str) -> bool {
    text.is_empty() || text.ends_with('/')
}

fn parse_line(line: &str) -> Result<(String, Known), ReleaseError> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let known = match words[..] {
        [digest, size, path] => digest.parse().ok().zip(size.parse().ok()).map(|parsed| (path, parsed)),
        _ => None,
    };
    let (path, (sha256, size)) = known.ok_or_else(|| ReleaseError::Line(line.to_owned()))?;
    // Some tools list what lies beside the Release with `./` in front.
    Ok((path.trim_start_matches("./").to_owned(), Known { sha256, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn release(extra: &str) -> Release {
        Release::parse(&format!(
            "Suite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n{extra}MD5Sum:\n x 1 y\nSHA256:\n \
             {A}  10 main/binary-amd64/Packages\n {B} 5 main/binary-amd64/Packages.xz\n {A} 3 main/binary-all/Packages\n"
        ))
        .unwrap()
    }

    #[test]
    fn files_by_name_and_by_digest() {
        let release = release("");
        assert!(release.is_suite("stable") && release.is_suite("trixie") && !release.is_suite("sid"));
        assert_eq!(release.file("main/binary-amd64/Packages").unwrap().known.size, 10);
        assert_eq!(release.file("main/binary-amd64/Packages.gz"), None);
        let by_hash = |dir: &str, digest: &str| release.by_hash(&format!("{dir}/by-hash/SHA256/{digest}"));
        assert_eq!(by_hash("main/binary-amd64", B).unwrap().path, "main/binary-amd64/Packages.xz");
        assert_eq!(by_hash("main/binary-all", B), None);
        assert_eq!(by_hash("main/binary-amd64", "xyz"), None);
    }

    #[test]
    fn the_index_of_a_flat_repository() {
        let text = format!(
            "Date: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n {A} 10 ./Packages\n {B} 5 Packages.gz\n {B} 3 sub/x\n"
        );
        let release = Release::parse(&text).unwrap();
        assert_eq!(release.flat_packages().unwrap().path, "Packages.gz");
        assert_eq!(release.file("Packages").unwrap().known.size, 10);
        assert_eq!(release.by_hash(&format!("by-hash/SHA256/{A}")).unwrap().path, "Packages");
        assert_eq!(release.by_hash(&format!("sub/by-hash/SHA256/{A}")), None);
        assert_eq!(release.by_hash(&format!("xby-hash/SHA256/{A}")), None);
        assert_eq!(self::release("").flat_packages(), None);
        let sources =
            Release::parse(&format!("{text} {A} 7 Sources.xz\n {B} 9 main/source/Sources\n")).unwrap();
        assert_eq!(sources.flat_sources().unwrap().path, "Sources.xz");
        assert_eq!(sources.sources("main").unwrap().known.size, 9);
        assert_eq!((release.flat_sources(), release.sources("main")), (None, None));
    }

    #[test]
    fn architecture_all_is_fetched_only_where_it_is_apart() {
        let paths = |release: Release| -> Vec<String> {
            release.packages("main", "amd64").into_iter().map(|file| file.path).collect()
        };
        assert_eq!(paths(release("")), ["main/binary-amd64/Packages.xz"]);
        assert_eq!(
            paths(release("Architectures: all amd64\n")),
            ["main/binary-amd64/Packages.xz", "main/binary-all/Packages"]
        );
        let merged = "Architectures: all amd64\nNo-Support-for-Architecture-all: Packages\n";
        assert_eq!(paths(release(merged)), ["main/binary-amd64/Packages.xz"]);
    }

    #[test]
    fn backports_are_a_last_resort() {
        assert_eq!(release("NotAutomatic: yes\n").preference, Preference::LastResort);
        assert_eq!(release("").preference, Preference::Automatic);
    }

    #[test]
    fn damaged_releases() {
        assert_eq!(Release::parse("SHA256:\n"), Err(ReleaseError::Missing("Date")));
        let date = "Date: Sat, 12 Sep 2026 07:55:41 UTC\n";
        assert_eq!(Release::parse(date), Err(ReleaseError::Missing("SHA256")));
        let line = Release::parse(&format!("{date}SHA256:\n abc 1 path\n"));
        assert_eq!(line, Err(ReleaseError::Line(" abc 1 path".trim_start().to_owned())));
        assert!(matches!(Release::parse("Date: now\nSHA256:\n"), Err(ReleaseError::Date(_))));
    }

    #[test]
    fn nothing_stands_beside_the_message() {
        let good = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nDate: x\n\
                    -----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n";
        assert_eq!(check_envelope(good.as_bytes()), Ok(()));
        for bad in
            [format!("x\n{good}"), format!("{good}x\n"), format!("{good}{good}"), good[..60].to_owned()]
        {
            assert_eq!(check_envelope(bad.as_bytes()), Err(ReleaseError::Envelope), "{bad}");
        }
    }
}
