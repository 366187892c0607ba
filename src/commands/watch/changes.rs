//! Changes of files below a directory, by inotify(7).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibuild::{EnvironmentError, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// What edits do to files. Writing is told when the file is closed.
const EDITS: AddWatchFlags = AddWatchFlags::from_bits_truncate(
    AddWatchFlags::IN_CLOSE_WRITE.bits()
        | AddWatchFlags::IN_MOVED_FROM.bits()
        | AddWatchFlags::IN_MOVED_TO.bits()
        | AddWatchFlags::IN_CREATE.bits()
        | AddWatchFlags::IN_DELETE.bits()
        | AddWatchFlags::IN_ATTRIB.bits()
        | AddWatchFlags::IN_ONLYDIR.bits(),
);

/// The changes below a directory since somebody looked.
pub struct Changes {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
    /// Where targets go.
    output: PathBuf,
    /// Names of files that changed and were not asked about yet.
    pending: Vec<String>,
}

impl Changes {
    /// Watches a directory with all below it, but for version control and for `output`.
    pub fn below(dir: &Path, output: &Path) -> Result<Self> {
        let inotify =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(|e| limit(dir, e))?;
        let output = output.to_owned();
        let mut changes = Self { inotify, directories: HashMap::new(), output, pending: Vec::new() };
        changes.add(dir)?;
        Ok(changes)
    }

    fn add(&mut self, dir: &Path) -> Result<()> {
        if dir == self.output || dir.file_name() == Some(OsStr::new(".git")) {
            return Ok(());
        }
        match self.inotify.add_watch(dir, EDITS) {
            Ok(watch) => drop(self.directories.insert(watch, dir.to_owned())),
            // It has gone again.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(error) => return Err(limit(dir, error)),
        }
        let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
        let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.map(|entry| entry.path()).try_for_each(|dir| self.add(&dir))
    }

    /// Waits so long for a change, and then until there is none for the time `settle`. Says whether there was one.
    pub fn wait(&mut self, timeout: Duration, settle: Duration) -> Result<bool> {
        self.wait_besides(timeout, settle, "")
    }

    /// The same, but changes of files with this name do not count yet.
    pub fn wait_besides(&mut self, timeout: Duration, settle: Duration, name: &str) -> Result<bool> {
        self.read(timeout)?;
        if !self.pending.iter().any(|changed| changed != name) {
            return Ok(false);
        }
        while self.read(settle)? {}
        self.pending.retain(|changed| changed == name);
        Ok(true)
    }

    /// Forgets changes of files with this name.
    pub fn forget(&mut self, name: &str) -> Result<()> {
        self.read(Duration::ZERO)?;
        self.pending.retain(|changed| changed != name);
        Ok(())
    }

    /// Takes what the kernel has to say, after waiting so long for it. Says whether that is anything.
    fn read(&mut self, timeout: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            polled => drop(polled?),
        }
        let events = match self.inotify.read_events() {
            Err(Errno::EAGAIN) => return Ok(false),
            events => events?,
        };
        let mut changed = false;
        for event in events {
            changed |= self.take(event)?;
        }
        Ok(changed)
    }

    fn take(&mut self, event: InotifyEvent) -> Result<bool> {
        let InotifyEvent { wd, mask, name, .. } = event;
        if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Nobody knows what it was: then everything may be another.
            self.pending.push("*".to_owned());
            return Ok(true);
        }
        let (Some(dir), Some(name)) = (self.directories.get(&wd), name) else { return Ok(false) };
        let path = dir.join(&name);
        if path == self.output || is_scratch(&name) {
            return Ok(false);
        }
        if mask.contains(AddWatchFlags::IN_ISDIR) {
            self.add(&path)?;
        }
        self.pending.push(name.to_string_lossy().into_owned());
        Ok(true)
    }
}

/// What editors leave beside a file while it is open.
fn is_scratch(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.ends_with('~')
        || name.ends_with(".swp")
        || name.ends_with(".swx")
        || name.starts_with(".#")
        || name == "4913"
}

fn limit(dir: &Path, error: Errno) -> Error {
    let message = format!("cannot watch `{}`: {}", dir.display(), error.desc());
    let hint = "`sysctl fs.inotify.max_user_watches=524288` lets more directories be watched".to_owned();
    EnvironmentError { message, hint }.into()
}
