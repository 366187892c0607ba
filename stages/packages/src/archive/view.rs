//! The frozen view: an archive as its locked roots describe it, whatever a mirror says today.
//!
//! Every answer follows the chain of signatures: the lock names an InRelease, that names the indices by digest,
//! these name the .debs. The view does no I/O but reading the store: where an index is missing it says so
//! ([`Lookup::Needs`]), and the caller fetches it and asks again.

use std::fmt;

use ibuild_cache::{Digest, Encoder, Sha256, Store};

use crate::archive::lock::Lock;
use crate::archive::pinned::PinnedPocket;
use crate::archive::signed_release;
use crate::archive::tables::{IndexSource, Tables};
use crate::archive::verify::Verifier;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetcher::Fetcher;
use crate::{Archive, PackageError, Pocket};
use ibuild_debian::{Base, Name};

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
            let release = signed_release::open(store, &pocket, inrelease, fetcher, verifier)?;
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

#[cfg(test)]
mod tests;
