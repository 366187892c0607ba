//! The archives of a project: its lock, their frozen views, and what fetches and serves them. Made when first needed: a
//! build of which nothing is dirty opens no socket and starts no thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use ibuild_cache::Store;
use ibuild_graph::Value;

use super::StageError;
use crate::packages::{
    Acceptance, Archive, ArchiveView, FetchObserver, Fetcher, Gpgv, Lock, LockedRelease, MirrorOverride,
    Mirrors, PackageError, Patience, Proxy, Staleness, Timestamp, Upstream, glance, record,
};
use crate::recipe::{self, ArchiveName};

/// How archives are reached. Never part of a key.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// Where the lock is.
    pub lock: PathBuf,
    /// Mirrors that win over the host's own.
    pub mirrors: MirrorOverride,
    /// Whether to fetch at all.
    pub access: Access,
    /// What to do about an archive that the lock does not know.
    pub unlocked: Unlocked,
}

/// Whether anything may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// From the mirrors.
    #[default]
    Online,
    /// No socket is opened.
    Offline,
}

/// What to do about an archive that the lock does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unlocked {
    /// Look at the mirror and write its state into the lock.
    #[default]
    Record,
    /// Fail.
    Refuse,
}

/// The archives of a project.
pub struct Archives<'s> {
    store: &'s Store,
    declared: BTreeMap<ArchiveName, recipe::Archive>,
    options: ArchiveOptions,
    observer: Arc<dyn FetchObserver>,
    lock: Mutex<Option<Lock>>,
    fetcher: OnceLock<Fetcher>,
    views: Mutex<BTreeMap<ArchiveName, Arc<ArchiveView>>>,
}

impl<'s> Archives<'s> {
    /// The archives that a recipe declares.
    pub fn new(
        store: &'s Store,
        declared: &BTreeMap<ArchiveName, recipe::Archive>,
        options: ArchiveOptions,
        observer: Arc<dyn FetchObserver>,
    ) -> Self {
        let (lock, fetcher, views) = Default::default();
        Self { store, declared: declared.clone(), options, observer, lock, fetcher, views }
    }

    fn archive(&self, name: &ArchiveName) -> Archive {
        let declared = &self.declared[name];
        Archive {
            name: name.to_string(),
            suites: declared.suites.clone(),
            security: declared.security.clone(),
            components: declared.components.clone(),
            architecture: declared.architecture.to_string(),
        }
    }

    /// What fetches, for everybody.
    pub(super) fn fetcher(&self) -> Result<&Fetcher, StageError> {
        if let Some(fetcher) = self.fetcher.get() {
            return Ok(fetcher);
        }
        let upstream = match self.options.access {
            Access::Online => Upstream::Mirrors(Mirrors::of_host(&self.mirrors())?),
            Access::Offline => {
                let elsewhere = self.options.mirrors.elsewhere().map_err(PackageError::from)?;
                Upstream::Offline(elsewhere.offline())
            }
        };
        let fetcher = Fetcher::new(self.store, upstream, Patience::default(), self.observer.clone())?;
        Ok(self.fetcher.get_or_init(|| fetcher))
    }

    /// The settings of the machine win over those of the recipe, which win over the host's apt.
    fn mirrors(&self) -> MirrorOverride {
        let or_recipe = |wishes: &[String], pick: fn(&recipe::Archive) -> &Option<String>| match wishes {
            [] => self.declared.values().find_map(|a| pick(a).clone()).into_iter().collect(),
            wishes => wishes.to_vec(),
        };
        MirrorOverride {
            main: or_recipe(&self.options.mirrors.main, |a| &a.mirror),
            security: or_recipe(&self.options.mirrors.security, |a| &a.security_mirror),
            ..self.options.mirrors.clone()
        }
    }

    pub(super) fn proxy(&self) -> Result<Proxy, StageError> {
        Ok(Proxy::new(self.fetcher()?))
    }

    /// The lock as it is on disk, read once.
    fn with_lock<T>(&self, act: impl FnOnce(&mut Lock) -> Result<T, StageError>) -> Result<T, StageError> {
        let mut lock = self.lock.lock().expect("no panic while held");
        if lock.is_none() {
            *lock = Some(Lock::read(&self.options.lock)?.unwrap_or_default());
        }
        act(lock.as_mut().expect("it was just read"))
    }

    /// What a key knows of an archive: its declaration, and the state that the lock pins. An archive that is not
    /// locked has no state yet.
    pub(super) fn describe(&self, name: &ArchiveName) -> Result<Value, StageError> {
        let archive = self.archive(name);
        let pockets = archive.pockets()?;
        let roots = self.with_lock(|lock| {
            let root = |pocket: &crate::packages::Pocket| {
                let locked = lock.release(&archive.name, &pocket.base, &pocket.suite);
                Value::option(locked.map(|locked| Value::Digest(*locked.inrelease.sha256.as_bytes())))
            };
            Ok(pockets
                .iter()
                .map(|pocket| (format!("{} {}", pocket.base, pocket.suite), root(pocket)))
                .collect::<Vec<_>>())
        })?;
        Ok(Value::map([
            ("architecture", archive.architecture.as_str().into()),
            ("components", Value::texts(&archive.components)),
            ("roots", Value::map(roots)),
        ]))
    }

    /// Makes sure that the lock knows an archive. Has to come before the archive is described for a build.
    pub fn ensure_locked(&self, name: &ArchiveName) -> Result<(), StageError> {
        let archive = self.archive(name);
        let pockets = archive.pockets()?;
        let is_locked = self.with_lock(|lock| {
            Ok(pockets.iter().all(|p| lock.release(&archive.name, &p.base, &p.suite).is_some()))
        })?;
        match self.options.unlocked {
            _ if is_locked => Ok(()),
            Unlocked::Refuse => Err(StageError::NotLocked { archive: archive.name }),
            Unlocked::Record => {
                let mut lock = self.lock()?;
                lock.set_archive(name.as_str(), self.current(name, &[])?);
                self.write_lock(lock)
            }
        }
    }

    /// The lock as it is.
    pub fn lock(&self) -> Result<Lock, StageError> {
        self.with_lock(|lock| Ok(lock.clone()))
    }

    /// Writes another lock.
    pub fn write_lock(&self, new: Lock) -> Result<(), StageError> {
        self.with_lock(|lock| {
            new.write(&self.options.lock)?;
            *lock = new;
            Ok(())
        })
    }

    /// The state of an archive on the mirror, with all that belongs to it in the store.
    pub(super) fn current(
        &self,
        name: &ArchiveName,
        tolerated: &[Staleness],
    ) -> Result<Vec<LockedRelease>, StageError> {
        let (archive, fetcher) = (self.archive(name), self.fetcher()?);
        self.with_lock(|lock| {
            let acceptance = Acceptance { now: Timestamp::now(), lock, tolerated };
            Ok(record(self.store, &archive, fetcher, &Gpgv::default(), acceptance)?)
        })
    }

    /// The state of an archive on the mirror, and nothing that belongs to it.
    pub(super) fn glance(
        &self,
        name: &ArchiveName,
        tolerated: &[Staleness],
    ) -> Result<Vec<LockedRelease>, StageError> {
        let (archive, fetcher) = (self.archive(name), self.fetcher()?);
        self.with_lock(|lock| {
            let acceptance = Acceptance { now: Timestamp::now(), lock, tolerated };
            Ok(glance(self.store, &archive, fetcher, &Gpgv::default(), acceptance)?)
        })
    }

    /// The frozen view of an archive.
    pub(super) fn view(&self, name: &ArchiveName) -> Result<Arc<ArchiveView>, StageError> {
        let mut views = self.views.lock().expect("no panic while held");
        if let Some(view) = views.get(name) {
            return Ok(view.clone());
        }
        let view = Arc::new(self.open_view(name, &self.lock()?)?);
        views.insert(name.clone(), view.clone());
        Ok(view)
    }

    /// The view of an archive that a lock freezes.
    pub(super) fn open_view(&self, name: &ArchiveName, lock: &Lock) -> Result<ArchiveView, StageError> {
        let archive = self.archive(name);
        Ok(ArchiveView::open(self.store, &archive, lock, self.fetcher()?, &Gpgv::default())?)
    }

    /// The text of the image's own sources.
    pub(super) fn sources(&self, name: &ArchiveName) -> String {
        crate::packages::sources_deb822(&self.archive(name))
    }
}
