//! The file that a target was before the last one, to be written over by the next one.
//!
//! Most of an image is the same after an edit. The file that people have stays as it is until the new one is whole, so it cannot be
//! changed in place; but the one that it replaced can. So two files take turns, and only what differs is written.
//!
//! All of the file that is written over is read and digested, so it does not matter what it was. A file that somebody
//! has open, linked or mounted is left alone (`reach.rs`). A target that is built for the first time is
//! written twice if there is room.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ibuild_cache::{Encoder, Store};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::StageError;
use crate::publish::plain::make_plain;
use crate::publish::reach::is_nobody_elses;

/// Where the spare file of a target is, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviousOutput(PathBuf);

impl PreviousOutput {
    /// The one of a project's target.
    pub(crate) fn of(store: &Store, project: &str, target: &str) -> Self {
        let mut name = Encoder::new("ibuild spare v1");
        name.text(project);
        name.text(target);
        let name: String = name.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(store.layout().spares().join(name))
    }

    /// Moves it to `place`, where nobody else finds it. If somebody can reach it nevertheless, it is theirs, and there is
    /// nothing in `place`.
    pub(crate) fn take(&self, place: &Path) -> Result<(), StageError> {
        match fs::rename(&self.0, place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            taken => taken.map_err(StageError::io("take", &self.0))?,
        }
        if !is_nobody_elses(place) || File::open(place).and_then(|file| make_plain(&file)).is_err() {
            fs::remove_file(place).map_err(StageError::io("remove", place))?;
        }
        Ok(())
    }

    /// Gives `file` the name `place`. The file that had it before, if any, is the spare one now.
    pub(crate) fn trade(&self, file: &Path, place: &Path) -> io::Result<()> {
        // Of anything but a file the kernel is to say whether it may be replaced: a directory, for example, may not.
        if is_plain(place) && renameat_with(CWD, file, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            self.keep(file);
            return Ok(());
        }
        fs::rename(file, place)
    }

    /// Makes `file` the spare one. It only saves time: without it, the next image is written as a whole.
    pub(crate) fn keep(&self, file: &Path) {
        let _ = fs::rename(file, &self.0);
    }
}

/// Whether it may be written over, and not a link to something.
fn is_plain(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::process::{Command, Stdio};

    use ibuild_cache::MemoryIndex;

    use super::*;

    struct Lab {
        dir: tempfile::TempDir,
        spare: PreviousOutput,
    }

    impl Lab {
        fn new() -> Self {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let store = Store::open(&dir.path().join("store"), |_| MemoryIndex::default()).unwrap();
            let spare = PreviousOutput::of(&store, "p", "x.ova");
            Self { dir, spare }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Publishes a file that says `text`.
        fn publish(&self, text: &str) {
            fs::write(self.path("new"), text).unwrap();
            self.spare.trade(&self.path("new"), &self.path("x.ova")).unwrap();
            assert_eq!(fs::read_to_string(self.path("x.ova")).unwrap(), text);
            assert!(!self.path("new").exists());
        }

        fn taken(&self) -> Option<String> {
            let _ = fs::remove_file(self.path("taken"));
            self.spare.take(&self.path("taken")).unwrap();
            fs::read_to_string(self.path("taken")).ok()
        }
    }

    #[test]
    fn two_files_take_turns() {
        let lab = Lab::new();
        assert_eq!(lab.taken(), None);
        lab.publish("one");
        assert_eq!(lab.taken(), None, "there was none before it");
        lab.publish("two");
        assert_eq!(lab.taken().as_deref(), Some("one"));
        assert_eq!(lab.taken(), None);
        lab.publish("three");
        lab.publish("four");
        assert_eq!(lab.taken().as_deref(), Some("three"));
    }

    #[test]
    fn what_somebody_has_open_is_theirs() {
        let lab = Lab::new();
        lab.publish("one");
        let reader = File::open(lab.path("x.ova")).unwrap();
        lab.publish("two");
        assert_eq!(lab.taken(), None);
        assert_eq!(io::read_to_string(reader).unwrap(), "one");
    }

    #[test]
    fn what_somebody_linked_is_theirs() {
        let lab = Lab::new();
        lab.publish("one");
        fs::hard_link(lab.path("x.ova"), lab.path("good.ova")).unwrap();
        lab.publish("two");
        assert_eq!(lab.taken(), None);
        assert_eq!(fs::read_to_string(lab.path("good.ova")).unwrap(), "one");
    }

    #[test]
    fn what_somebody_holds_without_opening_it_is_theirs() {
        let lab = Lab::new();
        lab.publish("one");
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let held = rustix::fs::open(lab.path("x.ova"), flags, rustix::fs::Mode::empty()).unwrap();
        lab.publish("two");
        assert_eq!(lab.taken(), None);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
        assert_eq!(fs::read_to_string(path).unwrap(), "one");
    }

    /// As a container has a volume: nobody has the file open, and it has one name.
    #[test]
    fn what_somebody_mounted_is_theirs() {
        let lab = Lab::new();
        lab.publish("one");
        fs::write(lab.path("volume"), "").unwrap();
        let script = "mount --bind \"$0\" \"$1\" && echo mounted && read line && cat \"$1\"";
        let mut container = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .args([lab.path("x.ova"), lab.path("volume")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs `unshare` and root");
        let mut said = BufReader::new(container.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        lab.publish("two");
        assert_eq!(lab.taken(), None);
        container.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(io::read_to_string(said).unwrap(), "one");
        container.wait().unwrap();
        lab.publish("three");
        assert_eq!(lab.taken().as_deref(), Some("two"));
    }

    #[test]
    fn what_somebody_gave_to_a_file_does_not_come_back() {
        let lab = Lab::new();
        lab.publish("one");
        std::os::unix::fs::chown(lab.path("x.ova"), Some(1234), Some(77)).unwrap();
        fs::set_permissions(lab.path("x.ova"), fs::Permissions::from_mode(0o606)).unwrap();
        lab.publish("two");
        assert_eq!(lab.taken().as_deref(), Some("one"));
        let meta = fs::metadata(lab.path("taken")).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (own, 0o644));
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let lab = Lab::new();
        fs::write(lab.path("theirs"), "theirs").unwrap();
        symlink(lab.path("theirs"), lab.path("x.ova")).unwrap();
        lab.publish("one");
        assert_eq!(lab.taken(), None);
        assert_eq!(fs::read_to_string(lab.path("theirs")).unwrap(), "theirs");
        assert!(fs::symlink_metadata(lab.path("x.ova")).unwrap().is_file());
    }

    #[test]
    fn a_directory_stays_where_it_is() {
        let lab = Lab::new();
        fs::create_dir(lab.path("x.ova")).unwrap();
        fs::write(lab.path("x.ova/theirs"), "theirs").unwrap();
        fs::write(lab.path("new"), "new").unwrap();
        assert!(lab.spare.trade(&lab.path("new"), &lab.path("x.ova")).is_err());
        assert_eq!(fs::read_to_string(lab.path("x.ova/theirs")).unwrap(), "theirs");
    }
}
