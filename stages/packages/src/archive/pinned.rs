//! A suite with the signed root that it is pinned to, and the files that this lists.

use ibuild_debian::{IndexFile, Known, Name, Release};

use crate::archive::declared::Pocket;
use crate::error::PackageError;
use crate::fetch::archive_file::ArchiveFile;

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

impl PinnedPocket {
    /// The file called `name` in the suite's directory, if it is its signed root or listed there.
    pub(crate) fn file(&self, name: &str) -> Option<ArchiveFile> {
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
    pub(crate) fn indices_about(&self, path: &str, native: &Name) -> Vec<ArchiveFile> {
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
