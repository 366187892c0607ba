//! What a copy reads, opened while the host's file system can still be seen.

use std::fs::File;

use super::super::mounts::{SetupResult, failed};
use super::super::spec::{SourcePlace, Spec};
use super::project::Source;

/// The sources of a copy, one for each item.
pub struct Sources(Vec<Option<OpenSource>>);

/// An open source.
enum OpenSource {
    Project(Source),
    Fetched(File),
}

impl Sources {
    /// Opens everything that a copy reads.
    pub fn open(spec: &Spec) -> SetupResult<Self> {
        let open = |place: &Option<SourcePlace>| place.as_ref().map(OpenSource::open).transpose();
        Ok(Self(spec.place.sources.iter().map(open).collect::<SetupResult<_>>()?))
    }

    /// The source of an item that copies from the project.
    pub(super) fn of_project(&self, item: usize) -> SetupResult<&Source> {
        match self.0.get(item) {
            Some(Some(OpenSource::Project(source))) => Ok(source),
            _ => Err("a copy has no source".to_owned()),
        }
    }

    /// The fetched file of an item.
    pub(super) fn fetched(&self, item: usize) -> SetupResult<&File> {
        match self.0.get(item) {
            Some(Some(OpenSource::Fetched(file))) => Ok(file),
            _ => Err("a fetched file has no source".to_owned()),
        }
    }
}

impl OpenSource {
    fn open(place: &SourcePlace) -> SetupResult<Self> {
        match place {
            SourcePlace::Project { path, list } => Source::open(path, list).map(Self::Project),
            SourcePlace::Fetched(path) => {
                File::open(path).map(Self::Fetched).map_err(failed("open the fetched file"))
            }
        }
    }
}
