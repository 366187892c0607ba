//! Files named by the digest of their bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cancel::Cancel;
use crate::copying::{Fault, copy};
use crate::eager::{LAZY, start_writing};
use crate::extents::{Extent, PIECE, extents, pieces, zeros};
use crate::{CacheError, Digest, FileStamp, WatchedFile, temp};

/// One directory of content, named by one kind of digest: `ab/cdef...` for the digest `abcdef...`.
#[derive(Debug, Clone)]
pub struct BlobStore<D> {
    dir: PathBuf,
    tmp: PathBuf,
    digest: PhantomData<D>,
}

/// What a finished writer hands back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<D> {
    /// The name that the bytes earned.
    pub digest: D,
    /// Their number.
    pub size: u64,
}

impl<D: Digest> BlobStore<D> {
    /// `tmp` has to be on the same file system as `dir`, because publishing is a rename.
    pub(crate) fn new(dir: PathBuf, tmp: PathBuf) -> Self {
        Self { dir, tmp, digest: PhantomData }
    }

    /// The directory of the blobs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob is, or would be.
    pub fn path(&self, digest: &D) -> PathBuf {
        let hex = digest.to_hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    /// The directory of a blob, made durable if it is new: the name of a blob is no more durable than that of its
    /// directory.
    fn prefix_dir(&self, blob: &Path) -> Result<PathBuf, CacheError> {
        let dir = blob.parent().expect("a blob lies in a directory");
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(CacheError::io("create", dir))?;
            sync_dir(&self.dir)?;
        }
        Ok(dir.to_owned())
    }

    /// Starts a blob whose name is not known yet.
    pub fn writer(&self) -> Result<BlobWriter<D>, CacheError> {
        let temp = temp::create(&self.tmp)?;
        Ok(BlobWriter { store: self.clone(), temp, hasher: D::Hasher::default(), size: 0, on_its_way: 0 })
    }

    /// Stores bytes that are already in memory.
    pub fn put(&self, bytes: &[u8]) -> Result<Stored<D>, CacheError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(CacheError::io("write", &self.tmp))?;
        writer.finish()
    }

    /// Takes over a finished file, which has to be on the store's file system: it is made durable and renamed. Its digest
    /// is what whoever wrote it found on the way.
    pub fn adopt(&self, file: &Path, digest: &D) -> Result<(), CacheError> {
        use std::os::unix::fs::PermissionsExt;
        let open = File::open(file).map_err(CacheError::io("open", file))?;
        let path = self.path(digest);
        let parent = self.prefix_dir(&path)?;
        open.sync_data().map_err(CacheError::io("flush", file))?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o444))
            .map_err(CacheError::io("set the mode of", file))?;
        fs::rename(file, &path).map_err(CacheError::io("create", &path))?;
        sync_dir(&parent)
    }

    /// Opens a blob for reading; `None` if it is not here.
    pub fn open(&self, digest: &D) -> Result<Option<File>, CacheError> {
        let path = self.path(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CacheError::io("open", &path)(e)),
        }
    }

    /// Reads a whole blob, and checks that it still is what its name says; `None` if it is not here or is not.
    pub fn read(&self, digest: &D) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(mut file) = self.open(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(CacheError::io("read", &self.path(digest)))?;
        let mut hasher = D::Hasher::default();
        D::update(&mut hasher, &bytes);
        Ok((D::finish(hasher) == *digest).then_some(bytes))
    }

    /// The blob's size in bytes; `None` if it is not here.
    pub fn size(&self, digest: &D) -> Result<Option<u64>, CacheError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CacheError::io("look at", &path)(e)),
        }
    }

    /// Removes a blob; a blob that is not here is no error.
    pub fn remove(&self, digest: &D) -> Result<(), CacheError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CacheError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Every blob here with its size, in the order of their names.
    pub fn list(&self) -> Result<Vec<Stored<D>>, CacheError> {
        let mut found = Vec::new();
        for prefix in read_dir(&self.dir)? {
            let head = prefix.file_name().to_string_lossy().into_owned();
            for entry in read_dir(&prefix.path())? {
                let name = format!("{head}{}", entry.file_name().to_string_lossy());
                let Ok(digest) = D::from_hex(&name) else { continue };
                let meta = entry.metadata().map_err(CacheError::io("look at", &entry.path()))?;
                found.push(Stored { digest, size: meta.len() });
            }
        }
        found.sort_by_key(|stored| stored.digest);
        Ok(found)
    }

    /// Reads a blob again and tells whether it still has its name; `None` if it is not here.
    pub fn verify(&self, digest: &D) -> Result<Option<bool>, CacheError> {
        let Some(file) = self.open(digest)? else { return Ok(None) };
        let found = hash::<D>(&file).map_err(CacheError::io("read", &self.path(digest)))?;
        Ok(Some(found == *digest))
    }

    /// Reads a blob again; if it still has its name, tells the stamp that stands for that, if there is one. `None` if it is not
    /// here or does not have its name any more.
    pub fn verify_watched(&self, digest: &D) -> Result<Option<Option<FileStamp>>, CacheError> {
        let path = self.path(digest);
        let file = match WatchedFile::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(CacheError::io("open", &path))?,
        };
        let (found, stamp) = file.read(hash::<D>).map_err(CacheError::io("read", &path))?;
        Ok((found == *digest).then_some(stamp))
    }

    /// Copies a blob into an empty file, and tells whether what was copied has its name; holes stay holes. A blob that is not
    /// what its name says is removed. A user who gives up gets an error.
    pub fn copy(&self, digest: &D, to: &Path, cancel: &Cancel) -> Result<bool, CacheError> {
        let Some(source) = self.open(digest)? else { return Ok(false) };
        let target = File::options().write(true).open(to).map_err(CacheError::io("open", to))?;
        let copied = copy::<D>(&source, target, cancel).map_err(|fault| match fault {
            Fault::Read(e) => CacheError::io("read", &self.path(digest))(e),
            Fault::Write(e) => CacheError::io("write", to)(e),
        })?;
        if copied != *digest {
            self.remove(digest)?;
        }
        Ok(copied == *digest)
    }
}

/// What came of reading everything again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed<D> {
    /// How many blobs were read.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Those that did not have their name any more, and were removed.
    pub damaged: Vec<Stored<D>>,
}

impl<D: Digest> BlobStore<D> {
    /// Reads every blob again and removes those that do not have their name any more: a blob that is not here is made
    /// again when it is needed, a wrong one would be believed.
    pub fn scrub(&self) -> Result<Scrubbed<D>, CacheError> {
        let mut found = Scrubbed { count: 0, bytes: 0, damaged: Vec::new() };
        for stored in self.list()? {
            // A blob that went away in the meantime was removed by somebody who may.
            let Some(is_whole) = self.verify(&stored.digest)? else { continue };
            found.count += 1;
            found.bytes += stored.size;
            if !is_whole {
                self.remove(&stored.digest)?;
                found.damaged.push(stored);
            }
        }
        Ok(found)
    }
}

/// The digest of a file, in pieces that let BLAKE3 use wide instructions. Holes are not read: a disk of 100 GiB is mostly
/// holes.
fn hash<D: Digest>(file: &File) -> io::Result<D> {
    let (mut hasher, length) = (D::Hasher::default(), file.metadata()?.len());
    let mut buffer = vec![0; PIECE];
    for extent in extents(file, length) {
        match extent {
            Extent::Hole(range) => zeros::<D>(&mut hasher, range),
            Extent::Data(range) => {
                for (start, size) in pieces(range) {
                    file.read_exact_at(&mut buffer[..size], start)?;
                    D::update(&mut hasher, &buffer[..size]);
                }
            }
        }
    }
    Ok(D::finish(hasher))
}

fn read_dir(dir: &Path) -> Result<Vec<fs::DirEntry>, CacheError> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<Result<_, _>>().map_err(CacheError::io("read", dir)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(CacheError::io("read", dir)(e)),
    }
}

/// A blob in the making. Dropped unfinished, it leaves nothing behind.
#[must_use = "a blob exists only once it is finished"]
pub struct BlobWriter<D: Digest> {
    store: BlobStore<D>,
    temp: NamedTempFile,
    hasher: D::Hasher,
    size: u64,
    /// How many of the bytes the disk was asked to write already.
    on_its_way: u64,
}

impl<D: Digest> BlobWriter<D> {
    /// Lets the disk write while more is made, so that little is left to wait for when the blob is made durable. That
    /// it does is only hoped for: the flush at the end is what counts.
    fn hurry(&mut self) {
        if self.size - self.on_its_way >= LAZY {
            start_writing(self.temp.as_file(), self.on_its_way..self.size);
            self.on_its_way = self.size;
        }
    }

    /// The number of bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes room on the disk for a blob of this size, where its file system can do so ahead. A disk that is too full says
    /// so before the first byte is written.
    pub fn reserve(&self, size: u64) -> Result<(), CacheError> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(self.temp.as_file(), FallocateFlags::KEEP_SIZE, 0, size) {
            Err(rustix::io::Errno::NOSPC) => {
                Err(CacheError::io("write", self.temp.path())(rustix::io::Errno::NOSPC.into()))
            }
            // Not all file systems can, and a limit of another kind will tell by itself.
            _ => Ok(()),
        }
    }

    /// A second handle to what has been written so far, for readers that follow the writer.
    pub fn reader(&self) -> Result<File, CacheError> {
        self.temp.reopen().map_err(CacheError::io("open", self.temp.path()))
    }

    /// Publishes the blob under the digest of what was written.
    ///
    /// The bytes are made durable, then renamed into place: a crash before the rename leaves an unnamed file
    /// in `tmp`, which the next build removes; a crash after it leaves a complete blob.
    pub fn finish(self) -> Result<Stored<D>, CacheError> {
        let digest = D::finish(self.hasher);
        let path = self.store.path(&digest);
        // A file of another size is damaged: it is replaced, or its stage would run again for ever.
        if fs::metadata(&path).is_ok_and(|there| there.len() == self.size) {
            return Ok(Stored { digest, size: self.size });
        }
        self.temp.as_file().sync_data().map_err(CacheError::io("flush", self.temp.path()))?;
        let parent = self.store.prefix_dir(&path)?;
        make_read_only(&self.temp)?;
        self.temp.persist(&path).map_err(|e| CacheError::io("create", &path)(e.error))?;
        sync_dir(&parent)?;
        Ok(Stored { digest, size: self.size })
    }

    /// Like [`BlobWriter::finish`], but publishes only bytes that have the name one hopes for.
    pub fn finish_expecting(self, expected: &D) -> Result<Stored<D>, CacheError>
    where
        D::Hasher: Clone,
    {
        let actual = D::finish(self.hasher.clone());
        if actual == *expected {
            return self.finish();
        }
        Err(CacheError::WrongDigest { expected: expected.to_string(), actual: actual.to_string() })
    }
}

fn make_read_only(temp: &NamedTempFile) -> Result<(), CacheError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o444);
    temp.as_file().set_permissions(mode).map_err(CacheError::io("set the mode of", temp.path()))
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CacheError::io("flush", dir))
}

impl<D: Digest> Write for BlobWriter<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.temp.as_file_mut().write(bytes)?;
        D::update(&mut self.hasher, &bytes[..written]);
        self.size += written as u64;
        self.hurry();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
