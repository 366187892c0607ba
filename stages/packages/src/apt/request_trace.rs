//! What a stage asked an archive for, and whether another state of the archive would have answered alike.

use std::collections::{BTreeMap, BTreeSet};

use hyper::{Method, Uri};
use ibuild_cache::{Record, Sha256};
use serde::{Deserialize, Serialize};

use crate::PackageError;
use crate::archive::view::{ArchiveView, Lookup};
use crate::fetch::fetcher::Fetcher;
use crate::proxy::access_record::{CacheStatus, StageFetch};
use crate::proxy::address::Addresses;
use crate::proxy::target::Target;

/// Every address that a stage asked for, and the file that it got. What the proxy answers follows from that file and from the
/// request, so a stage that would get the same files cannot tell the states of the archive apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestTrace {
    answers: BTreeMap<String, Sha256>,
    order: Order,
}

/// In which order something was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Order {
    /// Indices, then packages, none of them twice: as apt asks that updates once and installs once. Programs of these packages
    /// run when apt has them all, so none of them has asked for anything.
    #[default]
    OfApt,
    /// Any other.
    Other,
}

impl Order {
    fn of(fetches: &[StageFetch]) -> Self {
        let is_package =
            |fetch: &&StageFetch| fetch.file.as_ref().is_some_and(|file| file.path().ends_with(".deb"));
        let mut seen = BTreeSet::new();
        let mut packages = fetches.iter().skip_while(|fetch| !is_package(fetch));
        match packages.all(|fetch| is_package(&fetch) && seen.insert(&fetch.address)) {
            true => Self::OfApt,
            false => Self::Other,
        }
    }
}

impl Record for RequestTrace {
    const SCHEMA: u16 = 2;
}

impl RequestTrace {
    /// What a stage asked for. `None` if something was refused: that may have been for a reason that is none of the archive's,
    /// and the text of the refusal says more about the archive than that the file is not there.
    pub fn of(fetches: &[StageFetch]) -> Option<Self> {
        let answered = |fetch: &StageFetch| match (&fetch.file, fetch.verdict) {
            (_, CacheStatus::Refused(_)) | (None, _) => None,
            (Some(file), _) => Some((fetch.address.clone(), file.known.sha256)),
        };
        let answers = fetches.iter().map(answered).collect::<Option<_>>()?;
        Some(Self { answers, order: Order::of(fetches) })
    }

    /// Whether apt asked for all of it, if apt updated and installed once and did nothing else.
    pub fn is_of_apt_alone(&self) -> bool {
        self.order == Order::OfApt
    }

    /// Whether it was nothing.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Whether a view has the same file at each of the addresses. Indices that it takes to know are
    /// fetched; what cannot be known is not the same.
    pub fn would_get_the_same(&self, view: &ArchiveView, fetcher: &Fetcher) -> Result<bool, PackageError> {
        let known = Addresses::of(view);
        for (address, sha256) in &self.answers {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::archive_file::ArchiveFile;
    use ibuild_cache::Digest;
    use ibuild_debian::{Base, Known};

    fn asked(paths: &[&str]) -> RequestTrace {
        let fetch = |path: &&str| {
            let known = Known { sha256: Sha256::of(path.as_bytes()), size: 9 };
            let file = ArchiveFile { base: Base::Main, paths: vec![(*path).to_owned()], known };
            let address = format!("http://deb.debian.org/debian/{path}");
            StageFetch { address, file: Some(file), verdict: CacheStatus::Hit, problem: None }
        };
        RequestTrace::of(&paths.iter().map(fetch).collect::<Vec<_>>()).unwrap()
    }

    /// A regression: a package whose script asked for the root of the suite was taken for one that does not know it.
    #[test]
    fn what_programs_of_packages_ask_for_is_told_from_what_apt_asks_for() {
        let (root, index) = ("dists/trixie/InRelease", "dists/trixie/main/binary-amd64/Packages.xz");
        let (a, b) = ("pool/a.deb", "pool/b.deb");
        for paths in [&[][..], &[root], &[root, index], &[root, index, a, b], &[root, root, a]] {
            assert!(asked(paths).is_of_apt_alone(), "{paths:?}");
        }
        for paths in [&[root, a, root][..], &[root, a, index], &[root, a, b, a], &[a, index, b]] {
            assert!(!asked(paths).is_of_apt_alone(), "{paths:?}");
        }
    }
}
