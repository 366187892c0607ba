//! The control groups of one sandbox: they enforce its limits, tell when it came up against them, and keep it from the
//! host's devices.
//!
//! For each hierarchy that is needed there is a directory `ibuild.PID-N`, locked as long as its owner lives, with the
//! limits; in it `stage`, in which the processes are. A stage that mounts its control groups sees that one only, and so
//! cannot lift its limits.
//!
//! To move a process to another group costs the kernel tens of milliseconds, because all processes have to stand still for
//! it. Two ways do not: a thread may move itself where threads have groups of their own (version 1), and a process may be
//! started in another group (version 2, `clone3(2)`).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{Access, Mode};
use serde::{Deserialize, Serialize};

use super::devices;
use super::hierarchy::{Controller, Hierarchies, Unified};
use super::limits::{Exceeded, Limits};

const PREFIX: &str = "ibuild.";
const LEAF: &str = "stage";

/// Whether a sandbox is kept from opening devices of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DeviceFilter {
    On,
    /// Only root may filter devices, and not on every machine.
    Off,
}

/// The groups of one sandbox. They go with the value, which has to outlive the sandbox.
#[derive(Debug)]
pub(super) struct Groups {
    groups: Vec<Group>,
    limits: Limits,
    /// What could not be limited.
    pub(super) unlimited: Vec<&'static str>,
    pub(super) devices: DeviceFilter,
}

impl Groups {
    /// Makes groups for what is limited, as far as the machine lets this process.
    pub(super) fn make(limits: &Limits) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let hierarchies =
            Hierarchies::read(&read("/proc/thread-self/mountinfo"), &read("/proc/thread-self/cgroup"));
        let mut made =
            Self { groups: Vec::new(), limits: *limits, unlimited: Vec::new(), devices: DeviceFilter::Off };
        let wanted = wanted(limits);
        let (legacy, unified): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|controller| hierarchies.legacy(**controller).is_some());
        for controller in legacy {
            let parent = hierarchies.legacy(controller).expect("it was there a moment ago");
            made.add(Group::make(parent, &[controller]), &[controller]);
        }
        if let Some(hierarchy) = &hierarchies.unified {
            made.add_unified(hierarchy, &unified);
        } else {
            made.give_up(&unified);
        }
        made
    }

    fn add_unified(&mut self, hierarchy: &Unified, controllers: &[Controller]) {
        match able_ancestor(hierarchy, controllers) {
            Some(parent) => self.add(Group::make(&parent, controllers), controllers),
            None => {
                self.give_up(controllers);
                self.add(Group::make(&hierarchy.own, &[]), &[]);
            }
        }
        if let Some(group) = self.groups.last().filter(|group| group.dir.starts_with(&hierarchy.mount))
            && devices::restrict(group.lock.as_fd()).is_ok()
        {
            self.devices = DeviceFilter::On;
        }
    }

    fn add(&mut self, group: io::Result<Group>, controllers: &[Controller]) {
        match group.and_then(|group| group.limit(controllers, &self.limits).map(|()| group)) {
            Ok(group) => self.groups.push(group),
            Err(_) => self.give_up(controllers),
        }
    }

    fn give_up(&mut self, controllers: &[Controller]) {
        self.unlimited.extend(controllers.iter().map(|controller| match controller {
            Controller::Memory => "memory",
            Controller::Processes => "the number of processes",
        }));
    }

    /// What the only thread of a process writes `0` to in order to be in the groups of version 1, and so all that it starts.
    pub(super) fn entrances(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.groups.iter().filter_map(|group| group.entrance.as_ref().map(AsFd::as_fd))
    }

    /// The group of version 2, for a process to be started in, if there is one.
    pub(super) fn unified(&self) -> io::Result<Option<OwnedFd>> {
        let unified = self.groups.iter().find(|group| group.entrance.is_none());
        unified.map(|group| Ok(File::open(group.dir.join(LEAF))?.into())).transpose()
    }

    /// The limit that the sandbox came up against, if it has.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        let count =
            |file: &str, key: &str| self.groups.iter().filter_map(|group| group.event(file, key)).sum();
        let out_of_memory: u64 = count("memory.events", "oom_kill") + count("memory.oom_control", "oom_kill");
        let refused_forks: u64 = count("pids.events", "max");
        let memory = self.limits.memory.filter(|_| out_of_memory > 0).map(Exceeded::Memory);
        memory.or(self.limits.processes.filter(|_| refused_forks > 0).map(Exceeded::Processes))
    }
}

fn wanted(limits: &Limits) -> Vec<Controller> {
    let memory = limits.memory.map(|_| Controller::Memory);
    memory.into_iter().chain(limits.processes.map(|_| Controller::Processes)).collect()
}

/// The nearest group above this process's own in which groups with these controllers can be made. Its own is none, because
/// a group with processes in it has none that limit others.
fn able_ancestor(hierarchy: &Unified, controllers: &[Controller]) -> Option<PathBuf> {
    if controllers.is_empty() {
        return Some(hierarchy.own.clone());
    }
    let may_write = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let is_able = |dir: &&Path| {
        let given = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        let has = |controller: &Controller| given.split_whitespace().any(|name| name == controller.name());
        controllers.iter().all(has) && may_write(dir) && may_write(&dir.join("cgroup.procs"))
    };
    let ancestors = hierarchy.own.ancestors().take_while(|dir| dir.starts_with(&hierarchy.mount));
    ancestors.filter(is_able).map(Path::to_owned).next()
}

/// A group in one hierarchy.
#[derive(Debug)]
struct Group {
    dir: PathBuf,
    /// The directory itself. Its lock says that the group has an owner.
    lock: File,
    /// Where threads come in, in a hierarchy in which they may.
    entrance: Option<File>,
}

impl Group {
    fn make(parent: &Path, controllers: &[Controller]) -> io::Result<Self> {
        const ATTEMPTS: u32 = 1000;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep(parent);
        for _ in 0..ATTEMPTS {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&dir) {
                // Another process may have this number in another PID namespace.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            match Self::take(&dir) {
                // It was taken for one without an owner, in the moment before it was locked.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => {
                    remove(&dir);
                    return Err(e);
                }
                Ok(group) if controllers.iter().all(|c| group.has(*c)) => return Ok(group),
                Ok(_) => return Err(ErrorKind::Unsupported.into()),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn take(dir: &Path) -> io::Result<Self> {
        let lock = File::open(dir)?;
        lock.lock()?;
        // In what is locked, whatever has its name by now.
        rustix::fs::mkdirat(&lock, LEAF, Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH)?;
        let leaf = dir.join(LEAF);
        let entrance = match File::options().write(true).open(leaf.join("tasks")) {
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        Ok(Self { dir: dir.to_owned(), lock, entrance })
    }

    fn has(&self, controller: Controller) -> bool {
        let file = match controller {
            Controller::Memory => "memory.stat",
            Controller::Processes => "pids.current",
        };
        self.dir.join(file).exists()
    }

    fn limit(&self, controllers: &[Controller], limits: &Limits) -> io::Result<()> {
        for controller in controllers {
            match (controller, limits.memory, limits.processes) {
                (Controller::Memory, Some(bytes), _) => self.limit_memory(bytes)?,
                (Controller::Processes, _, Some(count)) => self.set("pids.max", &count.to_string())?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Version 2 first, then version 1, where the second file limits memory and swap together. A kernel without swap
    /// accounting lacks the files for swap.
    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        let is_optional = |result: io::Result<()>| match result {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if self.dir.join("memory.max").exists() {
            self.set("memory.max", &bytes)?;
            is_optional(self.set("memory.oom.group", "1"))?;
            return is_optional(self.set("memory.swap.max", "0"));
        }
        self.set("memory.limit_in_bytes", &bytes)?;
        is_optional(self.set("memory.memsw.limit_in_bytes", &bytes))
    }

    /// Writes to a file that has to be there, so that it is never made.
    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.dir.join(file))?;
        file.write_all(value.as_bytes())
    }

    /// A number in a file of lines `key number`. Limits are hit in the group that has them, or counted in the one below.
    fn event(&self, file: &str, key: &str) -> Option<u64> {
        let count = |dir: PathBuf| {
            let text = fs::read_to_string(dir.join(file)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
            line.trim().parse::<u64>().ok()
        };
        count(self.dir.clone()).max(count(self.dir.join(LEAF)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// The kernel may need a moment after the last process has ended. What it does not let go of now is swept later.
fn remove(dir: &Path) {
    for _ in 0..50 {
        let _ = fs::remove_dir(dir.join(LEAF));
        match fs::remove_dir(dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(2)),
            _ => return,
        }
    }
}

/// Removes the groups of owners that were killed. The processes in them have gone with their owner.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let dir = entry.path();
        // Locked until it is gone: an owner that has just made it waits, and makes another one.
        let Ok(lock) = File::open(&dir) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir(dir.join(LEAF));
            let _ = fs::remove_dir(&dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A directory that looks like a unified hierarchy to whoever reads: no kernel enforces anything in it.
    fn fake(groups: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (group, given) in groups {
            let dir = root.path().join(group);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.subtree_control"), given).unwrap();
            fs::write(dir.join("cgroup.procs"), "").unwrap();
        }
        root
    }

    #[track_caller]
    fn check(groups: &[(&str, &str)], own: &str, expected: Option<&str>) {
        let root = fake(groups);
        let hierarchy = Unified { mount: root.path().to_owned(), own: root.path().join(own) };
        let found = able_ancestor(&hierarchy, &[Controller::Memory, Controller::Processes]);
        assert_eq!(found, expected.map(|dir| root.path().join(dir)));
    }

    /// A regression: whoever swept let go of the lock before it removed what it had locked.
    #[test]
    fn a_sweep_takes_no_group_that_has_an_owner() {
        let root = tempfile::tempdir().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        sweep(root.path());
                    }
                });
            }
            let made: Vec<io::Result<_>> = (0..300)
                .map(|_| {
                    let group = Group::make(root.path(), &[])?;
                    std::thread::yield_now();
                    fs::metadata(group.dir.join(LEAF))
                })
                .collect();
            is_over.store(true, Ordering::Relaxed);
            let lost: Vec<_> = made.into_iter().filter_map(Result::err).collect();
            assert!(lost.is_empty(), "groups swept away below their owners: {lost:?}");
        });
    }

    #[test]
    fn groups_are_made_as_near_as_can_be() {
        let of_session = [("", "cpu memory pids"), ("user", "memory pids"), ("user/session", "")];
        check(&of_session, "user/session", Some("user"));
        check(&[("", "cpu memory pids"), ("a", "memory"), ("a/b", "")], "a/b", Some(""));
        check(&[("", "cpu pids"), ("a", "")], "a", None);
        let root = fake(&[("own", "")]);
        let hierarchy = Unified { mount: root.path().to_owned(), own: root.path().join("own") };
        assert_eq!(able_ancestor(&hierarchy, &[]), Some(root.path().join("own")));
    }
}
