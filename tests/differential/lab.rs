//! A project on disk, with a store that lives as long as it does.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File as Disk, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::files::{File, Files, Kind};
use crate::project::Project;

/// `project`, `store` and what a clean build needs, in a directory that goes with the value.
pub struct Lab {
    root: tempfile::TempDir,
    there: Files,
}

/// A build that has ended.
#[derive(Debug)]
pub struct Built {
    pub status: i32,
    /// The stages that ran.
    pub ran: BTreeSet<String>,
    /// All that it said, if it failed.
    pub stderr: String,
}

/// Which store is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that has been there for long.
    Incremental,
    /// One that knows nothing.
    Clean,
}

impl Place {
    fn store(self) -> &'static str {
        match self {
            Place::Incremental => "store",
            Place::Clean => "clean-store",
        }
    }

    fn output(self) -> &'static str {
        match self {
            Place::Incremental => "out",
            Place::Clean => "clean-out",
        }
    }
}

impl Lab {
    pub fn new() -> Self {
        let root = tempfile::tempdir_in(room()).unwrap();
        fs::create_dir(root.path().join("project")).unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        Self { root, there: Files::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("project").join(name)
    }

    /// Makes the files on disk those of a project. What is the same is not touched; what only has another name is renamed, as
    /// somebody at work would do it.
    pub fn write(&mut self, files: &Files) {
        let there = std::mem::take(&mut self.there);
        let mut gone: Vec<_> = there.iter().filter(|(path, _)| files.get(path).is_none()).collect();
        let mut new: Vec<_> = files.iter().filter(|(path, file)| there.get(path) != Some(*file)).collect();
        self.rename(&mut gone, &mut new, &there);
        // What is in a directory goes before it.
        gone.iter().rev().for_each(|(path, file)| self.remove(path, file));
        for (path, file) in &new {
            match there.get(path) {
                Some(old) if old.kind == file.kind => {}
                Some(old) => {
                    self.remove(path, old);
                    self.create(path, file);
                }
                None => self.create(path, file),
            }
            self.dress(path, file);
        }
        // A directory's own time changes with what is in it.
        new.iter().rev().for_each(|(path, file)| self.date(path, file));
        self.there = files.clone();
    }

    /// Renames what is gone from one place and new in another.
    fn rename(&self, gone: &mut Vec<(&String, &File)>, new: &mut Vec<(&String, &File)>, there: &Files) {
        for (from, file) in gone.clone().into_iter().filter(|(_, file)| file.kind != Kind::Directory) {
            let fits = |(to, it): &&(&String, &File)| {
                *it == file && there.get(to).is_none() && self.file(to).parent().unwrap().is_dir()
            };
            if let Some((to, _)) = new.iter().find(fits).copied() {
                fs::rename(self.file(from), self.file(to)).unwrap();
                gone.retain(|(path, _)| *path != from);
                new.retain(|(path, _)| *path != to);
            }
        }
    }

    fn remove(&self, path: &str, file: &File) {
        let place = self.file(path);
        match file.kind {
            Kind::Directory => fs::remove_dir_all(place).unwrap(),
            _ => fs::remove_file(place).unwrap(),
        }
    }

    fn create(&self, path: &str, file: &File) {
        let place = self.file(path);
        match &file.kind {
            Kind::Directory => fs::create_dir(place).unwrap(),
            Kind::Link(target) => symlink(target, place).unwrap(),
            Kind::Regular(bytes) => fs::write(place, bytes).unwrap(),
        }
    }

    fn dress(&self, path: &str, file: &File) {
        let place = self.file(path);
        lchown(&place, Some(file.owner), Some(file.owner)).unwrap();
        if !matches!(file.kind, Kind::Link(_)) {
            fs::set_permissions(&place, Permissions::from_mode(file.mode)).unwrap();
            set_attribute(&place, file.attribute.unwrap_or_default());
        }
    }

    fn date(&self, path: &str, file: &File) {
        if !matches!(file.kind, Kind::Link(_)) {
            let time = file.time.map(|time| SystemTime::UNIX_EPOCH + Duration::from_secs(time as u64));
            Disk::open(self.file(path)).unwrap().set_modified(time.unwrap_or_else(SystemTime::now)).unwrap();
        }
    }

    /// Writes a file anew, with the same bytes.
    pub fn touch(&self, path: &str) {
        let Some(File { kind: Kind::Regular(bytes), .. }) = self.there.get(path) else { return };
        let file = &self.there.get(path).expect("it is there");
        let beside = self.root.path().join("beside");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.file(path)).unwrap();
        self.dress(path, file);
        self.date(path, file);
    }

    /// Writes other bytes into a file, which stays the same file.
    pub fn scribble(&self, path: &str, bytes: &[u8]) {
        fs::write(self.file(path), bytes).unwrap();
    }

    /// Builds all images of a project.
    pub fn build(&self, project: &Project, place: Place) -> Built {
        self.build_and(project, place, |_| {})
    }

    /// The same, and does something whenever a stage has been started.
    pub fn build_and(&self, project: &Project, place: Place, mut started: impl FnMut(&str)) -> Built {
        let store = self.path(place.store());
        if place == Place::Clean {
            self.forget_clean();
        }
        let output = self.path(place.output());
        let mut child = self
            .ibuild(&store)
            .args(["build", "--json"])
            .args(&project.arguments)
            .arg("--output")
            .arg(&output)
            .arg("--target")
            .args(project.images())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ran = BTreeSet::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let stage = event["stage"].as_str().unwrap_or_default();
            if event["event"] == "started" {
                started(stage);
            }
            if event["event"] == "finished" && event["outcome"] == "ran" {
                ran.insert(stage.to_owned());
            }
        }
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Built { status: child.wait().unwrap().code().expect("ibuild was killed by a signal"), ran, stderr }
    }

    /// The program in the project's directory, in a cleared environment.
    pub fn ibuild(&self, store: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command
            .current_dir(self.path("project"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("IBUILD_CACHE_DIR", store)
            .stdin(Stdio::null());
        command
    }

    fn forget_clean(&self) {
        for dir in [Place::Clean.store(), Place::Clean.output()] {
            let _ = fs::remove_dir_all(self.path(dir));
        }
    }

    /// What a build has put beside an image.
    pub fn manifest(&self, place: Place, target: &str) -> serde_json::Value {
        let path = self.path(place.output()).join(format!("{target}.manifest.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// The digest of an image as it lies there.
    pub fn digest(&self, place: Place, target: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        let file = Disk::open(self.path(place.output()).join(target)).unwrap();
        hasher.update_reader(file).unwrap();
        hasher.finalize().to_hex().to_string()
    }
}

/// Gives a file the attribute of a checkout; takes it away if it is empty.
fn set_attribute(path: &Path, value: &str) {
    let place = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = c"user.checkout";
    // SAFETY: both strings end with a NUL, and the value is as long as is said.
    let done = unsafe {
        match value {
            "" => libc::lremovexattr(place.as_ptr(), name.as_ptr()),
            _ => libc::lsetxattr(place.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0),
        }
    };
    assert!(done == 0 || value.is_empty(), "cannot set an attribute of {}", path.display());
}

/// In memory if there is room: a build makes each of its results durable, and not every disk is fast. Else not in `/tmp`,
/// which may be a file system without the attributes that overlays use.
fn room() -> &'static str {
    let room =
        nix::sys::statvfs::statvfs("/dev/shm").map_or(0, |it| it.blocks_available() * it.fragment_size());
    if room > 2 << 30 { "/dev/shm" } else { "/var/tmp" }
}
