//! The frozen view: an archive as its locked roots describe it, whatever a mirror says today.
//!
//! Every answer follows the chain of signatures: the lock names an InRelease, that names the indices by digest,
//! these name the .debs. The view does no I/O but reading the store: where an index is missing it says so
//! ([`Lookup::Needs`]), and the caller fetches it and asks again.

use std::fmt;

use ibuild_cache::{Digest, Encoder, Sha256, Store};

use crate::archive::lock::Lock;
use crate::archive::roots;
use crate::archive::tables::{IndexSource, Tables};
use crate::archive::verify::Verifier;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetcher::Fetcher;
use crate::{Archive, PackageError, Pocket};
use ibuild_debian::{Base, IndexFile, Known, Name, Release};

/// What the view says about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is this file.
    File(ArchiveFile),
    /// The frozen archive has no such file.
    Missing(Missing),
    /// It cannot be told before these indices are in the store and loaded.
    Needs(Vec<ArchiveFile>),
}

/// Why a path is not in the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Its suite is not declared.
    Suite {
        /// The suites that are.
        declared: Vec<String>,
    },
    /// The suite's verified Release does not list it.
    Release {
        /// The suite.
        suite: String,
    },
    /// No verified index lists it.
    Pool {
        /// The indices that were read.
        indices: Vec<String>,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suite { declared } => {
                write!(f, "the archive is declared with the suites {}", declared.join(", "))
            }
            Self::Release { suite } => write!(f, "the signed Release of {suite} does not list it"),
            Self::Pool { indices } if indices.is_empty() => {
                f.write_str("no signed index is about such files")
            }
            Self::Pool { indices } => {
                write!(f, "no signed index lists it, neither of {}", indices.join(", "))
            }
        }
    }
}

/// A pocket with its verified root.
#[derive(Debug, Clone)]
pub struct PinnedPocket {
    /// Suite and components.
    pub pocket: Pocket,
    /// The signed root itself.
    pub inrelease: Known,
    /// What the signed root says.
    pub release: Release,
}

/// An archive, frozen.
pub struct ArchiveView {
    architecture: Name,
    pockets: Vec<PinnedPocket>,
    tables: Tables,
}

impl ArchiveView {
    /// Opens the state of `archive` that `lock` names. The roots come from the store; one that is not there is
    /// fetched, and has to be the one that is locked.
    pub fn open(
        store: &Store,
        archive: &Archive,
        lock: &Lock,
        fetcher: &Fetcher,
        verifier: &dyn Verifier,
    ) -> Result<Self, PackageError> {
        let open = |pocket: Pocket| {
            let locked = lock.release(&archive.name, &pocket.base, &pocket.suite);
            let not_locked =
                || PackageError::NotLocked { archive: archive.name.clone(), suite: pocket.suite.clone() };
            let locked = locked.ok_or_else(not_locked)?;
            let inrelease = locked.inrelease;
            fetcher.look_back(&pocket.base, locked.date);
            let release = roots::open(store, &pocket, inrelease, fetcher, verifier)?;
            Ok(PinnedPocket { pocket, inrelease, release })
        };
        let pockets = archive.pockets()?.into_iter().map(open).collect::<Result<_, PackageError>>()?;
        Ok(Self::new(store, archive.architecture.parse()?, pockets))
    }

    /// Archives seen as one; where they have the same of a package, the first has it.
    pub fn join(store: &Store, views: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut views = views.into_iter();
        let Self { architecture, mut pockets, .. } = views.next()?;
        pockets.extend(views.flat_map(|view| view.pockets));
        Some(Self::new(store, architecture, pockets))
    }

    pub(crate) fn new(store: &Store, architecture: Name, pockets: Vec<PinnedPocket>) -> Self {
        Self { architecture, pockets, tables: Tables::new(store) }
    }

    /// The machine it is for.
    pub fn architecture(&self) -> &Name {
        &self.architecture
    }

    /// The pockets in the order of declaration.
    pub fn pockets(&self) -> &[PinnedPocket] {
        &self.pockets
    }

    /// Names the state of the archive as far as a stage could observe it: equal views have equal digests.
    pub fn digest(&self) -> Sha256 {
        let mut encoder = Encoder::new("ibuild archive view 1");
        encoder.text(self.architecture.as_str());
        encoder.sequence(self.pockets.len());
        for pinned in &self.pockets {
            encoder.text(&pinned.pocket.base.to_string());
            encoder.text(pinned.pocket.suite.as_str());
            encoder.digest(pinned.inrelease.sha256.as_bytes());
            encoder.sequence(pinned.pocket.components.len());
            pinned.pocket.components.iter().for_each(|component| encoder.text(component.as_str()));
            pinned.pocket.foreign.iter().for_each(|architecture| encoder.text(architecture.as_str()));
        }
        Sha256::of(&encoder.finish())
    }

    /// What the file at `path` under `base` is.
    pub fn lookup(&self, base: &Base, path: &str) -> Lookup {
        let listed = |pinned: &PinnedPocket| {
            let name = path.strip_prefix(&pinned.pocket.suite.directory())?;
            pinned.file(name)
        };
        if let Some(file) = self.of_base(base).find_map(listed) {
            return Lookup::File(file);
        }
        // Some archives have their packages there, too.
        match path.starts_with("dists/") && !path.ends_with(".deb") {
            true => Lookup::Missing(self.missing_in_suites(base, path)),
            false => self.lookup_pool(base, path),
        }
    }

    fn of_base(&self, base: &Base) -> impl Iterator<Item = &PinnedPocket> {
        self.pockets.iter().filter(move |pinned| pinned.pocket.base == *base)
    }

    fn missing_in_suites(&self, base: &Base, path: &str) -> Missing {
        let is_under = |p: &&PinnedPocket| format!("{path}/").starts_with(&p.pocket.suite.directory());
        match self.of_base(base).find(is_under) {
            Some(pinned) => Missing::Release { suite: pinned.pocket.suite.to_string() },
            None => {
                let suites = self.pockets.iter().filter(|p| p.pocket.base.is_debian() == base.is_debian());
                let declared = suites.map(|pinned| pinned.pocket.suite.to_string()).collect();
                Missing::Suite { declared }
            }
        }
    }

    /// Walks the indices in order, so that the answer does not depend on what else has been loaded.
    fn lookup_pool(&self, base: &Base, path: &str) -> Lookup {
        let indices: Vec<_> =
            self.of_base(base).flat_map(|p| p.indices_about(path, &self.architecture)).collect();
        let (mut tables, mut missing) = (Vec::new(), Vec::new());
        for index in &indices {
            match self.tables.get(&index.known.sha256) {
                Some(table) => tables.push(table),
                None => missing.push(index.clone()),
            }
        }
        if !missing.is_empty() {
            return Lookup::Needs(missing);
        }
        match tables.iter().find_map(|table| table.get(path)) {
            Some(known) => {
                Lookup::File(ArchiveFile { base: base.clone(), paths: vec![path.to_owned()], known })
            }
            None => {
                let indices = indices.iter().map(|index| index.path().to_owned()).collect();
                Lookup::Missing(Missing::Pool { indices })
            }
        }
    }

    /// Reads an index from the store so that lookups can use it. Takes a second for the largest.
    pub fn load(&self, index: &ArchiveFile) -> Result<(), PackageError> {
        self.tables.load(index, IndexSource::Store).map(drop)
    }

    /// The text of an index that is in the store, checked again.
    pub(crate) fn text(&self, index: &ArchiveFile) -> Result<String, PackageError> {
        self.tables.text(index)
    }
}

impl PinnedPocket {
    /// The file called `name` in the suite's directory, if it is its signed root or listed there.
    fn file(&self, name: &str) -> Option<ArchiveFile> {
        if name == "InRelease" {
            let (base, paths) = (self.pocket.base.clone(), vec![self.pocket.inrelease()]);
            return Some(ArchiveFile { base, paths, known: self.inrelease });
        }
        let listed = self.release.file(name).or_else(|| self.release.by_hash(name));
        listed.map(|file| self.index(&file))
    }

    /// A listed index: by its digest first, because that name survives the mirror's next update.
    pub(crate) fn index(&self, file: &IndexFile) -> ArchiveFile {
        let dir = self.pocket.suite.directory();
        let parent = file.path.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
        let by_hash = format!("{dir}{parent}by-hash/SHA256/{}", file.known.sha256.hex());
        let paths = vec![by_hash, format!("{dir}{}", file.path)];
        ArchiveFile { base: self.pocket.base.clone(), paths, known: file.known }
    }

    /// The indices of packages that are declared, or the first component that the suite does not have.
    pub(crate) fn declared_indices(&self, native: &Name) -> Result<Vec<ArchiveFile>, PackageError> {
        let mut indices = Vec::new();
        for architecture in [native].into_iter().chain(&self.pocket.foreign) {
            for index in self.indices_for(architecture)? {
                if !indices.contains(&index) {
                    indices.push(index);
                }
            }
        }
        Ok(indices)
    }

    /// Those of one architecture.
    pub(crate) fn indices_for(&self, architecture: &Name) -> Result<Vec<ArchiveFile>, PackageError> {
        let suite = || self.pocket.suite.clone();
        if self.pocket.suite.is_flat() {
            let index =
                self.release.flat_packages().ok_or_else(|| PackageError::NoFlatIndex { suite: suite() })?;
            return Ok(vec![self.index(index)]);
        }
        let mut indices = Vec::new();
        for component in &self.pocket.components {
            let found = self.release.packages(component.as_str(), architecture.as_str());
            if found.is_empty() {
                let known = self.release.components(architecture.as_str());
                return Err(PackageError::NoIndex {
                    suite: suite(),
                    component: component.clone(),
                    architecture: architecture.clone(),
                    known: known.into_iter().map(str::to_owned).collect(),
                });
            }
            indices.extend(found.iter().map(|file| self.index(file)));
        }
        Ok(indices)
    }

    /// The indices that could list a file of the pool: those of the declared components, and of the component
    /// and architecture that its path names, should a script have added them to its sources.
    fn indices_about(&self, path: &str, native: &Name) -> Vec<ArchiveFile> {
        let Some(stem) = path.strip_suffix(".deb") else { return self.sources_about(path, native) };
        if self.pocket.suite.is_flat() {
            return self.release.flat_packages().map(|index| self.index(index)).into_iter().collect();
        }
        let named = stem.rsplit_once('_').map_or("all", |(_, architecture)| architecture);
        // What is for all machines, or called as its maker likes, may be in the index of each.
        let architectures: Vec<&str> = match self.release.architectures().contains(named) && named != "all" {
            true => vec![named],
            false => [native].into_iter().chain(&self.pocket.foreign).map(Name::as_str).collect(),
        };
        let mut files: Vec<ArchiveFile> = Vec::new();
        for architecture in architectures {
            for component in self.components_about(path, architecture) {
                let found = self.release.packages(component, architecture);
                let found: Vec<_> = found.iter().map(|file| self.index(file)).collect();
                files.extend(found.into_iter().filter(|file| !files.contains(file)).collect::<Vec<_>>());
            }
        }
        files
    }

    /// What is no package is a part of a source package.
    fn sources_about(&self, path: &str, native: &Name) -> Vec<ArchiveFile> {
        let found: Vec<_> = match self.pocket.suite.is_flat() {
            true => self.release.flat_sources().into_iter().collect(),
            false => {
                let components = self.components_about(path, native.as_str()).into_iter();
                components.filter_map(|component| self.release.sources(component)).collect()
            }
        };
        found.iter().map(|file| self.index(file)).collect()
    }

    fn components_about(&self, path: &str, architecture: &str) -> Vec<&str> {
        let declared = self.pocket.components.iter().map(Name::as_str);
        let known = self.release.components(architecture).into_iter();
        let in_path = known.filter(|component| path.split('/').any(|part| part == *component));
        let mut components: Vec<&str> = Vec::new();
        for component in declared.chain(in_path) {
            if !components.contains(&component) {
                components.push(component);
            }
        }
        components
    }
}

#[cfg(test)]
mod tests;
