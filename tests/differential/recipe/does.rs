//! What a step does, as far as the others need to know.

use super::Writer;
use crate::tables::Table;

/// How a step is written.
pub type Step = for<'w, 'c> fn(&'w mut Writer<'c>, &'w mut Table<'c>) -> Does;

/// What a step does, as far as others need to know.
#[derive(Default)]
pub struct Does {
    /// It runs something, with an environment.
    pub environment: bool,
    /// It may use the archives.
    pub archives: bool,
    /// Nothing of what it does is kept.
    pub is_check: bool,
    /// The root file system that it copies from.
    pub from: Option<String>,
    /// If it is several: what each is called, and what counts of each alone.
    pub stages: Vec<(String, String)>,
}

impl Does {
    /// A step that runs something.
    pub fn run() -> Self {
        Self { environment: true, ..Self::default() }
    }
}
