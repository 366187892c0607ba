//! A real sandbox over a root file system that is one busybox. It needs root, overlayfs and namespaces.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibuild::cache::{BlobId, TreeId};
use ibuild::stages::sandbox::{
    Cancel, CopyItem, CopyList, CopySource, End, Ended, Executable, HostPaths, InitProgram, Limits,
    ListedFile, ListedKind, Look, NetworkSpec, Payload, ProjectContent, RunPolicy, SandboxError, SandboxView,
    SourcePlace, Spec, Stdio, Supervisor, VisibleMachine,
};

const BUSYBOX: &str = "/bin/busybox";

/// A sandbox and the directory that has everything of it: `layers/base`, `run`, `log`.
pub struct Lab {
    pub root: tempfile::TempDir,
    pub view: SandboxView,
    pub place: HostPaths,
    pub policy: RunPolicy,
}

impl Lab {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "sandboxes need root");
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let layers = root.path().join("layers");
        make_base(&layers.join("base"));
        fs::create_dir_all(root.path().join("run/upper")).unwrap();
        let view = SandboxView {
            machine: VisibleMachine::canonical(),
            shown: Vec::new(),
            secrets: Vec::new(),
            inject: Vec::new(),
            epoch: 1_000_000,
            network: NetworkSpec::Isolated,
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            payload: Payload::Exec { argv: Vec::new() },
        };
        let place = HostPaths {
            layers_dir: layers,
            lowers: vec!["base".to_owned()],
            run_dir: root.path().join("run"),
            from: Vec::new(),
            sources: Vec::new(),
            authority: None,
        };
        let policy = RunPolicy {
            timeout: Some(Duration::from_secs(60)),
            limits: Limits::default(),
            stdio: Stdio::Log,
        };
        Self { root, view, place, policy }
    }

    pub fn spec(&self) -> Spec {
        Spec::new(&self.view, self.place.clone(), self.policy.clone())
    }

    /// Puts a file where a stage is shown it, below `/run/ibuild`.
    pub fn show(&self, path: &str, text: &str) {
        let path = self.root.path().join("run/shown").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Lets the payload copy a file or directory, as it is now, besides what it copies already.
    pub fn copy(&mut self, from: &Path, to: &str, look: Look) {
        let mut list = CopyList::default();
        collect(from, Path::new(""), &mut list);
        let content = match list.files.as_slice() {
            [ListedFile { kind: ListedKind::File { content, size, access }, path }] if path.is_empty() => {
                ProjectContent::File { content: *content, size: *size, access: *access }
            }
            _ => ProjectContent::Tree(TreeId::from_bytes([1; 32])),
        };
        let item = CopyItem { source: CopySource::Project { content, look }, to: to.into() };
        match &mut self.view.payload {
            Payload::Copy(items) => items.push(item),
            payload => *payload = Payload::Copy(vec![item]),
        }
        let place = self.root.path().join(format!("list-{}", self.place.sources.len()));
        fs::write(&place, list.to_bytes()).unwrap();
        self.place.sources.push(Some(SourcePlace::Project { path: from.to_owned(), list: place }));
    }

    /// A path among what the payload changed.
    pub fn upper(&self, path: &str) -> PathBuf {
        self.root.path().join("run/upper").join(path)
    }

    /// Makes a text for the shell the payload.
    pub fn script(&mut self, script: &str) -> &mut Self {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        self.view.payload = Payload::Exec { argv };
        self
    }

    pub fn supervisor(&self) -> (Supervisor, Cancel) {
        let init = InitProgram {
            program: env!("CARGO_BIN_EXE_ibuild").into(),
            arguments: vec!["__stage-init".to_owned()],
        };
        let cancel = Cancel::default();
        (Supervisor::new(init, cancel.clone()), cancel)
    }

    /// How the payload ended, and what it said.
    pub fn run(&self) -> (Result<Ended, SandboxError>, String) {
        let log = self.root.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let ended = self.supervisor().0.run(&self.spec(), Some(&file), |_| Ok(()));
        (ended, fs::read_to_string(&log).unwrap())
    }

    /// What a script says that succeeds.
    #[track_caller]
    pub fn output(&self) -> String {
        let (ended, output) = self.run();
        assert_eq!(ended.expect("a sandbox").end, End::SUCCESS, "{output}");
        output
    }
}

fn make_base(base: &Path) {
    for dir in ["bin", "etc", "usr/lib", "usr/sbin", "var/lib/dbus", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    fs::copy(BUSYBOX, base.join("bin/busybox")).unwrap();
    let applets = std::process::Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
    symlink("usr/lib", base.join("lib")).unwrap();
    fs::write(base.join("etc/passwd"), "root:x:0:0::/:/bin/sh\ntor:x:107:115::/:/bin/false\n").unwrap();
    fs::write(base.join("etc/group"), "root:x:0:\ntor:x:115:\n").unwrap();
}

fn collect(root: &Path, path: &Path, list: &mut CopyList) {
    let place = if path == Path::new("") { root.to_owned() } else { root.join(path) };
    let kind = fs::symlink_metadata(&place).unwrap();
    let mut add = |kind| {
        list.files.push(ListedFile { path: path.as_os_str().as_bytes().to_vec(), kind });
    };
    if kind.is_symlink() {
        return add(ListedKind::Symlink(fs::read_link(place).unwrap().into_os_string().into_vec()));
    }
    if kind.is_file() {
        let content = BlobId::from_bytes(*blake3::hash(&fs::read(&place).unwrap()).as_bytes());
        return add(ListedKind::File { content, size: kind.len(), access: Executable::of_mode(kind.mode()) });
    }
    if path != Path::new("") {
        add(ListedKind::Directory);
    }
    let names = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name());
    names.for_each(|name| collect(root, &path.join(name), list));
}
