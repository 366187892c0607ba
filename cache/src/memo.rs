//! What a file looked like when its digest was computed, so that an unchanged file costs one `stat`.
//!
//! The digests of all files of a directory are one row of the index, because to look for a row takes longer than to
//! look at a file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::record::whole_bytes;
use crate::unwritten::may_change_unseen;
use crate::{BlobId, Record};

/// The longest tick of a file system's clock: two seconds of FAT. Others have whole seconds (ext4 with inodes of 128 bytes, some
/// remote ones) or up to ten milliseconds.
const LONGEST_TICK: Duration = Duration::from_secs(2);

/// A file's identity and times as `stat` tells them. That two are equal does not mean that the content is: the file may have been
/// written again within a tick of its file system's clock. [`WatchedFile`] gives stamps of which it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// During which run of the kernel it looked so. What a file system wrote before power was cut may be new bytes without the
    /// times that they brought (`fdatasync`), so a stamp says nothing after that.
    boot: u64,
    dev: u64,
    ino: u64,
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl FileStamp {
    /// The stamp of an open or listed file.
    pub fn of(meta: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            boot: boot().unwrap_or_default(),
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.len(),
            mtime_ns: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether every change after `moment` moves the times: the last one was more than a tick before it. Git calls the other
    /// case racy. A file with times from the future is never settled, nor is one whose time of change is a whole second. A
    /// kernel that counts fractions hardly ever gives such a time, so the file system does not keep them, or the time was written
    /// into an image that was made reproducibly: of two of these, mounted one after the other, all stamps may be equal.
    fn is_settled(&self, moment: SystemTime) -> bool {
        if self.ctime_ns % 1_000_000_000 == 0 || boot().is_none() {
            return false;
        }
        let moment = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        moment - self.mtime_ns.max(self.ctime_ns) > LONGEST_TICK.as_nanos() as i128
    }

    /// Whether the times show that the file system counts in whole seconds, so that a change within this second would not show.
    pub fn is_coarse(&self) -> bool {
        const SECOND: i128 = 1_000_000_000;
        self.mtime_ns % SECOND == 0 && self.ctime_ns % SECOND == 0
    }

    /// Where the memo of this file is kept.
    pub fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.dev.to_be_bytes());
        key[8..].copy_from_slice(&self.ino.to_be_bytes());
        key
    }
}

/// What this run of the kernel is called: the first half of a random UUID. `None` where the kernel does not tell.
fn boot() -> Option<u64> {
    static BOOT: OnceLock<Option<u64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let uuid = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).ok()
    })
}

/// A file that is read from its beginning to its end, to remember what was read for its stamp.
///
/// The clock is read before the file is opened. What is written while the file is read, or at any time afterwards, is written
/// after that moment. So it moves the times, if the last change before that moment was more than a tick ago, and if no program
/// has a page of the file mapped that it may write to unseen (`unwritten.rs`). A clock that is read at the end says nothing:
/// reading may take longer than a tick.
#[derive(Debug)]
pub struct WatchedFile {
    file: File,
    stamp: FileStamp,
    /// Whether every change after it was opened moves its times.
    is_settled: bool,
}

impl WatchedFile {
    /// Opens a regular file; a symbolic link is not followed, and nothing else is waited for.
    pub fn open(path: &Path) -> io::Result<Self> {
        let opened = SystemTime::now();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let stamp = FileStamp::of(&file.metadata()?);
        let is_settled = stamp.is_settled(opened) && !may_change_unseen(&file);
        Ok(Self { file, stamp, is_settled })
    }

    /// What `read` makes of it, and the stamp that stands for that from now on. There is none if the file changed meanwhile, or
    /// could change and have this stamp nevertheless.
    pub fn read<T>(self, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<(T, Option<FileStamp>)> {
        let made = read(&self.file)?;
        let is_unchanged = FileStamp::of(&self.file.metadata()?) == self.stamp;
        Ok((made, (is_unchanged && self.is_settled).then_some(self.stamp)))
    }
}

/// A digest with the stamp it is valid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoEntry {
    /// When the file was read.
    pub stamp: FileStamp,
    /// What its bytes were.
    pub digest: BlobId,
}

/// Entries of version 1 were made by a clock that was read too late, those of versions 3 and 5 did not know of
/// mappings, or of overlays, that of version 7 not of power cuts.
impl Record for MemoEntry {
    const SCHEMA: u16 = 9;
}

/// The digests of the files directly in a directory: one row for all of them, because looking for a row costs more than
/// looking at a file. It is kept under the directory's own key, and each file's stamp decides whether it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DirectoryMemo {
    /// By name.
    files: Vec<KnownFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownFile {
    #[serde(with = "whole_bytes")]
    name: Vec<u8>,
    entry: MemoEntry,
}

/// Another number than [`MemoEntry`]'s: a file may get the inode of a directory that is gone.
impl Record for DirectoryMemo {
    const SCHEMA: u16 = 10;
}

impl DirectoryMemo {
    /// What is known of files, in any order, each once.
    pub fn new(files: impl IntoIterator<Item = (Vec<u8>, MemoEntry)>) -> Self {
        let files = files.into_iter().map(|(name, entry)| KnownFile { name, entry });
        let mut files: Vec<_> = files.collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self { files }
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What is known of the file of this name, whatever it looks like.
    pub fn entry(&self, name: &[u8]) -> Option<&MemoEntry> {
        let place = self.files.binary_search_by(|known| known.name.as_slice().cmp(name)).ok()?;
        Some(&self.files[place].entry)
    }

    /// The digest of the file of this name, if it looks as it did when it was read.
    pub fn digest(&self, name: &[u8], stamp: &FileStamp) -> Option<BlobId> {
        let entry = self.entry(name)?;
        (entry.stamp == *stamp).then_some(entry.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_file_is_racy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = FileStamp::of(&file.as_file().metadata().unwrap());
        assert!(!stamp.is_settled(SystemTime::now()));
        assert!(stamp.is_settled(SystemTime::now() + LONGEST_TICK * 2));
        assert!(!stamp.is_settled(SystemTime::now() - LONGEST_TICK * 2), "its time is in the future");
    }

    /// A regression: the clock was read at the end, so what took long to read was called settled.
    #[test]
    fn what_was_young_when_reading_began_is_not_settled_at_the_end() {
        let path = tempfile::NamedTempFile::new_in("/var/tmp").unwrap().into_temp_path();
        std::fs::write(&path, "young").unwrap();
        let slowly = |_: &File| {
            std::thread::sleep(LONGEST_TICK + Duration::from_millis(100));
            Ok(())
        };
        assert_eq!(WatchedFile::open(&path).unwrap().read(slowly).unwrap(), ((), None));
        File::open(&path).unwrap().sync_all().unwrap();
        let stamp = FileStamp::of(&std::fs::metadata(&path).unwrap());
        assert_eq!(WatchedFile::open(&path).unwrap().read(text).unwrap(), ("young".to_owned(), Some(stamp)));
        let meanwhile = |_: &File| std::fs::write(&path, "other");
        let (_, settled) = WatchedFile::open(&path).unwrap().read(meanwhile).unwrap();
        assert_eq!(settled, None, "it changed while it was read");
    }

    /// A regression: what a program wrote through a mapping that it had written to before was never seen.
    #[test]
    fn a_file_that_a_mapping_can_change_unseen_is_not_settled() {
        let path = tempfile::NamedTempFile::new_in("/var/tmp").unwrap().into_temp_path();
        std::fs::write(&path, "first").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let mapped = Mapped::new(&file);
        mapped.write(b'a');
        std::thread::sleep(LONGEST_TICK + Duration::from_millis(100));
        // Its page is on the disk by now, or it is not: that is up to the kernel, and to nobody afterwards.
        for (written, next) in [(b'a', b'b'), (b'b', b'c')] {
            let (seen, settled) = WatchedFile::open(&path).unwrap().read(text).unwrap();
            assert_eq!(seen.as_bytes()[0], written);
            mapped.write(next);
            let now = FileStamp::of(&file.metadata().unwrap());
            assert_ne!(settled, Some(now), "a write was not seen");
            file.sync_all().unwrap();
        }
    }

    #[test]
    fn nothing_is_remembered_of_files_in_memory() {
        let path = tempfile::NamedTempFile::new_in("/dev/shm").unwrap().into_temp_path();
        std::fs::write(&path, "text").unwrap();
        std::thread::sleep(LONGEST_TICK + Duration::from_millis(100));
        assert_eq!(WatchedFile::open(&path).unwrap().read(text).unwrap(), ("text".to_owned(), None));
    }

    /// The first page of a file in memory, shared.
    struct Mapped(*mut std::ffi::c_void);

    impl Mapped {
        const LENGTH: usize = 5;

        fn new(file: &File) -> Self {
            use rustix::mm::{MapFlags, ProtFlags};
            let may = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: the kernel chooses the place, which belongs to nobody else.
            let mapped = unsafe {
                rustix::mm::mmap(std::ptr::null_mut(), Self::LENGTH, may, MapFlags::SHARED, file, 0)
            };
            Self(mapped.unwrap())
        }

        fn write(&self, byte: u8) {
            // SAFETY: the mapping is there until this is dropped, and the file has that many bytes.
            unsafe { self.0.cast::<u8>().write_volatile(byte) }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: nothing points there any more.
            unsafe { rustix::mm::munmap(self.0, Self::LENGTH) }.unwrap();
        }
    }

    fn text(mut file: &File) -> io::Result<String> {
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).map(|_| text)
    }

    /// A file system of ext4 whose inodes have no room for fractions of seconds.
    struct Coarse {
        dir: tempfile::TempDir,
    }

    impl Coarse {
        fn new() -> Self {
            let coarse = Self { dir: tempfile::tempdir_in("/var/tmp").unwrap() };
            let image = coarse.dir.path().join("image");
            File::create(&image).unwrap().set_len(8 << 20).unwrap();
            run("mkfs.ext4", &["-q".as_ref(), "-I".as_ref(), "128".as_ref(), image.as_os_str()]);
            std::fs::create_dir(coarse.mounted()).unwrap();
            run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), coarse.mounted().as_os_str()]);
            coarse
        }

        fn mounted(&self) -> std::path::PathBuf {
            self.dir.path().join("mounted")
        }
    }

    impl Drop for Coarse {
        fn drop(&mut self) {
            run("umount", &[self.mounted().as_os_str()]);
        }
    }

    #[track_caller]
    fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
        let output = std::process::Command::new(program).args(arguments).output().expect(program);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A regression: what was read first had the stamp of what came within the same second.
    #[test]
    fn nothing_is_remembered_where_times_are_whole_seconds() {
        let coarse = Coarse::new();
        let path = coarse.mounted().join("input");
        std::fs::write(&path, "a").unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        std::thread::sleep(LONGEST_TICK * 2);
        assert!(FileStamp::of(&std::fs::metadata(&path).unwrap()).is_coarse());
        assert_eq!(WatchedFile::open(&path).unwrap().read(text).unwrap(), ("a".to_owned(), None));
    }

    /// A regression: the pages of an overlay's file are those of the file below.
    #[test]
    fn nothing_is_remembered_of_files_in_an_overlay() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let place = |name: &str| dir.path().join(name);
        for name in ["lower", "upper", "work", "mounted"] {
            std::fs::create_dir(place(name)).unwrap();
        }
        std::fs::write(place("lower/input"), "a").unwrap();
        let below =
            ["lower", "upper", "work"].map(|name| format!("{name}dir={}", place(name).display())).join(",");
        let (kind, options) = (std::ffi::OsStr::new("overlay"), std::ffi::OsString::from(below));
        run("mount", &["-t".as_ref(), kind, "-o".as_ref(), &options, kind, place("mounted").as_os_str()]);
        let path = place("mounted/input");
        std::fs::write(&path, "b").unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        std::thread::sleep(LONGEST_TICK * 2);
        let read = WatchedFile::open(&path).and_then(|file| file.read(text));
        run("umount", &[place("mounted").as_os_str()]);
        assert_eq!(read.unwrap(), ("b".to_owned(), None));
    }

    #[test]
    fn nothing_but_a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(WatchedFile::open(&link).is_err());
    }

    #[test]
    fn a_directory_knows_its_files_by_name_and_stamp() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = FileStamp::of(&file.as_file().metadata().unwrap());
        let entry = |n| MemoEntry { stamp: stamp.clone(), digest: BlobId::from_bytes([n; 32]) };
        let memo = DirectoryMemo::new(vec![(b"b".to_vec(), entry(2)), (b"a".to_vec(), entry(1))]);
        assert_eq!(memo.digest(b"a", &stamp), Some(BlobId::from_bytes([1; 32])));
        assert_eq!(memo.digest(b"c", &stamp), None);
        let other = FileStamp { size: 7, ..stamp.clone() };
        assert_eq!(memo.digest(b"a", &other), None);
        // A regression: after a power cut there may be new bytes with the old times.
        let earlier = FileStamp { boot: stamp.boot ^ 1, ..stamp.clone() };
        assert!(stamp.boot != 0 && memo.digest(b"a", &earlier).is_none());
        assert_eq!(MemoEntry::from_bytes(&memo.to_bytes()), None);
        assert_eq!(DirectoryMemo::from_bytes(&entry(1).to_bytes()), None);
    }

    #[test]
    fn a_change_of_mode_moves_the_stamp() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = FileStamp::of(&file.as_file().metadata().unwrap());
        std::thread::sleep(Duration::from_millis(20));
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(before, FileStamp::of(&file.as_file().metadata().unwrap()));
    }
}
