//! The store: content, facts, and the places where work is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{BlobId, BlobStore, CacheError, FileLock, Index, Layout, LockMode, ResultFiles, Sha256};

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
        if !layout.format().exists() {
            for dir in layout.directories() {
                fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir))?;
            }
            let format = layout.format();
            fs::write(&format, format!("{}\n", Layout::FORMAT)).map_err(CacheError::io("create", &format))?;
        }
        check_format(&layout)?;
        let layers = layout.layers();
        fs::create_dir_all(&layers).map_err(CacheError::io("create", &layers))?;
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

    /// A fresh directory for a piece of work, on the same file system as everything else.
    pub fn run_dir(&self) -> Result<RunDir, CacheError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = self.layout.runs().join(&name);
        fs::create_dir(&path).map_err(CacheError::io("create", &path))?;
        let lock = FileLock::take(&path.join("lock"), LockMode::Wait)?;
        Ok(RunDir { path, trash: self.layout.trash(), _lock: lock })
    }

    /// The process that works in this store, if one does; the lowest if there are several.
    pub fn worker(&self) -> Result<Option<u32>, CacheError> {
        let mut workers = Vec::new();
        for dir in list(&self.layout.runs())? {
            let lock = dir.join("lock");
            if lock.exists() && FileLock::take(&lock, LockMode::Try)?.is_none() {
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                workers.extend(name.split('-').next().and_then(|pid| pid.parse::<u32>().ok()));
            }
        }
        Ok(workers.into_iter().min())
    }

    /// Removes what processes that were killed have left: work directories whose lock nobody holds, unnamed
    /// files, layers that were unpacked before the machine was started, and the trash. Safe beside running builds.
    pub fn sweep(&self) -> Result<(), CacheError> {
        for run in list(&self.layout.runs())? {
            let lock_file = run.join("lock");
            if lock_file.exists() && FileLock::take(&lock_file, LockMode::Try)?.is_some() {
                discard(&run, &self.layout.trash())?;
            }
        }
        for layers in list(&self.layout.all_layers())? {
            if layers != self.layout.layers() {
                discard(&layers, &self.layout.trash())?;
            }
        }
        for file in list(&self.layout.tmp())? {
            if is_old(&file) {
                remove(&file)?;
            }
        }
        for dir in list(&self.layout.trash())? {
            remove(&dir)?;
        }
        Ok(())
    }

    /// Moves a directory out of sight in one step, then deletes it.
    pub fn discard(&self, dir: &Path) -> Result<(), CacheError> {
        discard(dir, &self.layout.trash())
    }
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

fn list(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let entries = fs::read_dir(dir).map_err(CacheError::io("read", dir))?;
    let paths = entries.map(|entry| entry.map(|e| e.path()));
    paths.collect::<Result<_, _>>().map_err(CacheError::io("read", dir))
}

/// A file in `tmp` has no lock of its own; one that nobody wrote to for a day has no writer any more.
fn is_old(file: &Path) -> bool {
    const DAY: u64 = 24 * 60 * 60;
    let age = fs::metadata(file).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > DAY)
}

fn discard(dir: &Path, trash: &Path) -> Result<(), CacheError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let target = trash.join(name);
    match fs::rename(dir, &target) {
        Ok(()) => remove(&target),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(CacheError::io("remove", dir)(e)),
    }
}

/// Another process may be deleting the same thing: what is gone is no error.
fn remove(path: &Path) -> Result<(), CacheError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CacheError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// A work directory. Deleted when dropped; if the process is killed, by the next [`Store::sweep`].
#[must_use = "the directory is deleted when this value is dropped"]
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    trash: PathBuf,
    _lock: Option<FileLock>,
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
    fn sweeping_spares_what_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let run = store.run_dir().unwrap();
        let stale = store.layout().runs().join("1-0");
        fs::create_dir(&stale).unwrap();
        fs::write(stale.join("lock"), "1").unwrap();
        assert_eq!(store.worker().unwrap(), Some(std::process::id()));
        store.sweep().unwrap();
        assert!(run.path().exists());
        assert!(!stale.exists());
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
    fn another_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path()));
        fs::write(root.path().join("format"), "99\n").unwrap();
        let error = Store::open(root.path(), |_| MemoryIndex::default()).err().unwrap();
        assert!(error.to_string().contains("has format 99"), "{error}");
    }
}
