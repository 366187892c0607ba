//! A real sandbox over a root file system that is one busybox. It needs root, overlayfs and namespaces.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibuild::stages::sandbox::{
    Cancel, Ended, InitProgram, Limits, NetworkSpec, Payload, SandboxError, Spec, Stdio, Supervisor,
};

const BUSYBOX: &str = "/bin/busybox";

/// A sandbox and the directory that has everything of it: `layers/base`, `run`, `log`.
pub struct Lab {
    pub root: tempfile::TempDir,
    pub spec: Spec,
}

impl Lab {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "sandboxes need root");
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let layers = root.path().join("layers");
        make_base(&layers.join("base"));
        fs::create_dir_all(root.path().join("run/upper")).unwrap();
        let spec = Spec {
            layers_dir: layers,
            lowers: vec!["base".to_owned()],
            run_dir: root.path().join("run"),
            binds: Vec::new(),
            from: Vec::new(),
            inject: Vec::new(),
            network: NetworkSpec::Isolated,
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            payload: Payload::Exec { argv: Vec::new() },
            stdio: Stdio::Log,
            timeout: Some(Duration::from_secs(60)),
            limits: Limits::default(),
        };
        Self { root, spec }
    }

    /// A path among what the payload changed.
    pub fn upper(&self, path: &str) -> PathBuf {
        self.root.path().join("run/upper").join(path)
    }

    /// Makes a text for the shell the payload.
    pub fn script(&mut self, script: &str) -> &mut Self {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        self.spec.payload = Payload::Exec { argv };
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
        let ended = self.supervisor().0.run(&self.spec, Some(&file), |_| Ok(()));
        (ended, fs::read_to_string(&log).unwrap())
    }

    /// What a script says that succeeds.
    #[track_caller]
    pub fn output(&self) -> String {
        let (ended, output) = self.run();
        assert_eq!(ended.expect("a sandbox").status, 0, "{output}");
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
