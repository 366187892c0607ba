//! What an update of the lock would change: the states of suites, and the packages that stages use of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::StageError;
use crate::executor::archives::Archives;
use crate::packages::{ArchiveView, DebRef, Lock, LockedDeb, LockedRelease, Staleness, candidates};
use crate::recipe::ArchiveName;
use ibuild_debian::Name;

/// What the mirrors have now of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockUpdate {
    /// The states of its suites.
    pub releases: Vec<LockedRelease>,
    /// Locked packages of which apt would install another version.
    pub packages: Vec<PackageChange>,
}

/// A locked package, and what apt would install in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageChange {
    /// As it is locked.
    pub old: LockedDeb,
    /// As the mirror has it; `None` if it has not.
    pub new: Option<DebRef>,
}

impl Archives<'_> {
    /// Looks at the mirror. While nothing has moved, this costs one request for each suite.
    ///
    /// Compared are the packages that are locked, by name, with the candidates of their architecture. That none of
    /// them has changed does not prove that a stage would get nothing else: a package that was not there before may be
    /// preferred among alternatives.
    pub fn lock_update(&self, name: &ArchiveName, tolerated: &[Staleness]) -> Result<LockUpdate, StageError> {
        let lock = self.lock()?;
        let probed = self.probe(name, tolerated)?;
        if probed.iter().all(|now| lock.releases().contains(now)) {
            return Ok(LockUpdate { releases: probed, packages: Vec::new() });
        }
        let releases = self.current(name, tolerated)?;
        let mut moved = Lock::default();
        moved.set_archive(name.as_str(), releases.clone());
        let view = self.open_view(name, &moved)?;
        let locked: Vec<_> =
            lock.debs().map(|(locked, _)| locked).filter(|l| l.archive.as_str() == name.as_str()).collect();
        let mut packages = Vec::new();
        let foreign = self.foreign_of(name)?;
        for architecture in [view.architecture()].into_iter().chain(&foreign) {
            let is_comparable = |deb: &DebRef| {
                let is_for_all = deb.architecture.as_str() == "all" && architecture == view.architecture();
                is_for_all || deb.architecture == *architecture
            };
            let locked: Vec<_> = locked.iter().copied().filter(|locked| is_comparable(&locked.deb)).collect();
            packages.extend(self.changed(&view, architecture, &locked)?);
        }
        Ok(LockUpdate { releases, packages })
    }

    /// Those of the locked packages for machines of an architecture that are not what apt would install.
    fn changed(
        &self,
        view: &ArchiveView,
        architecture: &Name,
        locked: &[&LockedDeb],
    ) -> Result<Vec<PackageChange>, StageError> {
        if locked.is_empty() {
            return Ok(Vec::new());
        }
        let names: BTreeSet<_> = locked.iter().map(|locked| locked.deb.name.as_str()).collect();
        let found = candidates(view, architecture, self.fetcher()?, &names)?;
        let found: BTreeMap<_, _> = found.iter().map(|deb| (deb.name.as_str(), deb)).collect();
        let mut packages = Vec::new();
        for old in locked {
            let new = found.get(old.deb.name.as_str()).copied();
            if new.is_none_or(|new| new.sha256 != old.deb.sha256) {
                packages.push(PackageChange { old: (*old).clone(), new: new.cloned() });
            }
        }
        Ok(packages)
    }

    /// Locks what the mirrors have now. Packages that change are exchanged in the lock: the next build adds what they newly
    /// depend on.
    pub fn adopt(&self, name: &ArchiveName, update: &LockUpdate) -> Result<(), StageError> {
        let mut lock = self.lock()?;
        lock.set_archive(name.as_str(), update.releases.clone());
        for PackageChange { old, new } in &update.packages {
            lock.exchange(old, new.as_ref());
        }
        self.write_lock(lock)
    }
}
