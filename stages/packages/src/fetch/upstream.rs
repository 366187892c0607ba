//! Where files may be fetched from.

use crate::fetch::fallback_sources::FallbackSources;
use crate::fetch::mirror::Mirrors;

/// Whether anything may be fetched at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// From these mirrors, and where else they say.
    Mirrors(Mirrors),
    /// No socket is opened: everything has to be in the store, or in others on this machine.
    Offline(FallbackSources),
}

impl Upstream {
    /// Where files are that no mirror has.
    pub(crate) fn elsewhere(&self) -> &FallbackSources {
        match self {
            Self::Mirrors(mirrors) => &mirrors.elsewhere,
            Self::Offline(elsewhere) => elsewhere,
        }
    }
}
