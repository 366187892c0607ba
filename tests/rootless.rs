//! ibuild for an ordinary user: the real binary, started without any rights, makes what root makes.
//!
//! The test itself needs root, to make the user. The root file systems are one busybox with a few odd files; it takes the
//! place of what the first stage made, so no archive is needed.

mod ordinary;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ibuild::cache::{Batch, Digest, RocksIndex, Sha256, Store};
use ibuild::graph::{DirtyReason, Executor, FinishedRun, RunMemory, RunReason, StageName};
use ibuild::stages::packages::NullFetchObserver;
use ibuild::stages::recipe::{Overrides, Recipe};
use ibuild::stages::sandbox::{Cancel, InitProgram, Supervisor};
use ibuild::stages::snapshot::capture::{CaptureContext, capture};
use ibuild::stages::snapshot::volatile::VolatileList;
use ibuild::stages::snapshot::{LayerStore, Snapshot, TreeStore};
use ibuild::stages::{ArchiveOptions, ExecutorOptions, NullObserver, Project, StageExecutor, StageOutput};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ordinary::Ordinary;

const BUSYBOX: &str = "/bin/busybox";
const IBUILD: &str = env!("CARGO_BIN_EXE_ibuild");

const RECIPE: &str = r#"
schema = 1
[project]
name = "odd"
epoch = 1700000000
[archive.debian]
suites = ["trixie"]
components = ["main"]
[rootfs.odd]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian" } },
  { name = "owners", network = "none", run = '''
      mkdir -p /etc/deep; echo 1 > /etc/deep/file; chown 65534:42 /etc/deep/file; chown 1000:1001 /etc/deep
      chmod 2750 /etc/deep; echo s > /etc/suid; chown 5:6 /etc/suid; chmod 6755 /etc/suid
      ln /etc/suid /etc/other; ln -s suid /etc/link; mkfifo -m 600 /etc/pipe; chmod 700 /odd/capable; chown 7 /odd/list
  ''' },
  { name = "nodes", network = "none", run = '''
      mkdir /srv; mknod -m 660 /srv/disk b 8 1; cd /srv; mknod null c 1 3; mv null moved; chown 0:6 disk
      (umask 077; mknod private c 1 5); mkdir -p /jail/bin; cp /bin/busybox /jail/bin
      chroot /jail /bin/busybox mknod /inside c 1 7; chmod 600 /odd/null; rm /odd/zero
      ! mknod moved c 1 3; ! mknod /no/such/place c 1 3
  ''' },
  { name = "hide", network = "none", run = '''
      rm -r /odd/old /etc/other; mkdir /odd/old; echo new > /odd/old/new; rm /odd/gone; rm -r /odd/whole
  ''' },
  { name = "again", network = "none", machine = { cpus = 3, memory = "6 GiB", readdir = "sorted", clock = "epoch" }, run = '''
      ls /odd/old > /odd/old/list; ls /odd > /odd/names; echo more >> /etc/suid; chmod 6755 /etc/suid; ln /srv/moved /srv/link
      stat -c '%n %u %g %a' /etc/* /odd/* > /seen; id -u > /id; id -g >> /id; id -G >> /id
      uname -a > /machine; cat /proc/version /proc/sys/kernel/osrelease /proc/sys/kernel/random/boot_id >> /machine
      mkdir /listed; touch /listed/b /listed/a /listed/c
      { cut -c 1-2 /proc/uptime; nproc; free; date +%Y-%m; find /listed; df -k / /tmp; stat -f / /tmp; cat /proc/cpuinfo /proc/meminfo; } >> /machine
  ''' },
  { name = "got", fetch = [
      { url = "http://127.0.0.1:9/f.tar.gz", sha256 = "[SHA256]", to = "/opt/got", unpack = true, owner = 5, group = 6 },
      { url = "http://127.0.0.1:9/f.tar.gz", sha256 = "[SHA256]", to = "/opt/f", owner = 7, mode = "2750" },
  ] },
]
[rootfs.copy]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian" } },
  { name = "taken", copy-from = { rootfs = "odd", paths = ["/etc", "/srv", "/odd"] } },
]
[image.odd]
rootfs = "odd"
formats = ["rootfs.tar.zst"]
disk = { size = "1 GiB" }
"#;

const LOCK: &str = "format 1
release debian main trixie sha256:1111111111111111111111111111111111111111111111111111111111111111 10 2026-01-01T00:00:00Z
";

const STAGES: [&str; 6] = ["odd/owners", "odd/nodes", "odd/hide", "odd/again", "odd/got", "copy/taken"];

/// A project for root and the same for an ordinary user, each with a store of its own.
struct Lab {
    root: tempfile::TempDir,
    user: Ordinary,
}

/// Who builds.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Root,
    User,
}

impl Lab {
    /// With stores that have the first stage's result.
    fn new() -> Self {
        let lab = Self::unseeded();
        for who in [Who::Root, Who::User] {
            seed(&lab.home(who).join("project"), &lab.store_dir(who), lab.root.path());
        }
        lab.user.give(&lab.user.home());
        lab
    }

    fn unseeded() -> Self {
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        // Not /tmp: it may be a file system without the attributes that overlays use.
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let user = Ordinary::new(root.path());
        let lab = Self { root, user };
        for who in [Who::Root, Who::User] {
            let project = lab.home(who).join("project");
            fs::create_dir_all(&project).unwrap();
            fs::write(project.join("ibuild.toml"), recipe()).unwrap();
            fs::write(project.join("ibuild.lock"), LOCK).unwrap();
        }
        lab.user.give(&lab.user.home());
        lab
    }

    fn home(&self, who: Who) -> PathBuf {
        if who == Who::Root { self.root.path().join("root") } else { self.user.home() }
    }

    fn store_dir(&self, who: Who) -> PathBuf {
        self.home(who).join(".cache/ibuild")
    }

    /// ibuild as it would be typed in the home. Only the user is left to find the store without being told.
    fn ibuild(&self, who: Who, arguments: &[&str]) -> Command {
        let mut command = match who {
            Who::User => self.user.command(Path::new(IBUILD)),
            Who::Root => {
                let mut command = Command::new(IBUILD);
                command.env("IBUILD_CACHE_DIR", self.store_dir(who)).current_dir(self.home(who));
                command
            }
        };
        command.args(["-C", "project"]).args(arguments);
        command
    }

    fn run(&self, who: Who, arguments: &[&str]) -> Output {
        self.ibuild(who, arguments).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, who: Who, arguments: &[&str]) -> String {
        let output = self.run(who, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fail(&self, who: Who, status: i32, arguments: &[&str]) -> String {
        let output = self.run(who, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{said}");
        said
    }

    /// What a stage made: its tree, its layers, and the key of the action.
    fn made(&self, who: Who, stage: &str) -> [serde_json::Value; 3] {
        let json: serde_json::Value =
            serde_json::from_str(&self.succeed(who, &["cache", "show", stage, "--json"])).unwrap();
        let layers = json["layers"].as_array().unwrap().iter();
        assert!(json["tree"].is_string(), "{json}");
        [json["tree"].clone(), layers.map(|l| l["layer"].clone()).collect(), json["key"].clone()]
    }

    #[track_caller]
    fn assert_same_stages(&self) {
        for stage in STAGES {
            assert_eq!(self.made(Who::User, stage), self.made(Who::Root, stage), "{stage}");
        }
        let image = |who| fs::read(self.home(who).join("project/out/odd.rootfs.tar.zst")).unwrap();
        assert!(image(Who::User) == image(Who::Root), "the images differ");
    }
}

/// With the digest of what it fetches.
fn recipe() -> String {
    RECIPE.replace("[SHA256]", &Sha256::of(&elsewhere()).hex())
}

/// An archive that both stores have already. It has the same bytes each time.
fn elsewhere() -> Vec<u8> {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(dir.path().join("bin/tool"), "tool").unwrap();
    fs::set_permissions(dir.path().join("bin/tool"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("bin/tool", dir.path().join("link")).unwrap();
    fs::hard_link(dir.path().join("bin/tool"), dir.path().join("same")).unwrap();
    let fixed = ["--sort=name", "--mtime=@1600000000", "--owner=1", "--group=2"];
    let made = Command::new("tar").args(["-c", "-C"]).arg(dir.path()).args(fixed).arg(".").output().unwrap();
    assert!(made.status.success());
    made.stdout
}

const BUILD: &[&str] = &["build", "--target", "odd.rootfs.tar.zst"];
const BUILD_COPY: &[&str] = &["build", "--until", "copy/taken"];

/// A root file system with what an ordinary user cannot make.
fn make_base(base: &Path) {
    for dir in ["bin", "etc", "odd/old/sub", "odd/whole", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    fs::copy(BUSYBOX, base.join("bin/busybox")).unwrap();
    let applets = Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
    for name in ["capable", "list", "gone", "old/file", "whole/file"] {
        fs::write(base.join("odd").join(name), name).unwrap();
    }
    chown(base.join("odd/old/file"), Some(33), Some(33)).unwrap();
    for (name, major, minor) in [("null", "1", "3"), ("zero", "1", "5"), ("stays", "5", "1")] {
        let path = base.join("odd").join(name);
        let made = Command::new("mknod").args(["-m", "640"]).arg(path).args(["c", major, minor]).status();
        assert!(made.unwrap().success());
    }
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&base.join("odd/capable"), "security.capability", &capability);
    set_xattr(&base.join("odd/list"), "user.overlay.opaque", b"y");
    set_xattr(&base.join("odd/old/sub"), "system.posix_acl_default", &acl(42));
    set_xattr(&base.join("odd/list"), "system.posix_acl_access", &acl(1000));
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    let text = |bytes: &[u8]| std::ffi::CString::new(bytes).unwrap();
    let (place, key) = (text(path.as_os_str().as_bytes()), text(name.as_bytes()));
    // SAFETY: both texts and the value live through the call.
    let done = unsafe { libc::setxattr(place.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(done, 0, "{name} of {}: {}", path.display(), std::io::Error::last_os_error());
}

/// An access list that lets one more user read (acl(5), in the kernel's own form).
fn acl(user: u32) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1, 6, none), (2, 4, user), (4, 4, none), (16, 4, none), (32, 0, none)];
    let entry = |(tag, rights, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), entries.into_iter().flat_map(entry).collect()].concat()
}

/// Puts a result of the first stage into a store: a fake, so that nothing has to be fetched and installed.
fn seed(project_dir: &Path, store_dir: &Path, work: &Path) {
    let recipe = Recipe::load(project_dir, &Overrides::default()).unwrap();
    let project = Project::new(&recipe);
    let store = Store::open(store_dir, RocksIndex::new).unwrap();
    store.packages().put(&elsewhere()).unwrap();
    let base = work.join("base");
    make_base(&base);
    let trees = TreeStore::new(&store);
    let context =
        CaptureContext { trees: &trees, epoch: recipe.project.epoch, volatile: VolatileList::with(&[]) };
    let captured = capture(&context, &base, None).unwrap();
    let mut facts = Batch::default();
    let layer = LayerStore::new(&store).publish(&base, &captured.changes, &mut facts).unwrap();
    trees.flush(&mut facts);
    let output = StageOutput::Snapshot(Snapshot::of(captured.tree, vec![layer.id]));
    let program = InitProgram { program: IBUILD.into(), arguments: Vec::new() };
    let lock = project_dir.join("ibuild.lock");
    let options =
        ExecutorOptions { archives: ArchiveOptions { lock, ..Default::default() }, ..Default::default() };
    let supervisor = Supervisor::new(program, Cancel::default());
    let executor = StageExecutor::new(
        &project,
        &store,
        supervisor,
        options,
        Arc::new(NullObserver),
        Arc::new(NullFetchObserver),
    );
    let (memory, reason) = (RunMemory::new(&store, "odd"), RunReason::from(DirtyReason::NeverBuilt));
    for name in ["odd/bootstrap", "copy/bootstrap"].map(StageName::new) {
        let description = executor.describe(project.graph.find(&name).unwrap(), &[]).unwrap();
        let facts = std::mem::take(&mut facts);
        memory
            .remember_run(
                &name,
                FinishedRun { description: &description, facts, reason: reason.clone(), millis: 1 },
                &output,
            )
            .unwrap();
    }
    // Whoever builds unpacks it again.
    fs::remove_dir_all(store_dir.join("layers")).unwrap();
}

#[test]
fn an_ordinary_user_makes_what_root_makes() {
    let lab = Lab::new();
    for who in [Who::Root, Who::User] {
        lab.succeed(who, BUILD);
        lab.succeed(who, BUILD_COPY);
    }
    lab.assert_same_stages();
    let out = fs::metadata(lab.user.home().join("project/out/odd.rootfs.tar.zst")).unwrap();
    assert_eq!((out.uid(), out.gid(), out.mode() & 0o777), (ordinary::UID, ordinary::UID, 0o644));
    assert!(lab.succeed(Who::User, BUILD).contains("0 run, 7 cached"));
}

/// Layers that root packed, unpacked by an ordinary user, and stages run upon them.
/// What one of them made the other takes, and runs nothing: nodes, owners, attributes and links are in layers as they are in trees.
#[test]
fn results_travel_between_root_and_an_ordinary_user() {
    let lab = Lab::new();
    for (from, to) in [(Who::Root, Who::User), (Who::User, Who::Root)] {
        lab.succeed(from, BUILD);
        lab.succeed(from, BUILD_COPY);
        let archive = lab.home(from).join("project/results.tar");
        lab.succeed(from, &["cache", "export", "odd.rootfs.tar.zst", "copy", "--to", "results.tar"]);
        let bytes = fs::read(&archive).unwrap();
        fs::remove_file(&archive).unwrap();
        let received = lab.home(to).join("received.tar");
        fs::write(&received, bytes).unwrap();
        lab.user.give(&lab.user.home());
        let with_store = |arguments: &[&str]| {
            let store = lab.home(to).join("other-store");
            [&["--cache-dir", store.to_str().unwrap()][..], arguments]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let run = |arguments: &[&str]| {
            let arguments = with_store(arguments);
            lab.succeed(to, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        run(&["cache", "import", received.to_str().unwrap()]);
        let plan: serde_json::Value =
            serde_json::from_str(&run(&["plan", "odd.rootfs.tar.zst", "--json"])).unwrap();
        assert_eq!(plan["run"], 0, "{plan:#}");
    }
}

/// The user signs with a key that root of a namespace could not reach by its agent.
#[test]
fn an_ordinary_user_releases_what_root_releases_and_signs_it() {
    let lab = Lab::new();
    let gpg = |arguments: &[&str]| {
        let mut gpg = lab.user.command(Path::new("/usr/bin/gpg"));
        let output =
            gpg.args(["--batch", "--passphrase", "", "--pinentry-mode", "loopback"]).args(arguments).output();
        assert!(output.as_ref().unwrap().status.success(), "{output:?}");
    };
    gpg(&["--quick-generate-key", "me@example.org", "ed25519", "sign", "never"]);
    let release = ["release", "--version", "1", "odd.rootfs.tar.zst"];
    lab.succeed(Who::User, &[&release[..], &["--sign", "gpg:me@example.org"]].concat());
    lab.succeed(Who::Root, &release);
    let sums = |who| fs::read_to_string(lab.home(who).join("project/out/odd-1/SHA256SUMS")).unwrap();
    assert_eq!(sums(Who::User), sums(Who::Root));
    assert!(lab.home(Who::User).join("project/out/odd-1/SHA256SUMS.gpg").is_file());
    let mut kill = lab.user.command(Path::new("/usr/bin/gpgconf"));
    assert!(kill.args(["--kill", "all"]).status().unwrap().success());
}

#[test]
fn an_ordinary_user_goes_on_where_root_was() {
    let lab = Lab::new();
    lab.succeed(Who::Root, BUILD);
    lab.succeed(Who::Root, BUILD_COPY);
    let (from, to) = (lab.store_dir(Who::Root), lab.store_dir(Who::User));
    fs::remove_dir_all(&to).unwrap();
    let copied = Command::new("cp").arg("-a").args([&from, &to]).status().unwrap();
    assert!(copied.success());
    lab.user.give(&to);
    fs::remove_dir_all(to.join("layers")).unwrap();
    let said = lab.succeed(Who::User, &[BUILD, &["--from", "odd/again"]].concat());
    assert!(said.contains("3 run, 4 cached"), "{said}");
    lab.succeed(Who::User, &[BUILD_COPY, &["--from", "copy/taken"]].concat());
    lab.assert_same_stages();
}

#[test]
fn device_nodes_are_files_that_stand_for_them() {
    let lab = Lab::new();
    lab.succeed(Who::User, &["build", "--until", "odd/nodes"]);
    let look = "stat -c '%F %a %u %g' /srv/disk /srv/private /odd/stays; mknod /dev/null c 1 3";
    let output = lab.run(Who::User, &["shell", "odd/nodes", "--", "/bin/sh", "-c", look]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = "regular empty file";
    assert_eq!(said, format!("{file} 660 0 6\n{file} 600 0 0\n{file} 640 0 0\n"));
    // The name is taken, as the kernel would have said.
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("File exists"), "{output:?}");
}

#[test]
fn everything_can_be_removed_again() {
    let lab = Lab::new();
    lab.succeed(Who::User, BUILD);
    let layers = lab.store_dir(Who::User).join("layers");
    let foreign = Command::new("find").arg(&layers).args(["-uid", "+4711000"]).output().unwrap();
    assert!(!foreign.stdout.is_empty(), "no file belongs to a subordinate id");
    assert!(lab.succeed(Who::User, &["cache", "stats"]).contains("unpacked layers  6"));
    lab.succeed(Who::User, &["cache", "fsck"]);
    lab.succeed(Who::User, &["cache", "rm", "--stages"]);
    let left =
        Command::new("find").arg(lab.store_dir(Who::User)).args(["-uid", "+4711000"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn the_exit_status_the_directory_and_interrupts_are_those_of_one_process() {
    let lab = Lab::new();
    lab.succeed(Who::User, &["build", "--until", "odd/owners"]);
    assert_eq!(lab.run(Who::User, &["shell", "odd", "--", "/bin/true"]).status.code(), Some(2));
    let shell = |script| lab.run(Who::User, &["shell", "odd/owners", "--", "/bin/sh", "-c", script]);
    assert_eq!(shell("exit 7").status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&shell("id -u; id -G; pwd").stdout), "0\n0\n/\n");
    fs::write(lab.user.home().join("project/ibuild.toml"), with_sleeper()).unwrap();
    for (signal, status) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let mut child = sleeping_build(&lab);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), status);
        wait_until("all processes are gone", || sleepers() == 0);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(lab.root.path().to_str().unwrap()), "{mounts}");
}

fn with_sleeper() -> String {
    let sleeper =
        "{ name = \"owners\", network = \"none\", run = '''\n      setsid sleep 47110816 & sleep 47110816\n";
    let recipe = recipe().replacen("{ name = \"owners\", network = \"none\", run = '''\n", sleeper, 1);
    assert_ne!(recipe, RECIPE);
    recipe
}

/// Starts a build and waits until its stage sleeps. The process is ibuild itself, not something before it.
fn sleeping_build(lab: &Lab) -> Child {
    let mut command = lab.ibuild(Who::User, &["build", "--until", "odd/owners"]);
    let child = command.stderr(Stdio::null()).spawn().unwrap();
    wait_until("the stage sleeps", || sleepers() == 2);
    child
}

/// How many processes of the stage sleep.
fn sleepers() -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.starts_with(b"sleep") && line.ends_with(b"\x0047110816\0")).count()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_has_no_ids_is_told_the_command() {
    let mut lab = Lab::unseeded();
    lab.user.subids = "somebody:100000:65536\n".to_owned();
    let remedy = "usermod --add-subuids 165536-231071 --add-subgids 165536-231071 tester";
    let said = lab.fail(Who::User, 3, BUILD);
    assert_eq!(
        said,
        format!(
            "error: without root, this works in a user namespace only, and there is none\n  \
             caused by: `/etc/subuid` gives the user `tester` no range of at least 65535 ids\n\
             hint: {remedy}\nhint: `ibuild -C project doctor` tells all that is missing\n"
        )
    );
    assert_eq!(lab.fail(Who::User, 3, &["cache", "gc"]), said);
    let doctor = lab.run(Who::User, &["doctor", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let checks = json["checks"].as_array().unwrap();
    let ids = checks.iter().find(|check| check["what"] == "subuid, subgid").unwrap();
    assert_eq!((&ids["state"], &ids["remedy"]), (&"missing".into(), &remedy.into()));
    assert_eq!(doctor.status.code(), Some(3));
    // What only reads needs nothing of this.
    lab.succeed(Who::User, &["recipe", "check"]);
    assert!(lab.succeed(Who::User, &["plan", "--target", "odd"]).contains("never built"));
    lab.succeed(Who::User, &["cache", "ls"]);
}

#[test]
fn the_doctor_tries_what_an_ordinary_user_needs() {
    let lab = Lab::unseeded();
    let said = lab.run(Who::User, &["doctor", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let state = |what: &str| {
        let found = json["checks"].as_array().unwrap().iter().find(|check| check["what"] == what);
        found.unwrap_or_else(|| panic!("no {what} in {json}"))["state"].as_str().unwrap()
    };
    for what in ["user", "user namespaces", "newuidmap", "subuid, subgid", "user's overlayfs"] {
        assert_eq!(state(what), "ok", "{json}");
    }
    let names =
        |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&lab.user.home()), ["project"], "the doctor left something");
}

#[test]
fn root_and_others_do_not_share_a_store() {
    let lab = Lab::unseeded();
    lab.succeed(Who::User, &["cache", "ls"]);
    lab.succeed(Who::Root, &["cache", "ls"]);
    fs::set_permissions(lab.home(Who::Root), fs::Permissions::from_mode(0o755)).unwrap();
    let (users, roots) = (lab.store_dir(Who::User), lab.store_dir(Who::Root));
    let (users, roots) = (users.to_str().unwrap(), roots.to_str().unwrap());
    for (who, store) in [(Who::Root, users), (Who::User, roots)] {
        for command in [&["cache", "ls"][..], &["cache", "gc"], BUILD] {
            let said = lab.fail(who, 3, &[&["--cache-dir", store], command].concat());
            let error = format!("error: the store at `{store}` belongs to another user\nhint: ");
            assert!(said.starts_with(&error), "{said}");
        }
    }
}

#[test]
fn ids_that_the_user_does_not_have_are_named() {
    let lab = Lab::unseeded();
    // A result that root made, with an owner that is beyond what most users can map.
    let base = lab.root.path().join("base");
    fs::create_dir_all(base.join("etc")).unwrap();
    fs::write(base.join("etc/far"), "far").unwrap();
    chown(base.join("etc/far"), Some(70_000), Some(0)).unwrap();
    seed(&lab.user.home().join("project"), &lab.store_dir(Who::User), lab.root.path());
    lab.user.give(&lab.user.home());
    let said = lab.fail(Who::User, 3, &["build", "--until", "odd/owners"]);
    assert!(said.contains("caused by: cannot set the owner of `") && said.contains("etc/far`"), "{said}");
    assert!(said.contains("the owner 70000:0 is beyond the ids that `/etc/subuid`"), "{said}");
}
