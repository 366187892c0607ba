//! examples/veil: both machines built, booted, looked at row by row, and attacked. In a night, all of its tests.
//!
//! Its store, its lock and its results stay in CI's cache: packages are downloaded once, and a machine that is the same as in
//! the last run, bit by bit, is not tried again with the same tests.

#![expect(clippy::print_stderr, reason = "tells what was measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "CI says by its environment where its cache is, and that it is night"
)]

mod ordinary;
#[path = "harness/png.rs"]
mod png;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ordinary::Ordinary;
use serde_json::Value;

const IBUILD: &str = env!("CARGO_BIN_EXE_ibuild");

/// The targets that everything here is about.
const TARGETS: [&str; 2] = ["gateway.ova", "workstation.ova"];

/// What is tried in every run. `leak` starts two machines and starts one of them twice.
const ALWAYS: [&str; 3] = ["gateway", "workstation", "leak"];

/// Megabytes that a machine may have.
const SIZES: [(&str, u64); 2] = [("gateway.ova", 350), ("workstation.ova", 450)];

/// What a display that shows something has at least. A console has a handful: letters have no shades.
const COLOURS: [(&str, usize); 3] =
    [("gateway/console", 2), ("workstation/console", 2), ("desktop/desktop", 500)];

/// A copy of the example, with a store of its own.
struct Appliance {
    project: PathBuf,
    store: PathBuf,
    /// Where they are, if nobody keeps them.
    _temporary: Option<tempfile::TempDir>,
}

impl Appliance {
    fn new() -> Self {
        let kept = std::env::var_os("IBUILD_CI_CACHE").map(|cache| Path::new(&cache).join("appliance"));
        let temporary = kept.is_none().then(|| tempfile::tempdir_in("/var/tmp").unwrap());
        let root = kept.unwrap_or_else(|| temporary.as_ref().expect("there is one then").path().to_owned());
        let appliance = Self { project: root.join("veil"), store: root.join("store"), _temporary: temporary };
        take_sources(&appliance.project);
        appliance
    }

    fn ibuild(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(IBUILD);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.project);
        command.env("IBUILD_CACHE_DIR", &self.store).arg("-C").arg(&self.project).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) {
        run(&mut self.ibuild(arguments), arguments);
    }

    /// What a command says.
    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.ibuild(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.project.join("out").join(name)
    }
}

/// The example as it is in this clone. The lock and the results of the last run stay.
fn take_sources(project: &Path) {
    fs::create_dir_all(project).unwrap();
    for name in ["files", "scripts", "tests", "ibuild.toml"] {
        let (from, to) = (Path::new("examples/veil").join(name), project.join(name));
        let _ = fs::remove_dir_all(&to);
        copy(&from, &to);
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-aT").args([from, to]).status().unwrap();
    assert!(status.success());
}

fn run(command: &mut Command, arguments: &[&str]) {
    let start = Instant::now();
    let status = command.status().unwrap();
    eprintln!("ibuild {}: {:.0} s", arguments.join(" "), start.elapsed().as_secs_f64());
    assert!(status.success(), "`ibuild {}` ended with {status}", arguments.join(" "));
}

fn is_night(what: &str) -> bool {
    let is_night = std::env::var_os("IBUILD_NIGHTLY").is_some();
    if !is_night {
        eprintln!("SKIPPED: {what}: IBUILD_NIGHTLY is not set");
    }
    is_night
}

#[test]
fn both_machines_are_small_told_of_and_free_of_traces() {
    let appliance = Appliance::new();
    appliance.run(&[&["build", "--target"][..], &TARGETS].concat());
    for (name, limit) in SIZES {
        let size = fs::metadata(appliance.out(name)).unwrap().len() / 1_000_000;
        eprintln!("{name}: {size} MB");
        assert!(size <= limit, "{name} has {size} MB, more than {limit}");
    }
    // Another sample each day.
    let day = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400;
    let sample = ["--sample", "10%", "--seed", &day.to_string()];
    let share = if is_night("all stages are verified") { &["--vary", "all"][..] } else { &sample[..] };
    appliance.run(&[&["verify"], &TARGETS[..], share].concat());
    for rootfs in ["gateway", "workstation"] {
        every_package_has_a_source(&appliance, rootfs);
        nothing_of_the_host_is_in(&appliance, rootfs);
    }
    the_ordinary_tools_accept_a_release(&appliance);
    another_store_goes_on_from_an_archive(&appliance);
}

/// A store that knows nothing but an archive of this one's results runs nothing, and makes the same images.
fn another_store_goes_on_from_an_archive(appliance: &Appliance) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let archive = dir.path().join("archive");
    appliance.run(&[&["cache", "export", "--to", archive.to_str().unwrap()][..], &TARGETS].concat());
    let fresh =
        Appliance { project: appliance.project.clone(), store: dir.path().join("store"), _temporary: None };
    let started = Instant::now();
    let said = fresh.ask(&["cache", "import", archive.to_str().unwrap()]);
    eprintln!(
        "{said} in {:.1} s of {} MB",
        started.elapsed().as_secs_f32(),
        fs::metadata(&archive).unwrap().len() / 1_000_000
    );
    fs::remove_file(&archive).unwrap();
    let plan: Value =
        serde_json::from_str(&fresh.ask(&[&["plan", "--json"][..], &TARGETS].concat())).unwrap();
    assert_eq!(plan["run"], 0);
    let out = dir.path().join("out");
    fresh.run(
        &[&["build", "--offline", "--locked", "--output", out.to_str().unwrap()][..], &TARGETS].concat(),
    );
    for target in TARGETS {
        assert!(fs::read(out.join(target)).unwrap() == fs::read(appliance.out(target)).unwrap(), "{target}");
    }
}

/// R42: checksums and signature by coreutils and gpgv, the bills by a reader that is not ours, the packages by dpkg inside.
fn the_ordinary_tools_accept_a_release(appliance: &Appliance) {
    let gpg = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(gpg.path().join("gpg.conf"), "batch\npinentry-mode loopback\npassphrase ''\n").unwrap();
    let with_home = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).env("GNUPGHOME", gpg.path()).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        output.stdout
    };
    with_home("gpg", &["--quick-generate-key", "veil", "ed25519", "sign", "never"]);
    let dir = appliance.out("release");
    let _ = fs::remove_dir_all(&dir);
    let arguments =
        [&["release", "--version", "test", "--sign", "gpg:veil", "--output", "out/release"][..], &TARGETS]
            .concat();
    run(appliance.ibuild(&arguments).env("GNUPGHOME", gpg.path()), &arguments);
    fs::write(gpg.path().join("keys.gpg"), with_home("gpg", &["--export"])).unwrap();
    let keys = gpg.path().join("keys.gpg");
    let inside = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).current_dir(&dir).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}");
    };
    inside("sha256sum", &["--quiet", "--strict", "--check", "SHA256SUMS"]);
    inside("gpgv", &["--quiet", "--keyring", keys.to_str().unwrap(), "SHA256SUMS.gpg", "SHA256SUMS"]);
    appliance.run(&["release", "--check", dir.to_str().unwrap(), "--key", keys.to_str().unwrap()]);
    for target in TARGETS {
        let reader = std::env::var_os("IBUILD_CI_CACHE")
            .map(|cache| Path::new(&cache).join("tools/spdx/bin/pyspdxtools"));
        match reader.filter(|reader| reader.exists()) {
            Some(reader) => inside(reader.to_str().unwrap(), &["-i", &format!("{target}.spdx.json")]),
            None => eprintln!("SKIPPED: a reader of bills: tests/setup installs it"),
        }
        let format = "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n";
        let rootfs = target.strip_suffix(".ova").unwrap();
        let said = appliance.ask(&["shell", rootfs, "--", "dpkg-query", "--show", "--showformat", format]);
        let mut expected: Vec<_> = said.lines().map(|line| line.trim_end_matches('\r')).collect();
        expected.sort_unstable();
        let listed = fs::read_to_string(dir.join(format!("{target}.packages"))).unwrap();
        assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    }
    with_home("gpgconf", &["--kill", "all"]);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn both_machines_are_what_they_should_be_and_leak_nothing() {
    let appliance = Appliance::new();
    appliance.run(&[&["build", "--target"][..], &TARGETS].concat());
    if is_night("the desktop, and what takes a night") {
        appliance.run(&["test", "--again"]);
        appliance.run(&["build", "--target", "veil.ova"]);
        both_are_in_one_file(&appliance);
    } else {
        appliance.run(&[&["test"][..], &ALWAYS].concat());
    }
    displays_show_something(&appliance);
    // What belonged to earlier states of the example goes, so that the cache does not grow.
    appliance.run(&["cache", "gc", "--keep", "1", "--wait"]);
}

/// R40: each package that dpkg calls installed is in one line, and only what the machine made itself is not Debian's.
fn every_package_has_a_source(appliance: &Appliance, rootfs: &str) {
    let status = appliance.ask(&["cat", rootfs, "/var/lib/dpkg/status"]);
    let installed =
        status.split("\n\n").filter(|text| text.contains("\nStatus: ") && text.contains(" ok installed\n"));
    let installed: Vec<_> =
        installed.filter_map(|text| text.trim_start().strip_prefix("Package: ")?.lines().next()).collect();
    let sources = appliance.ask(&["packages", "sources", rootfs]);
    let lines: Vec<Vec<_>> = sources.lines().map(|line| line.split('\t').collect()).collect();
    let mut listed: Vec<_> = lines.iter().flat_map(|line| line[4].split(", ")).collect();
    listed.sort_unstable();
    let expected: BTreeSet<_> = installed.iter().copied().collect();
    assert!(installed.len() > 100 && listed.iter().copied().eq(expected), "{sources}");
    let unknown: Vec<_> = lines.iter().filter(|line| line[3] == "-").map(|line| line[0]).collect();
    let own: &[&str] = if rootfs == "workstation" { &["tor"] } else { &[] };
    assert_eq!(unknown, own);
    let unnamed = lines.iter().filter(|line| line[2] == "-").count();
    eprintln!("{rootfs}: {} source packages, {unnamed} of them without a licence's name", lines.len());
    fs::write(appliance.out(&format!("{rootfs}.sources.tsv")), sources).unwrap();
}

/// R29b: no file says where the image was made. What only the host knows, no script of the image could look for.
fn nothing_of_the_host_is_in(appliance: &Appliance, rootfs: &str) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut traces = vec![appliance.project.display().to_string(), appliance.store.display().to_string()];
    let host = read("/proc/sys/kernel/hostname").trim().to_owned();
    // A shorter one is a word like any other.
    traces.extend(Some(host).filter(|name| name.len() > 4));
    let resolver = read("/etc/resolv.conf");
    let servers = resolver.lines().filter_map(|line| line.strip_prefix("nameserver "));
    traces
        .extend(servers.map(|server| server.trim().to_owned()).filter(|server| !server.starts_with("127.")));
    let found = files_with(appliance, rootfs, &traces);
    assert!(found.is_empty(), "{rootfs} has traces of this machine ({traces:?}): {found:?}");
    // What is there is found.
    let known = files_with(appliance, rootfs, &["10.152.152.10".to_owned()]);
    assert!(known.iter().any(|path| path == "/usr/lib/veil/network"), "{known:?}");
}

/// The files that have one of these words.
fn files_with(appliance: &Appliance, rootfs: &str, words: &[String]) -> Vec<String> {
    let search = "grep --recursive --files-with-matches --word-regexp --fixed-strings --devices=skip \
        --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev --exclude-dir=run";
    let mut arguments = vec!["shell", rootfs, "--"];
    arguments.extend(search.split_whitespace());
    words.iter().for_each(|word| arguments.extend(["-e", word]));
    arguments.push("/");
    let output = appliance.ibuild(&arguments).output().unwrap();
    // 1: there are none.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// `veil.ova` has the very disks of the single files, which have been booted, and other programs can read it.
fn both_are_in_one_file(appliance: &Appliance) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let unpack = |name: &str| {
        let place = dir.path().join(name);
        fs::create_dir(&place).unwrap();
        let status = Command::new("tar").arg("-xf").arg(appliance.out(name)).arg("-C").arg(&place).status();
        assert!(status.unwrap().success());
        place
    };
    let together = unpack("veil.ova");
    for machine in ["gateway", "workstation"] {
        let disk = format!("{machine}-disk001.vmdk");
        let single = unpack(&format!("{machine}.ova")).join(&disk);
        let status = Command::new("cmp").args([&single, &together.join(&disk)]).status().unwrap();
        assert!(status.success(), "{disk} is another one");
        let checked = Command::new("qemu-img")
            .args(["info", "--output=json"])
            .arg(together.join(&disk))
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!((&told["format"], told["virtual-size"].as_u64()), (&Value::from("vmdk"), Some(100 << 30)));
    }
    // SHA256(NAME)= DIGEST, which is another order of the words of sha256sum's `--tag`.
    let manifest = fs::read_to_string(together.join("veil.mf")).unwrap();
    fs::write(together.join("sums"), manifest.replace("SHA256(", "SHA256 (").replace(")= ", ") = ")).unwrap();
    let status =
        Command::new("sha256sum").args(["--check", "--strict", "sums"]).current_dir(&together).status();
    assert!(status.unwrap().success() && manifest.lines().count() == 3, "{manifest}");
}

fn displays_show_something(appliance: &Appliance) {
    for (name, least) in COLOURS {
        let path = appliance.out("tests").join(name).with_extension("png");
        // That of the desktop is there if a night has been since the cache was made.
        if name.starts_with("desktop") && !path.exists() {
            continue;
        }
        let found = png::colours(&fs::read(&path).unwrap());
        eprintln!("{}: {found} colours", path.display());
        assert!(found >= least, "{} has {found} colours, and not {least}", path.display());
    }
}

#[test]
fn root_and_an_ordinary_user_make_the_same_files() {
    if !is_night("two builds from nothing") {
        return;
    }
    let appliance = Appliance::new();
    appliance.run(&[&["build", "--target"][..], &TARGETS].concat());
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let user = Ordinary::new(root.path());
    let by_root = Appliance {
        project: root.path().join("of-root"),
        store: root.path().join("store-of-root"),
        _temporary: None,
    };
    let by_user = Appliance {
        project: user.home().join("veil"),
        store: user.home().join(".cache/ibuild"),
        _temporary: None,
    };
    for fresh in [&by_root, &by_user] {
        take_sources(&fresh.project);
        fs::create_dir_all(&fresh.store).unwrap();
        copy(&appliance.project.join("ibuild.lock"), &fresh.project.join("ibuild.lock"));
        copy(&appliance.store.join("packages"), &fresh.store.join("packages"));
    }
    user.give(&user.home());
    let release = ["release", "--version", "1", "--output", "out", "--offline"];
    let arguments = [&["-C", "veil"][..], &release, &TARGETS].concat();
    run(user.command(Path::new(IBUILD)).args(&arguments), &arguments);
    by_root.run(&[&release[..], &TARGETS].concat());
    for target in TARGETS {
        let digest = |of: &Appliance| {
            let manifest = fs::read(of.out(&format!("{target}.manifest.json"))).unwrap();
            serde_json::from_slice::<Value>(&manifest).unwrap()["blake3"].as_str().unwrap().to_owned()
        };
        let digests = [&appliance, &by_root, &by_user].map(digest);
        eprintln!("{target}: {}", digests[0]);
        assert!(digests.iter().all(|found| *found == digests[0]), "{target}: {digests:?}");
    }
    // The checksums name every other file.
    let sums = [&by_root, &by_user].map(|of| fs::read_to_string(of.out("SHA256SUMS")).unwrap());
    assert_eq!(sums[0], sums[1]);
}
