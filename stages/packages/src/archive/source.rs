//! Which source packages an installed system is made of, and under which licences they are: read from what its packages say
//! about themselves.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Lock, LockedDeb};
use ibuild_debian::deb822::{field, fields, paragraphs};

/// A package that dpkg calls installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstalledPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The machine it is for, or `all`.
    pub architecture: String,
    /// The source package that it was built from.
    pub source: SourceName,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceName {
    /// Its name.
    pub name: String,
    /// Its version, which need not be that of the packages built from it.
    pub version: String,
}

/// A source package that something installed was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    /// Which it is.
    pub source: SourceName,
    /// The packages built from it that are installed, by name.
    pub packages: BTreeSet<String>,
    /// The licences that their copyright files name.
    pub licences: BTreeSet<String>,
    /// Where Debian keeps its description (`.dsc`), which names all of its files. Nothing if none of the packages is one that
    /// the lock knows, for example because a script has built it.
    pub url: Option<String>,
}

/// The installed packages of `/var/lib/dpkg/status`.
pub fn installed(status: &str) -> Vec<InstalledPackage> {
    paragraphs(status).filter_map(read_installed).collect()
}

fn read_installed(paragraph: &str) -> Option<InstalledPackage> {
    let is_installed = field(paragraph, "Status")?.split_whitespace().next_back() == Some("installed");
    let (name, version) = (field(paragraph, "Package")?, field(paragraph, "Version")?);
    // `Source: NAME` or `Source: NAME (VERSION)`, where it is not the package's own.
    let source = field(paragraph, "Source").unwrap_or(name);
    let (source, other) = source.split_once(' ').unwrap_or((source, ""));
    let other = other.trim_matches(['(', ')', ' ']);
    let source_version = if other.is_empty() { version } else { other };
    is_installed.then(|| InstalledPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: field(paragraph, "Architecture").unwrap_or("all").to_owned(),
        source: SourceName { name: source.to_owned(), version: source_version.to_owned() },
    })
}

/// The licences that a package's copyright file names: those of its `License` fields where it is in
/// [the machine-readable format](https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/), those of
/// `/usr/share/common-licenses` that it mentions otherwise.
pub fn licences(copyright: &str) -> BTreeSet<String> {
    let is_machine_readable = copyright.trim_start().starts_with("Format:");
    if is_machine_readable {
        let of_paragraph = |text| fields(text).filter(|(name, _)| name.eq_ignore_ascii_case("License"));
        let names = paragraphs(copyright).flat_map(of_paragraph);
        names.filter_map(|(_, value)| value.lines().next()).map(str::trim).map(str::to_owned).collect()
    } else {
        mentioned(copyright)
    }
}

fn mentioned(copyright: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let name = |rest: &str| {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches(['.', '-']).to_owned()
    };
    let names = copyright.split("/usr/share/common-licenses/").skip(1).map(name);
    names.filter(|name| !name.is_empty()).collect()
}

/// The source packages of all that is installed, by name and version. `licences_of` tells the licences of a package.
pub fn source_packages(
    installed: &[InstalledPackage],
    lock: &Lock,
    mut licences_of: impl FnMut(&str) -> BTreeSet<String>,
) -> Vec<SourcePackage> {
    let debs: BTreeMap<_, _> = lock.debs().map(|(locked, _)| (identity(locked), locked)).collect();
    let mut sources: BTreeMap<&SourceName, SourcePackage> = BTreeMap::new();
    for package in installed {
        let found = sources.entry(&package.source).or_insert_with(|| SourcePackage {
            source: package.source.clone(),
            packages: BTreeSet::new(),
            licences: BTreeSet::new(),
            url: None,
        });
        found.packages.insert(package.name.clone());
        found.licences.extend(licences_of(&package.name));
        let locked = debs.get(&(&*package.name, &*package.version, &*package.architecture));
        found.url = found.url.take().or_else(|| dsc_url(locked?, &package.source));
    }
    sources.into_values().collect()
}

fn identity(locked: &LockedDeb) -> (&str, &str, &str) {
    (locked.deb.name.as_str(), locked.deb.version.as_str(), locked.deb.architecture.as_str())
}

/// Debian keeps a source in the directory of what was built from it; an epoch is part of no file name. Where others keep
/// theirs, if they do, is not known.
fn dsc_url(locked: &LockedDeb, source: &SourceName) -> Option<String> {
    if !locked.deb.base.is_debian() {
        return None;
    }
    let base = locked.deb.base.canonical_url();
    let dir = locked.deb.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let version = source.version.split_once(':').map_or(&*source.version, |(_, version)| version);
    Some(format!("{base}/{dir}/{}_{version}.dsc", source.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:5.2-2+b10\n\
        Source: bash (1:5.2-2)\nDescription: shell\n more\n\n\
        Package: libx\nStatus: hold ok installed\nArchitecture: all\nVersion: 9\nSource: x\n\n\
        Package: libx-dev\nStatus: install ok installed\nArchitecture: all\nVersion: 9\nSource: x\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
    const LOCK: &str = "format 1\n\
        deb debian bash 1:5.2-2+b10 amd64 1 sha256:77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa77aa main \
        pool/main/b/bash/bash_5.2-2+b10_amd64.deb ws/tools\n";

    #[test]
    fn every_installed_package_has_one_source() {
        let installed = installed(STATUS);
        let names: Vec<_> =
            installed.iter().map(|it| (&*it.name, &*it.source.name, &*it.source.version)).collect();
        assert_eq!(names, [("bash", "bash", "1:5.2-2"), ("libx", "x", "9"), ("libx-dev", "x", "9")]);
        let lock = Lock::parse(LOCK).unwrap();
        let sources = source_packages(&installed, &lock, |name| BTreeSet::from([name.to_owned()]));
        assert_eq!(sources.len(), 2);
        assert_eq!(
            sources[0].url.as_deref(),
            Some("http://deb.debian.org/debian/pool/main/b/bash/bash_5.2-2.dsc")
        );
        let others = Lock::parse(&LOCK.replace(" main ", " http://deb.example.org/x ")).unwrap();
        assert_eq!(source_packages(&installed, &others, |_| BTreeSet::new())[0].url, None);
        assert_eq!(sources[1].packages, BTreeSet::from(["libx".to_owned(), "libx-dev".to_owned()]));
        assert_eq!((&sources[1].licences, &sources[1].url), (&sources[1].packages, &None));
    }

    #[test]
    fn licences_of_both_kinds_of_copyright_files() {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let formatted = "Format: https://www.debian.org/doc/\nLicense: MIT\n\nFiles: *\nCopyright: x\nLicense: GPL-2+\n text\n";
        assert_eq!(licences(formatted), set(&["GPL-2+", "MIT"]));
        let prose = "The licence is in /usr/share/common-licenses/GPL-3. See `/usr/share/common-licenses/LGPL-2.1' too.";
        assert_eq!(licences(prose), set(&["GPL-3", "LGPL-2.1"]));
        assert_eq!(licences("Do what you like."), set(&[]));
    }
}
