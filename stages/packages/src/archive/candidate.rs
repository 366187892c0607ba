//! Which version of a package apt would install.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::Sha256;
use serde::{Deserialize, Serialize};

use crate::PackageError;
use crate::archive::view::ArchiveView;
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::fetcher::Fetcher;
use ibuild_debian::{
    Base, Identity, Known, Name, Preference, Version,
    index::{Stanza, stanzas},
    version,
};

/// A .deb of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DebRef {
    /// The package.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// `amd64`, or `all`.
    pub architecture: Name,
    /// The part of the archive it comes from.
    pub base: Base,
    /// Where it lies there.
    pub path: String,
    /// The digest of the .deb.
    pub sha256: Sha256,
    /// Its size.
    pub size: u64,
}

impl DebRef {
    /// The .deb as a file to fetch.
    pub fn file(&self) -> ArchiveFile {
        let known = Known { sha256: self.sha256, size: self.size };
        ArchiveFile { base: self.base.clone(), paths: vec![self.path.clone()], known }
    }
}

/// The versions that apt would install of packages that are called by name, for machines of an architecture; those that
/// the view does not have are left out.
pub fn candidates(
    view: &ArchiveView,
    architecture: &Name,
    fetcher: &Fetcher,
    names: &BTreeSet<&str>,
) -> Result<Vec<DebRef>, PackageError> {
    let texts = read_indices(view, architecture, fetcher)?;
    let best = best(&texts, architecture);
    names.iter().filter_map(|name| best.get(name)).map(Candidate::deb).collect()
}

/// The best candidate of each name. The index of a flat repository may be about several architectures.
pub(crate) fn best<'t>(texts: &'t [IndexText], architecture: &Name) -> BTreeMap<&'t str, Candidate<'t>> {
    let is_for = |stanza: &Stanza<'_>| [architecture.as_str(), "all"].contains(&stanza.architecture);
    let mut candidates: BTreeMap<&str, Candidate<'_>> = BTreeMap::new();
    for IndexText { base, preference, path, text } in texts {
        for stanza in stanzas(text).filter(is_for) {
            let next = Candidate { base, preference: *preference, index: path, stanza };
            match candidates.get(next.stanza.package) {
                Some(best) if !next.is_better_than(best) => {}
                _ => drop(candidates.insert(next.stanza.package, next)),
            }
        }
    }
    candidates
}

/// The text of an index with where it comes from.
pub(crate) struct IndexText {
    pub(crate) base: Base,
    pub(crate) preference: Preference,
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The declared indices of a view that an architecture has.
pub(crate) fn read_indices(
    view: &ArchiveView,
    architecture: &Name,
    fetcher: &Fetcher,
) -> Result<Vec<IndexText>, PackageError> {
    let mut texts = Vec::new();
    for pinned in view.pockets() {
        if architecture != view.architecture() && !pinned.pocket.foreign.contains(architecture) {
            continue;
        }
        let indices = pinned.indices_for(architecture)?;
        fetcher.fetch_all(&indices, indices.len())?;
        for index in indices {
            let (base, preference) = (index.base.clone(), pinned.release.preference);
            texts.push(IndexText {
                base,
                preference,
                text: view.text(&index)?,
                path: index.path().to_owned(),
            });
        }
    }
    Ok(texts)
}

/// The version of a package that apt would install.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    base: &'a Base,
    preference: Preference,
    index: &'a str,
    pub(crate) stanza: Stanza<'a>,
}

impl Candidate<'_> {
    /// Between equal versions the suite that is declared first wins.
    fn is_better_than(&self, other: &Self) -> bool {
        let by_preference = other.preference.cmp(&self.preference);
        let order = by_preference.then_with(|| version::compare(self.stanza.version, other.stanza.version));
        order.is_gt()
    }

    pub(crate) fn deb(&self) -> Result<DebRef, PackageError> {
        let stanza = &self.stanza;
        let Known { sha256, size } =
            stanza.known().map_err(|source| PackageError::Index { path: self.index.to_owned(), source })?;
        let said = [stanza.package, stanza.version, stanza.architecture];
        let Identity { name, version, architecture } = Identity::parse(said, self.index)?;
        Ok(DebRef {
            name,
            version,
            architecture,
            base: self.base.clone(),
            path: stanza.filename.to_owned(),
            sha256,
            size,
        })
    }
}
