//! What a stage asked an archive for, and whether another state of the archive would have answered alike.

use std::collections::BTreeMap;

use hyper::{Method, Uri};
use ibuild_cache::{Record, Sha256};
use serde::{Deserialize, Serialize};

use super::PackageError;
use super::address::Addresses;
use super::exchange::{StageFetch, Verdict};
use super::fetch::Fetcher;
use super::target::Target;
use super::view::{ArchiveView, Lookup};

/// Every address that a stage asked for, and the file that it got. What the proxy answers follows from that file and from the
/// request, so a stage that would get the same files cannot tell the states of the archive apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked(BTreeMap<String, Sha256>);

impl Record for Asked {
    const SCHEMA: u16 = 1;
}

impl Asked {
    /// What a stage asked for. `None` if something was refused: that may have been for a reason that is none of the archive's,
    /// and the text of the refusal says more about the archive than that the file is not there.
    pub fn of(fetches: &[StageFetch]) -> Option<Self> {
        let answered = |fetch: &StageFetch| match (&fetch.file, fetch.verdict) {
            (_, Verdict::Refused(_)) | (None, _) => None,
            (Some(file), _) => Some((fetch.address.clone(), file.known.sha256)),
        };
        fetches.iter().map(answered).collect::<Option<_>>().map(Self)
    }

    /// Whether it was nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a view has the same file at each of the addresses. Indices that it takes to know are
    /// fetched; what cannot be known is not the same.
    pub fn would_get_the_same(&self, view: &ArchiveView, fetcher: &Fetcher) -> Result<bool, PackageError> {
        let known = Addresses::of(view);
        for (address, sha256) in &self.0 {
            if file_at(address, &known, view, fetcher)? != Some(*sha256) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn file_at(
    address: &str,
    known: &Addresses,
    view: &ArchiveView,
    fetcher: &Fetcher,
) -> Result<Option<Sha256>, PackageError> {
    let uri = address.parse::<Uri>().ok();
    let target = uri.and_then(|uri| Target::parse(&Method::GET, &uri, known).ok());
    let Some(Target { base, path }) = target else { return Ok(None) };
    loop {
        match view.lookup(&base, &path) {
            Lookup::File(file) => return Ok(Some(file.known.sha256)),
            Lookup::Missing(_) => return Ok(None),
            Lookup::Needs(indices) => {
                for index in &indices {
                    // A stage that needs it will say what is wrong.
                    if fetcher.fetch(index).is_err() {
                        return Ok(None);
                    }
                    view.load(index)?;
                }
            }
        }
    }
}
