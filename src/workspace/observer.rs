//! Who watches a build.

use std::path::Path;

use ibuild_graph::{Event, Observer};
use ibuild_stages::packages::FetchObserver;
use ibuild_stages::{Artifact, StageObserver, Target};

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

/// Watches a build: its stages, what they do, what is fetched, and what becomes of the targets. Told from
/// several threads. Events of stages carry ids, whose names are in [`Workspace::project`](crate::Workspace::project). What an
/// observer does not implement it ignores.
pub trait BuildObserver: Observer + StageObserver + FetchObserver {
    /// The build starts; it has so many stages.
    fn begin(&self, _stages: usize) {}
    /// Something that the user should know, about a stage or a thing like the lock.
    fn note(&self, _about: &str, _text: &str) {}
    /// Nothing more happens to stages.
    fn end(&self) {}
    /// A target is in its place.
    fn built(&self, _built: BuiltTarget<'_>) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl Observer for NullObserver {
    fn event(&self, _: Event<'_>) {}
}

impl StageObserver for NullObserver {}

impl FetchObserver for NullObserver {}

impl BuildObserver for NullObserver {}
