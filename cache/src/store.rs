//! The store: content, facts, and the places where work is done.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::blobs::sync_dir;
use crate::lock::Tried;
use crate::remove::remove_dir;
use crate::{
    BlobId, BlobStore, CacheError, FileLock, Index, Layout, LockMode, ResultFiles, Sha256, neutral, temp,
};

/// A directory that holds everything ibuild remembers. Cheap to clone; any number of processes may have it open.
#[derive(Clone)]
pub struct Store {
    layout: Layout,
    index: Arc<dyn Index>,
}

impl Store {
    /// Opens the store in `root`, and makes it if it is not there. `index` is made for the directory it is given.
    pub fn open<I: Index + 'static>(
        root: &Path,
        index: impl FnOnce(&Layout) -> I,
    ) -> Result<Self, CacheError> {
        let layout = Layout::new(root);
        // Empty is what a crash leaves of a marker that was not made durable.
        if fs::metadata(layout.format()).map_or(0, |meta| meta.len()) == 0 {
            create(&layout)?;
        }
        check_owner(&layout)?;
        check_format(&layout)?;
        // What a store that was made by an earlier version does not have, or not since the machine was started.
        for dir in [layout.layers(), layout.spares()] {
            match fs::create_dir_all(&dir) {
                // Such a store can still be looked at.
                Err(e) if e.kind() == ErrorKind::ReadOnlyFilesystem => {}
                made => made.map_err(CacheError::io("create", &dir))?,
            }
        }
        layout.private().iter().try_for_each(|dir| keep_private(dir))?;
        let index = Arc::new(index(&layout));
        Ok(Self { layout, index })
    }

    /// Where things are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Facts.
    pub fn index(&self) -> &dyn Index {
        &*self.index
    }

    /// Content by BLAKE3.
    pub fn blobs(&self) -> BlobStore<BlobId> {
        BlobStore::new(self.layout.blobs(), self.layout.tmp())
    }

    /// Content by SHA-256, the name that Debian's indices give it.
    pub fn packages(&self) -> BlobStore<Sha256> {
        BlobStore::new(self.layout.packages(), self.layout.tmp())
    }

    /// The facts of results, beside the index.
    pub fn results(&self) -> ResultFiles {
        ResultFiles::new(self.layout.results(), self.layout.tmp())
    }

    /// Says that what is in the store is in use, as long as the value lives. Everything that looks results up in order
    /// to work on them does so, builds above all; nothing is removed meanwhile. `None` if something is being removed
    /// now and `mode` is [`LockMode::Try`].
    pub fn share(&self, mode: LockMode) -> Result<Option<FileLock>, CacheError> {
        FileLock::share(&self.layout.gc_lock(), mode)
    }

    /// Has the store alone, for what removes things; `None` if it is in use and `mode` is [`LockMode::Try`].
    pub fn take_alone(&self, mode: LockMode) -> Result<Option<FileLock>, CacheError> {
        FileLock::take(&self.layout.gc_lock(), mode)
    }

    /// Whether there is no index: none was ever written, or it was deleted.
    pub fn lacks_index(&self) -> bool {
        fs::read_dir(self.layout.index()).map_or(true, |mut files| files.next().is_none())
    }

    /// Puts an index that cannot be read aside, so that a new one is begun; says where it is now.
    pub fn set_index_aside(&self) -> Result<PathBuf, CacheError> {
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = seconds.map_or(0, |since| since.as_secs());
        let index = self.layout.index();
        let place = |time: u64| self.layout.root().join(format!("index.broken-{time}"));
        let free = (seconds..).map(place).find(|place| !place.exists());
        let aside = free.expect("some second has no broken index");
        let _lock = FileLock::take(&self.layout.index_lock(), LockMode::Wait)?;
        fs::rename(&index, &aside).map_err(CacheError::io("put aside", &index))?;
        self.index.refresh();
        Ok(aside)
    }

    /// A fresh directory for a piece of work, on the same file system as everything else. It passes nothing on of where
    /// the store is: no default ACL, no group, no flags.
    pub fn run_dir(&self) -> Result<RunDir, CacheError> {
        loop {
            let path = unused(&self.layout.runs(), |path| fs::create_dir(path))?;
            if let Some(lock) = FileLock::of_new_dir(&path)? {
                neutral::make(&path).map_err(CacheError::io("prepare", &path))?;
                return Ok(RunDir { path, trash: self.layout.trash(), _lock: lock });
            }
        }
    }

    /// The process that works in this store, if one does; the lowest if there are several.
    pub fn worker(&self) -> Result<Option<u32>, CacheError> {
        let mut workers = Vec::new();
        for dir in list(&self.layout.runs())? {
            if let Tried::Held = FileLock::try_existing(&dir)? {
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                workers.extend(name.split('-').next().and_then(|pid| pid.parse::<u32>().ok()));
            }
        }
        Ok(workers.into_iter().min())
    }

    /// Removes what processes that were killed have left: work directories whose lock nobody holds, unnamed
    /// files, layers that were unpacked before the machine was started, and the trash. Safe beside running builds. What
    /// belongs to ids that the user had once and has no more stays.
    pub fn sweep(&self) -> Result<(), CacheError> {
        for run in list(&self.layout.runs())? {
            // The lock is held until the directory is gone, so that nobody takes it for theirs.
            if let Tried::Taken(_held) = FileLock::try_existing(&run)? {
                unless_forbidden(discard(&run, &self.layout.trash()))?;
            }
        }
        for layers in list(&self.layout.all_layers())? {
            if layers != self.layout.layers() {
                unless_forbidden(discard(&layers, &self.layout.trash()))?;
            }
        }
        for file in list(&self.layout.tmp())? {
            temp::sweep(&file)?;
        }
        for dir in list(&self.layout.trash())? {
            unless_forbidden(remove(&dir))?;
        }
        Ok(())
    }

    /// Moves a directory out of sight in one step, then deletes it.
    pub fn discard(&self, dir: &Path) -> Result<(), CacheError> {
        discard(dir, &self.layout.trash())
    }
}

/// The marker comes last and whole: until then there is no store, and the next who opens it begins again.
fn create(layout: &Layout) -> Result<(), CacheError> {
    for dir in layout.directories() {
        fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir))?;
    }
    let format = layout.format();
    let mut marker = temp::create(&layout.tmp())?;
    let written = writeln!(marker, "{}", Layout::FORMAT).and_then(|()| marker.as_file().sync_all());
    written.map_err(CacheError::io("write", marker.path()))?;
    marker.persist(&format).map_err(|e| CacheError::io("create", &format)(e.error))?;
    sync_dir(layout.root())
}

fn check_format(layout: &Layout) -> Result<(), CacheError> {
    let path = layout.format();
    let found = fs::read_to_string(&path).map_err(CacheError::io("read", &path))?;
    if found.trim() == Layout::FORMAT.to_string() {
        return Ok(());
    }
    let path = layout.root().to_owned();
    Err(CacheError::Format { path, found: found.trim().to_owned(), expected: Layout::FORMAT })
}

/// Has its effect once. In a store of somebody else it is not for this process to say.
fn keep_private(dir: &Path) -> Result<(), CacheError> {
    const PRIVATE: u32 = 0o700;
    let meta = fs::metadata(dir).map_err(CacheError::io("look at", dir))?;
    if meta.permissions().mode() & 0o7777 == PRIVATE {
        return Ok(());
    }
    match fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE)) {
        Err(e) if !matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            Err(CacheError::io("set the mode of", dir)(e))
        }
        _ => Ok(()),
    }
}

/// The owner of what ibuild itself wrote there, not of the directory, which may have been made for it.
fn check_owner(layout: &Layout) -> Result<(), CacheError> {
    let path = layout.format();
    let owner = fs::metadata(&path).map_err(CacheError::io("read", &path))?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(CacheError::Foreign { path: layout.root().to_owned() })
}

fn unless_forbidden(removed: Result<(), CacheError>) -> Result<(), CacheError> {
    match removed {
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::PermissionDenied) => Ok(()),
        removed => removed,
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let entries = fs::read_dir(dir).map_err(CacheError::io("read", dir))?;
    let paths = entries.map(|entry| entry.map(|e| e.path()));
    paths.collect::<Result<_, _>>().map_err(CacheError::io("read", dir))
}

fn discard(dir: &Path, trash: &Path) -> Result<(), CacheError> {
    if !fs::exists(dir).map_err(CacheError::io("look at", dir))? {
        return Ok(());
    }
    match unused(trash, |target| fs::rename(dir, target)) {
        Ok(target) => remove(&target),
        Err(e) if e.io_kind() == Some(ErrorKind::NotFound) => Ok(()),
        Err(CacheError::Io { source, .. }) => Err(CacheError::io("remove", dir)(source)),
        Err(e) => Err(e),
    }
}

/// Makes something in `dir` under a name of this process that nobody has yet. A process that was killed, and one in
/// another PID namespace, may have had the same number and have left something.
fn unused(dir: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<PathBuf, CacheError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let path = dir.join(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        match make(&path) {
            Ok(()) => return Ok(path),
            Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {}
            Err(e) => return Err(CacheError::io("create", &path)(e)),
        }
    }
}

/// Another process may be deleting the same thing: what is gone is no error.
fn remove(path: &Path) -> Result<(), CacheError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(CacheError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// A work directory. Deleted when dropped; if the process is killed, by the next [`Store::sweep`].
#[must_use = "the directory is deleted when this value is dropped"]
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    trash: PathBuf,
    _lock: FileLock,
}

impl RunDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What cannot be deleted now is swept at the next start.
        let _ = discard(&self.path, &self.trash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryIndex;

    fn open(root: &Path) -> Store {
        Store::open(root, |_| MemoryIndex::default()).unwrap()
    }

    #[test]
    fn a_run_dir_goes_with_its_value() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let run = store.run_dir().unwrap();
        let path = run.path().to_owned();
        fs::create_dir_all(path.join("upper/deep")).unwrap();
        drop(run);
        assert!(!path.exists());
        assert_eq!(list(&store.layout().trash()).unwrap(), [] as [PathBuf; 0]);
    }

    #[test]
    fn programs_of_an_image_are_out_of_reach_for_users_of_the_host() {
        let root = tempfile::tempdir().unwrap();
        let mode = |dir: &Path| fs::metadata(dir).unwrap().permissions().mode() & 0o7777;
        let store = open(root.path());
        // A store from before this rule is made to follow it.
        fs::set_permissions(store.layout().runs(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = open(root.path());
        let layout = store.layout();
        for dir in [layout.all_layers(), layout.failed(), layout.runs(), layout.tmp(), layout.trash()] {
            assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn sweeping_spares_what_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let run = store.run_dir().unwrap();
        let stale = store.layout().runs().join("1-0");
        fs::create_dir(&stale).unwrap();
        assert_eq!(store.worker().unwrap(), Some(std::process::id()));
        store.sweep().unwrap();
        assert!(run.path().exists());
        assert!(!stale.exists());
    }

    /// A regression: another process with the same number, killed or in a container, had left something of that name.
    #[test]
    fn names_that_are_taken_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let taken = |dir: PathBuf| (0..200).map(move |n| dir.join(format!("{}-{n}", std::process::id())));
        for dir in taken(store.layout().runs()).chain(taken(store.layout().trash())) {
            fs::create_dir_all(dir.join("of another")).unwrap();
        }
        let run = store.run_dir().unwrap();
        let path = run.path().to_owned();
        drop(run);
        assert!(!path.exists());
        assert!(taken(store.layout().runs()).all(|dir| dir.join("of another").exists()));
    }

    /// A regression: a crash left an empty marker, and the store could never be opened again.
    #[test]
    fn a_store_is_there_once_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        fs::write(root.path().join("format"), "").unwrap();
        let store = open(root.path());
        assert_eq!(fs::read_to_string(store.layout().format()).unwrap(), "1\n");
        assert_eq!(list(&store.layout().tmp()).unwrap(), [] as [PathBuf; 0]);
    }

    #[test]
    fn layers_from_before_the_machine_was_started_are_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let old = root.path().join("layers/anotherstart");
        fs::create_dir_all(old.join("layer")).unwrap();
        assert!(!store.layout().layers().starts_with(&old));
        store.sweep().unwrap();
        assert!(!old.exists() && store.layout().layers().exists());
    }

    #[test]
    fn another_users_store_is_refused() {
        assert!(rustix::process::geteuid().is_root(), "this test changes owners and needs root");
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()));
        std::os::unix::fs::chown(root.path().join("format"), Some(4711), Some(4711)).unwrap();
        let error = Store::open(root.path(), |_| MemoryIndex::default()).err().unwrap();
        assert!(matches!(error, CacheError::Foreign { .. }), "{error}");
    }

    #[test]
    fn another_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()));
        fs::write(root.path().join("format"), "99\n").unwrap();
        let error = Store::open(root.path(), |_| MemoryIndex::default()).err().unwrap();
        assert!(error.to_string().contains("has format 99"), "{error}");
    }
}
