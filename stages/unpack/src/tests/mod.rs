mod against_tar;
mod forms;
mod hostile;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::{Limits, Rules, UnpackError, unpack};

/// A directory to unpack into, `to`, with something beside it that is not to be touched.
struct Lab {
    root: tempfile::TempDir,
    rules: Rules,
    limits: Limits,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("to")).unwrap();
        fs::create_dir(root.path().join("beside")).unwrap();
        fs::write(root.path().join("beside/secret"), "untouched").unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let rules = Rules { strip: 0, uid, gid, latest: 2_000_000_000 };
        Self { root, rules, limits: Limits { members: 1000, bytes: 64 << 20 } }
    }

    fn strip(strip: u32) -> Self {
        let lab = Self::new();
        Self { rules: Rules { strip, ..lab.rules }, ..lab }
    }

    fn to(&self, path: &str) -> PathBuf {
        self.root.path().join("to").join(path)
    }

    fn unpack(&self, archive: &[u8]) -> Result<(), UnpackError> {
        let to = File::open(self.to("")).unwrap();
        let unpacked = unpack(&mut &archive[..], to.as_fd(), &self.rules, &self.limits);
        self.assert_nothing_left_the_directory();
        unpacked
    }

    fn assert_nothing_left_the_directory(&self) {
        let names = |dir: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.root.path()), ["beside", "to"]);
        let beside = self.root.path().join("beside");
        assert_eq!(names(&beside), ["secret"]);
        assert_eq!(fs::read(beside.join("secret")).unwrap(), b"untouched");
        let links = std::os::unix::fs::MetadataExt::nlink(&fs::metadata(beside.join("secret")).unwrap());
        assert_eq!(links, 1);
    }

    /// Unpacks what is refused, and tells why.
    #[track_caller]
    fn refusal(&self, archive: &[u8]) -> String {
        self.unpack(archive).expect_err("a refusal").to_string()
    }
}

/// An archive with names that no library would write.
#[derive(Default)]
struct Written(Vec<u8>);

impl Written {
    fn member(self, kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        let long = |kind, name: &[u8], written: Self| {
            if name.len() <= 100 { written } else { written.member(kind, b"././@LongLink", b"", name) }
        };
        let mut written = long(EntryType::GNULongName, name, self);
        written = long(EntryType::GNULongLink, target, written);
        let gnu = header.as_gnu_mut().unwrap();
        let (short, target) = (&name[..name.len().min(100)], &target[..target.len().min(100)]);
        gnu.name[..short.len()].copy_from_slice(short);
        gnu.linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        written.raw(&header, content)
    }

    fn raw(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.member(EntryType::Regular, name.as_bytes(), b"", content.as_bytes())
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name.as_bytes(), target.as_bytes(), b"")
    }

    fn directory(self, name: &str) -> Self {
        self.member(EntryType::Directory, name.as_bytes(), b"", b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A small archive as a library writes it.
fn small() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    builder.append_data(&mut header, "top/file", &b"hello"[..]).unwrap();
    builder.into_inner().unwrap()
}
