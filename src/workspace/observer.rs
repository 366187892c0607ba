//! Who watches a build.

use std::path::Path;

use ibuild_graph::{Event, Observer};
use ibuild_stages::packages::{ArchiveFile, FetchError, FetchObserver};
use ibuild_stages::{Artifact, BootOutcome, StageObserver, Target};

/// A target that is in its place.
#[derive(Debug, Clone, Copy)]
pub struct BuiltTarget<'a> {
    /// Its name.
    pub target: &'a Target,
    /// Its digest and its size in bytes.
    pub artifact: &'a Artifact,
    /// Its file.
    pub path: &'a Path,
    /// How many of the stages that it needs ran.
    pub ran: usize,
    /// How many of them were in the store.
    pub cached: usize,
}

/// Watches a build: its stages, what they do, what is fetched, and what becomes of the targets. Told from several threads.
pub trait BuildObserver: Observer + StageObserver + FetchObserver {
    /// So many stages are looked at.
    fn begin(&self, stages: usize);
    /// Something that the user should know, about a stage or a thing like the lock.
    fn note(&self, about: &str, text: &str);
    /// Nothing more happens to stages.
    fn end(&self);
    /// A target is in its place.
    fn built(&self, built: BuiltTarget<'_>);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl Observer for NullObserver {
    fn event(&self, _: Event<'_>) {}
}

impl StageObserver for NullObserver {
    fn progress(&self, _: &str, _: u64, _: u64) {}
    fn packed(&self, _: &str, _: u64, _: u64) {}
    fn boot_loader(&self, _: &str, _: BootOutcome) {}
    fn warning(&self, _: &str, _: &str) {}
    fn waiting(&self, _: &str, _: Option<u32>) {}
    fn ignored(&self, _: &str, _: &[String]) {}
}

impl FetchObserver for NullObserver {
    fn started(&self, _: &ArchiveFile) {}
    fn received(&self, _: &ArchiveFile, _: u64) {}
    fn finished(&self, _: &ArchiveFile, _: Result<(), &FetchError>) {}
}

impl BuildObserver for NullObserver {
    fn begin(&self, _: usize) {}
    fn note(&self, _: &str, _: &str) {}
    fn end(&self) {}
    fn built(&self, _: BuiltTarget<'_>) {}
}
