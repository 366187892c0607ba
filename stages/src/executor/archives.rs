//! The archives of a project: its lock, their frozen views, and what fetches and serves them. Made when first needed: a
//! build of which nothing is dirty opens no socket and starts no thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ibuild_cache::{RunDir, Store};
use ibuild_graph::Value;

use crate::StageError;
use crate::fields::ROOTS;
use crate::packages::{
    Acceptance, Archive, ArchiveView, FetchObserver, Fetcher, Gpgv, Lock, LockedRelease, MirrorOverride,
    Mirrors, Origin, PackageError, Patience, Pocket, Proxy, Staleness, Upstream, Verifier, probe, record,
};
use crate::recipe::{self, Architecture, ArchiveName, ArchiveNames};
use ibuild_debian::{Base, Name, Timestamp};

/// How the state of an archive on its mirror is found: [`record`] or [`probe`].
type Look =
    fn(&Store, &Archive, &Fetcher, &dyn Verifier, Acceptance<'_>) -> Result<Vec<LockedRelease>, PackageError>;

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
    views: Mutex<BTreeMap<Vec<ArchiveName>, Arc<ArchiveView>>>,
    /// Where gpgv finds the keys of archives that are not Debian's.
    keyrings: Mutex<Option<RunDir>>,
}

impl<'s> Archives<'s> {
    /// The archives that a recipe declares.
    pub fn new(
        store: &'s Store,
        declared: &BTreeMap<ArchiveName, recipe::Archive>,
        options: ArchiveOptions,
        observer: Arc<dyn FetchObserver>,
    ) -> Self {
        let (lock, fetcher, views, keyrings) = Default::default();
        Self { store, declared: declared.clone(), options, observer, lock, fetcher, views, keyrings }
    }

    fn archive(&self, name: &ArchiveName) -> Archive {
        let declared = &self.declared[name];
        Archive {
            name: name.to_string(),
            origin: match &declared.vendor {
                None => Origin::Debian { security: declared.security.clone() },
                Some(vendor) => Origin::At(vendor.url.clone()),
            },
            suites: declared.suites.clone(),
            components: declared.components.clone(),
            architecture: declared.architecture.to_string(),
            foreign: declared.foreign.iter().map(ToString::to_string).collect(),
        }
    }

    /// What fetches, for everybody.
    pub(crate) fn fetcher(&self) -> Result<&Fetcher, StageError> {
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

    pub(crate) fn proxy(&self) -> Result<Proxy, StageError> {
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

    /// Who decides whether an archive's roots are signed.
    fn verifier(&self, name: &ArchiveName) -> Result<Gpgv, StageError> {
        let Some(vendor) = &self.declared[name].vendor else { return Ok(Gpgv::default()) };
        let mut keyrings = self.keyrings.lock().expect("no panic while held");
        if keyrings.is_none() {
            *keyrings = Some(self.lay_out_keyrings()?);
        }
        let dir = keyrings.as_ref().expect("it was just made").path();
        Ok(Gpgv::with_key(&keyring_in(dir, name), &vendor.key))
    }

    /// As gpgv reads them, which takes no armoured ones.
    fn lay_out_keyrings(&self) -> Result<RunDir, StageError> {
        let dir = self.store.run_dir()?;
        for (name, declared) in &self.declared {
            if let Some(vendor) = &declared.vendor {
                let path = keyring_in(dir.path(), name);
                fs::write(&path, vendor.keyring.bytes()).map_err(StageError::io("write", &path))?;
            }
        }
        Ok(dir)
    }

    /// Says which archive something is wrong with, if there is more than Debian's.
    fn about(&self, name: &ArchiveName) -> impl Fn(PackageError) -> StageError {
        let archive =
            self.declared[name].vendor.as_ref().map(|vendor| (name.to_string(), vendor.url.to_string()));
        move |source| match archive.clone() {
            None => source.into(),
            Some((archive, url)) => StageError::Archive { archive, url, source: Box::new(source) },
        }
    }

    /// What a key knows of the archives of a root file system: how they are declared, in their order, and the states that the
    /// lock pins. One that is not locked has no state yet.
    pub(crate) fn describe(&self, names: &ArchiveNames) -> Result<Value, StageError> {
        let (mut declared, mut roots) = (Vec::new(), Vec::new());
        for name in names.all() {
            declared.push((name.to_string(), describe_declared(&self.declared[name])));
            roots.extend(self.describe_roots(name)?);
        }
        Ok(Value::map([
            ("order", Value::texts(names.all().iter().map(ToString::to_string))),
            ("declared", Value::map(declared)),
            (ROOTS, Value::map(roots)),
        ]))
    }

    fn describe_roots(&self, name: &ArchiveName) -> Result<Vec<(String, Value)>, StageError> {
        let archive = self.archive(name);
        let pockets = archive.pockets().map_err(self.about(name))?;
        self.with_lock(|lock| {
            let root = |pocket: &Pocket| {
                let locked = lock.release(&archive.name, &pocket.base, &pocket.suite);
                Value::option(locked.map(|locked| Value::Digest(*locked.inrelease.sha256.as_bytes())))
            };
            let named = |pocket: &Pocket| (format!("{} {}", pocket.base, pocket.suite), root(pocket));
            Ok(pockets.iter().map(named).collect())
        })
    }

    /// Makes sure that the lock knows an archive. Has to come before the archive is described for a build.
    pub fn ensure_locked(&self, name: &ArchiveName) -> Result<(), StageError> {
        let archive = self.archive(name);
        let pockets = archive.pockets().map_err(self.about(name))?;
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
    pub(crate) fn current(
        &self,
        name: &ArchiveName,
        tolerated: &[Staleness],
    ) -> Result<Vec<LockedRelease>, StageError> {
        self.look(record, name, tolerated)
    }

    /// The state of an archive on the mirror, and nothing that belongs to it.
    pub(crate) fn probe(
        &self,
        name: &ArchiveName,
        tolerated: &[Staleness],
    ) -> Result<Vec<LockedRelease>, StageError> {
        self.look(probe, name, tolerated)
    }

    fn look(
        &self,
        look: Look,
        name: &ArchiveName,
        tolerated: &[Staleness],
    ) -> Result<Vec<LockedRelease>, StageError> {
        let (archive, fetcher, verifier) = (self.archive(name), self.fetcher()?, self.verifier(name)?);
        self.with_lock(|lock| {
            let acceptance = Acceptance { now: Timestamp::now(), lock, tolerated };
            look(self.store, &archive, fetcher, &verifier, acceptance).map_err(self.about(name))
        })
    }

    /// The frozen view of archives.
    pub(crate) fn view(&self, names: &[ArchiveName]) -> Result<Arc<ArchiveView>, StageError> {
        let mut views = self.views.lock().expect("no panic while held");
        if let Some(view) = views.get(names) {
            return Ok(view.clone());
        }
        let lock = self.lock()?;
        let each: Result<Vec<_>, _> = names.iter().map(|name| self.open_view(name, &lock)).collect();
        let view = ArchiveView::join(self.store, each?).expect("a root file system has an archive");
        let view = Arc::new(view);
        views.insert(names.to_vec(), view.clone());
        Ok(view)
    }

    /// The view of an archive that a lock freezes.
    pub(crate) fn open_view(&self, name: &ArchiveName, lock: &Lock) -> Result<ArchiveView, StageError> {
        let (archive, verifier) = (self.archive(name), self.verifier(name)?);
        ArchiveView::open(self.store, &archive, lock, self.fetcher()?, &verifier).map_err(self.about(name))
    }

    /// Which of the archives has packages under `base`.
    pub(crate) fn owner<'n>(&self, names: &'n ArchiveNames, base: &Base) -> &'n ArchiveName {
        let is_there = |name: &&ArchiveName| {
            self.archive(name)
                .pockets()
                .is_ok_and(|pockets| pockets.iter().any(|pocket| pocket.base == *base))
        };
        names.all().iter().find(is_there).unwrap_or(names.first())
    }

    /// The hosts of those that are not Debian's.
    pub(crate) fn hosts(&self, names: &ArchiveNames) -> BTreeSet<&str> {
        let vendors = names.all().iter().filter_map(|name| self.declared[name].vendor.as_ref());
        vendors.map(|vendor| vendor.url.host()).collect()
    }

    /// The architectures of packages that a root file system takes besides its own, in the order of the recipe.
    pub(crate) fn foreign(&self, names: &ArchiveNames) -> Vec<String> {
        let mut foreign = Vec::new();
        for architecture in names.all().iter().flat_map(|name| &self.declared[name].foreign) {
            if !foreign.contains(&architecture.to_string()) {
                foreign.push(architecture.to_string());
            }
        }
        foreign
    }

    /// Those of one archive.
    pub(crate) fn foreign_of(&self, name: &ArchiveName) -> Result<Vec<Name>, StageError> {
        let parse = |architecture: &String| architecture.parse().map_err(PackageError::from);
        Ok(self.archive(name).foreign.iter().map(parse).collect::<Result<_, _>>()?)
    }

    /// The files that tell the image's own apt about the archives: absolute paths, and what is in them.
    pub(crate) fn sources(&self, names: &ArchiveNames) -> Vec<(String, Vec<u8>)> {
        let (mut files, foreign) = (Vec::new(), self.foreign(names));
        for name in names.all() {
            let archive = self.archive(name);
            files.push((archive.sources_file(), archive.sources(&foreign).into_bytes()));
            if let Some(vendor) = &self.declared[name].vendor {
                files.push((archive.keyring(), vendor.keyring.bytes().to_vec()));
            }
        }
        files
    }
}

fn keyring_in(dir: &Path, name: &ArchiveName) -> PathBuf {
    dir.join(format!("{name}.gpg"))
}

/// How an archive is declared. Whatever apt or the image is told of it is made from this; mirrors are not: what is fetched
/// from them is named by the lock.
fn describe_declared(archive: &recipe::Archive) -> Value {
    let recipe::Archive {
        name: _, // the name under which this stands in the key
        vendor,
        suites,
        security,
        components,
        architecture,
        foreign,
        mirror: _,
        security_mirror: _,
    } = archive;
    let vendor = vendor.as_ref().map(|vendor| {
        let key = Value::Digest(*vendor.keyring.digest().as_bytes());
        Value::map([("key", key), ("url", vendor.url.to_string().as_str().into())])
    });
    Value::map([
        ("architecture", architecture.as_str().into()),
        ("components", Value::texts(components)),
        ("foreign", Value::texts(foreign.iter().map(Architecture::as_str))),
        ("security", Value::option(security.as_deref().map(Value::from))),
        ("suites", Value::texts(suites)),
        ("vendor", Value::option(vendor)),
    ])
}
