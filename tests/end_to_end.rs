//! hello, from its recipe to a login prompt: real Debian, real chroots, real QEMU, in one long story.
//!
//! The story is one test because each chapter stands on what the one before has built. It needs root, a Debian mirror, and
//! the tools that `ibuild doctor` lists; what is missing makes it fail, never pass.

#![expect(clippy::print_stderr, reason = "the story tells its chapters and what they measured")]

mod ordinary;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ibuild::cache::{BlobId, Digest};
use ordinary::Ordinary;

/// What a user sees of a build.
struct Built {
    digest: String,
    ran: Vec<String>,
    same_output: Vec<String>,
    /// What differs from what the very same action had made before.
    nondeterministic: Vec<String>,
}

struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let root = tempfile::Builder::new().prefix("ibuild-story-").tempdir_in("/var/tmp").unwrap();
        let world = Self { root };
        copy_tree(Path::new("examples/hello"), &world.path("one/hello"));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn ibuild(&self, project: &str, cache: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.root.path());
        command.env("IBUILD_CACHE_DIR", self.path(cache)).arg("-C").arg(self.path(project));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.ibuild("one/hello", "cache").args(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        expect_success(&self.run(arguments))
    }

    /// Builds the OVA and reads the events.
    #[track_caller]
    fn build(&self, project: &str, cache: &str, options: &[&str]) -> Built {
        let mut command = self.ibuild(project, cache);
        command.args(BUILD).args(options);
        Built::read(&expect_success(&command.output().unwrap()))
    }

    fn script(&self, name: &str) -> PathBuf {
        self.path("one/hello/scripts").join(name)
    }

    fn edit(&self, script: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.script(script)).unwrap();
        assert!(text.contains(from), "{script} has no {from:?}");
        fs::write(self.script(script), text.replace(from, to)).unwrap();
    }
}

const BUILD: [&str; 4] = ["build", "--target", "hello.ova", "--json"];

impl Built {
    /// From the events that it printed.
    fn read(said: &str) -> Self {
        let events: Vec<serde_json::Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.iter().all(|event| event["v"] == 1));
        let stages = |wanted: &dyn Fn(&serde_json::Value) -> bool| -> Vec<String> {
            let of = |event: &&serde_json::Value| event["event"] == "finished" && wanted(event);
            events.iter().filter(of).map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
        };
        let built = events.iter().find(|event| event["event"] == "built").expect("a closing event");
        let ran = stages(&|event| event["outcome"] == "ran");
        assert_eq!(built["run"].as_u64().unwrap() as usize, ran.len());
        let nondeterministic = events.iter().filter(|event| event["event"] == "nondeterministic");
        let nondeterministic =
            nondeterministic.map(|event| format!("{}: {}", event["stage"], event["paths"]));
        Self {
            digest: built["blake3"].as_str().unwrap().to_owned(),
            same_output: stages(&|event| event["same_output"] == true),
            nondeterministic: nondeterministic.collect(),
            ran,
        }
    }
}

#[track_caller]
fn expect_success(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    // What somebody built here by hand is no part of the example.
    let _ = fs::remove_dir_all(to.join("out"));
    let _ = fs::remove_file(to.join("ibuild.lock"));
}

/// What a build could leave behind on the host.
#[derive(Debug, PartialEq)]
struct Host {
    mounts: BTreeSet<String>,
    loops: String,
}

impl Host {
    fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let loops = Command::new("losetup").arg("-a").output().unwrap().stdout;
        Self { mounts: mounts.lines().map(str::to_owned).collect(), loops: String::from_utf8(loops).unwrap() }
    }
}

/// The processes that run this program, or in one of its sandboxes.
fn processes_with(word: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(300), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn hello_from_its_recipe_to_a_login_prompt() {
    assert!(nix::unistd::geteuid().is_root(), "this story needs root");
    let world = World::new();
    let host = Host::look();
    let first = the_first_build(&world);
    nothing_runs_the_second_time(&world, &first);
    every_stage_makes_the_same_again(&world, &first);
    an_edit_without_effect_runs_one_stage(&world, &first);
    an_edit_runs_what_follows(&world, &first);
    a_failure_is_explained_and_can_be_entered(&world);
    two_builds_at_once_share_their_stages(&world);
    a_killed_build_leaves_nothing(&world, &host, &first);
    without_upstream_all_stages_are_built_again(&world, &first);
    elsewhere_and_from_nothing_the_bits_are_the_same(&world, &first);
    nothing_of_the_build_is_in_the_image(&world);
    all_formats_hold_the_same_disk(&world);
    another_machine_around_a_disk_touches_no_grain(&world);
    it_boots(&world);
    its_tests_are_done(&world);
    without_root_the_bits_are_the_same(&world, &first);
    assert_eq!(Host::look(), host, "something stayed behind");
}

fn chapter(name: &str) -> Instant {
    eprintln!("--- {name}");
    Instant::now()
}

fn the_first_build(world: &World) -> Built {
    let start = chapter("the first build");
    let built = world.build("one/hello", "cache", &[]);
    eprintln!("{} stages in {:.1} s", built.ran.len(), start.elapsed().as_secs_f64());
    assert_eq!(built.ran.len(), 11, "{:?}", built.ran);
    let mut names: Vec<_> =
        fs::read_dir(world.path("one/hello/out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["hello.ova", "hello.ova.manifest.json"]);
    assert_eq!(digest_of(&world.path("one/hello/out/hello.ova")), built.digest);
    let manifest = fs::read(world.path("one/hello/out/hello.ova.manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["blake3"], built.digest.as_str());
    built
}

fn digest_of(path: &Path) -> String {
    let mut hasher = <BlobId as Digest>::Hasher::default();
    BlobId::update(&mut hasher, &fs::read(path).unwrap());
    BlobId::finish(hasher).hex()
}

fn nothing_runs_the_second_time(world: &World, first: &Built) {
    chapter("nothing runs the second time");
    let built = world.build("one/hello", "cache", &[]);
    assert_eq!((built.digest.as_str(), built.ran.len()), (first.digest.as_str(), 0));
    let start = Instant::now();
    let said = world.succeed(&["build", "--target", "hello.ova"]);
    eprintln!("whole process: {:.0} ms; target 100 ms", start.elapsed().as_secs_f64() * 1000.0);
    assert!(said.starts_with(&format!("built hello.ova  b3:{}", first.digest)), "{said}");
    assert!(said.contains("0 run, 11 cached"), "{said}");
    assert!(world.succeed(&["plan", "--target", "hello.ova"]).contains("all 11 stages are fresh"));
}

/// What early cutoff rests on: with the volatile list, real packages leave nothing behind that differs.
fn every_stage_makes_the_same_again(world: &World, first: &Built) {
    chapter("every stage makes the same again");
    let built = world.build("one/hello", "cache", &["--from", "hello/bootstrap"]);
    assert_eq!(built.nondeterministic, [] as [String; 0]);
    assert_eq!((built.ran.len(), &built.same_output), (11, &built.ran));
    assert_eq!(built.digest, first.digest);
}

fn an_edit_without_effect_runs_one_stage(world: &World, first: &Built) {
    chapter("an edit without effect runs one stage");
    world.edit("10-hostname", "# Names the machine.", "# Gives the machine its name.");
    let built = world.build("one/hello", "cache", &[]);
    assert_eq!(built.ran, ["hello/10-hostname"]);
    assert_eq!(built.same_output, ["hello/10-hostname"]);
    assert_eq!(built.digest, first.digest);
}

fn an_edit_runs_what_follows(world: &World, first: &Built) {
    chapter("an edit runs what follows");
    world.edit("40-services", "hello, world", "hello, moon");
    let built = world.build("one/hello", "cache", &[]);
    assert_eq!(built.ran, ["hello/40-services", "hello/sane", "hello.ova"]);
    assert_ne!(built.digest, first.digest);
    world.edit("40-services", "hello, moon", "hello, world");
    let back = world.build("one/hello", "cache", &[]);
    assert_eq!((back.digest.as_str(), back.ran.len()), (first.digest.as_str(), 0));
}

fn a_failure_is_explained_and_can_be_entered(world: &World) {
    chapter("a failure is explained and can be entered");
    let good = fs::read_to_string(world.script("30-user")).unwrap();
    fs::write(world.script("30-user"), format!("{good}echo before; echo the reason >&2; exit 3\n")).unwrap();
    let output = world.run(&["build", "--target", "hello.ova"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "error: stage `hello/30-user` failed",
        "caused by: `scripts/30-user` exited with status 3",
        "| the reason",
        "hello/30-user.log",
        "ibuild shell --failed hello/30-user",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    assert!(world.succeed(&["log", "hello/30-user"]).contains("before\nthe reason\n"));
    // The user was added before the script failed, and only there.
    let enter =
        |arguments: &[&str]| world.run(&[&["shell"], arguments, &["--", "id", "-u", "user"]].concat());
    assert_eq!(expect_success(&enter(&["--failed", "hello/30-user"])).trim(), "1000");
    assert_eq!(enter(&["hello/20-locale"]).status.code(), Some(1));
    fs::write(world.script("30-user"), good).unwrap();
    let built = world.build("one/hello", "cache", &[]);
    assert!(built.ran.is_empty(), "{:?}", built.ran);
}

fn two_builds_at_once_share_their_stages(world: &World) {
    chapter("two builds at once share their stages");
    fs::write(world.script("50-slow"), "#!/bin/sh\nsleep 2\necho slow > /etc/slow\n").unwrap();
    let build = || {
        let mut command = world.ibuild("one/hello", "cache");
        command.args(["build", "--until", "hello/50-slow"]).stderr(Stdio::piped()).spawn().unwrap()
    };
    let said: Vec<_> = [build(), build()].map(|child| child.wait_with_output().unwrap()).into();
    let ran = |output: &Output| String::from_utf8_lossy(&output.stderr).contains("ran     hello/50-slow");
    assert!(said.iter().all(|output| output.status.success()));
    assert_eq!(said.iter().filter(|output| ran(output)).count(), 1, "built twice, or not at all");
    fs::remove_file(world.script("50-slow")).unwrap();
}

fn a_killed_build_leaves_nothing(world: &World, host: &Host, first: &Built) {
    chapter("a killed build leaves nothing");
    let slow = "#!/bin/sh\ntrap '' TERM HUP INT\necho half > /etc/half\nmount -t tmpfs none /mnt\nsetsid sleep 47110815 &\n\
                echo ready\nsleep 47110815\n";
    fs::write(world.script("35-slow"), slow).unwrap();
    let mut child: Child =
        world.ibuild("one/hello", "cache").args(["build", "--target", "hello.ova"]).spawn().unwrap();
    wait_until("the script sleeps", || processes_with("sleep 47110815").len() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("all processes are gone", || processes_with("47110815").is_empty());
    wait_until("all inits are gone", || processes_with("__stage-init").is_empty());
    assert_eq!(Host::look(), *host);
    fs::remove_file(world.script("35-slow")).unwrap();
    let built = world.build("one/hello", "cache", &[]);
    assert_eq!(built.digest, first.digest);
    let left = fs::read_dir(world.path("cache/runs")).unwrap().count();
    assert_eq!(left, 0, "work directories of the killed build are left");
}

/// A mirror that answers nobody.
const DEAD: &str =
    "mirror = \"http://127.0.0.1:9/debian\"\nsecurity-mirror = \"http://127.0.0.1:9/debian-security\"\n";

fn without_upstream_all_stages_are_built_again(world: &World, first: &Built) {
    chapter("without upstream all stages are built again");
    world.succeed(&["cache", "rm", "--stages"]);
    let settings = world.path("one/hello/ibuild.local.toml");
    fs::write(&settings, DEAD).unwrap();
    let built = world.build("one/hello", "cache", &[]);
    assert_eq!((built.ran.len(), &built.digest), (11, &first.digest));
    fs::remove_file(&settings).unwrap();
}

fn elsewhere_and_from_nothing_the_bits_are_the_same(world: &World, first: &Built) {
    chapter("elsewhere and from nothing the bits are the same");
    copy_tree(Path::new("examples/hello"), &world.path("another/path/to/it"));
    fs::copy(world.path("one/hello/ibuild.lock"), world.path("another/path/to/it/ibuild.lock")).unwrap();
    let built = world.build("another/path/to/it", "empty", &["--jobs", "1", "--nice"]);
    assert_eq!((built.ran.len(), &built.digest), (11, &first.digest));
    let manifest = |project: &str| fs::read(world.path(project).join("out/hello.ova.manifest.json")).unwrap();
    assert_eq!(manifest("one/hello"), manifest("another/path/to/it"));
}

fn nothing_of_the_build_is_in_the_image(world: &World) {
    chapter("nothing of the build is in the image");
    world.succeed(&["build", "--target", "hello.rootfs.tar.zst"]);
    let tarball = fs::File::open(world.path("one/hello/out/hello.rootfs.tar.zst")).unwrap();
    let mut bytes = Vec::new();
    zstd::Decoder::new(tarball).unwrap().read_to_end(&mut bytes).unwrap();
    let root = world.root.path().to_str().unwrap();
    for forbidden in
        ["zz-ibuild", "policy-rc.d\0", "127.0.0.1:3142", root, "696275696c6400000000000000000000"]
    {
        let found = memmem(&bytes, forbidden.as_bytes());
        assert!(!found, "{forbidden:?} is in the image");
    }
    for mirror in mirror_hosts() {
        assert!(!memmem(&bytes, mirror.as_bytes()), "the mirror {mirror} is in the image");
    }
}

fn memmem(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The hosts in apt's configuration that are not the canonical ones, which belong into the image.
fn mirror_hosts() -> Vec<String> {
    let files = ibuild::stages::packages::read_sources(Path::new("/etc/apt")).unwrap();
    let words = files.iter().flat_map(|file| file.text.split_whitespace());
    let hosts = words.filter_map(|word| word.split_once("://")?.1.split('/').next().map(str::to_owned));
    hosts.filter(|host| !host.ends_with("debian.org")).collect()
}

/// How many grains a target has, and how many had to be compressed, from the events of its build.
fn packed(said: &str, target: &str) -> (u64, u64) {
    let events = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut events = events.filter(|event| event["event"] == "packed" && event["stage"] == target);
    let event = events.next().unwrap_or_else(|| panic!("{target} was not packed: {said}"));
    (event["grains"].as_u64().unwrap(), event["compressed"].as_u64().unwrap())
}

fn all_formats_hold_the_same_disk(world: &World) {
    chapter("all formats hold the same disk");
    let said = world.succeed(&[
        "build",
        "--json",
        "--target",
        "hello.raw",
        "hello.vmdk",
        "hello.qcow2",
        "hello.vdi",
    ]);
    for target in ["hello.vmdk", "hello.qcow2"] {
        let (grains, compressed) = packed(&said, target);
        // What cannot be compressed is in the OVA, and nothing else is left.
        assert!(compressed == 0 && grains > 1000, "{target}: {compressed} of {grains} were compressed again");
    }
    let out = world.path("one/hello/out");
    for format in ["vmdk", "qcow2", "vdi"] {
        let output = Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", format, "hello.raw", &format!("hello.{format}")])
            .current_dir(&out)
            .output()
            .unwrap();
        expect_success(&output);
    }
    let check = Command::new("qemu-img").args(["check", "hello.qcow2"]).current_dir(&out).output().unwrap();
    expect_success(&check);
    world.succeed(&["build", "--target", "hello.raw.zst"]);
    let compare = "zstd -dc hello.raw.zst | cmp - hello.raw";
    expect_success(&Command::new("sh").args(["-c", compare]).current_dir(&out).output().unwrap());
    world.succeed(&["clean", "hello.raw"]);
    assert!(!out.join("hello.raw").exists() && out.join("hello.ova").exists());
}

fn another_machine_around_a_disk_touches_no_grain(world: &World) {
    let start = chapter("another machine around a disk touches no grain");
    let recipe = world.path("one/hello/ibuild.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let twin = "[image.twin]\nrootfs = \"hello\"\nformats = [\"ova\"]\ndisk = { size = \"4 GiB\" }\n\
                [image.pair]\nmachines = [\"hello\", \"twin\"]\nformats = [\"ova\"]\n";
    let other = text.replace("memory = \"1 GiB\"", "memory = \"2 GiB\"");
    assert_ne!(other, text);
    fs::write(&recipe, format!("{other}{twin}")).unwrap();
    let (_, compressed) = packed(&world.succeed(&BUILD), "hello.ova");
    assert_eq!(compressed, 0);
    eprintln!("another memory size took {:.1} s", start.elapsed().as_secs_f64());
    let said = world.succeed(&["build", "--json", "--target", "pair.ova"]);
    let (grains, compressed) = packed(&said, "pair.ova");
    // The twin's files are hello's; only its file system's own tables have another UUID in them.
    assert!(compressed * 5 < grains, "{compressed} of {grains} grains were compressed");
    let said = world.succeed(&["build", "--json", "--target", "twin.ova"]);
    assert_eq!(packed(&said, "twin.ova").1, 0, "the pair has the whole disk");
    fs::write(&recipe, text).unwrap();
}

fn it_boots(world: &World) {
    for firmware in ["bios", "uefi"] {
        let start = chapter(&format!("it boots ({firmware})"));
        let mut child = world
            .ibuild("one/hello", "cache")
            .args([
                "boot",
                "hello.ova",
                "--until",
                "hello login:",
                "--timeout",
                "600",
                "--firmware",
                firmware,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let console = BufReader::new(child.stdout.take().unwrap());
        let last: Vec<_> = console.split(b'\n').map_while(Result::ok).collect();
        let status = child.wait().unwrap();
        let tail = last.iter().rev().take(20).rev().map(|line| String::from_utf8_lossy(line).into_owned());
        assert!(status.success(), "{}", tail.collect::<Vec<_>>().join("\n"));
        eprintln!("login after {:.1} s", start.elapsed().as_secs_f64());
    }
}

fn its_tests_are_done(world: &World) {
    chapter("its tests are done");
    let recipe = world.path("one/hello/ibuild.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let picture = "steps = [{ on = \"hello\", screenshot = \"console\" }]\nsilent = [\"hello/0\"]\n";
    let hopeless =
        "[test.hopeless]\nmachines = { hello = \"hello\" }\nexpect = \"nowhere\"\ntimeout = \"3 s\"\n";
    fs::write(&recipe, format!("{text}{picture}{hopeless}")).unwrap();
    let results = world.path("one/hello/out/tests");
    // It asks for an address by DHCP, so it is not silent.
    let loud = world.run(&["test", "boots"]);
    let said = String::from_utf8_lossy(&loud.stderr).into_owned();
    assert_eq!(loud.status.code(), Some(1), "{said}");
    assert!(said.contains("`hello/0` was to be silent and sent"), "{said}");
    assert!(fs::read(results.join("boots/console.png")).unwrap().starts_with(b"\x89PNG"));
    fs::write(&recipe, format!("{text}{}{hopeless}", picture.replace("silent", "heard"))).unwrap();
    assert!(world.succeed(&["test", "boots"]).contains("passed  boots"));
    assert!(world.succeed(&["test", "boots"]).contains("passed  boots  cached"));
    let hopeless = world.run(&["test"]);
    let said = String::from_utf8_lossy(&hopeless.stderr).into_owned();
    assert_eq!(hopeless.status.code(), Some(1), "{said}");
    assert!(said.contains("the test was not done after 3 s") && said.contains("`hopeless` failed"), "{said}");
    fs::write(&recipe, text).unwrap();
}

fn without_root_the_bits_are_the_same(world: &World, first: &Built) {
    let start = chapter("without root the bits are the same");
    let user = Ordinary::new(world.root.path());
    let project = user.home().join("hello");
    copy_tree(Path::new("examples/hello"), &project);
    fs::copy(world.path("one/hello/ibuild.lock"), project.join("ibuild.lock")).unwrap();
    // All packages come from root's store; nobody is asked again.
    fs::write(project.join("ibuild.local.toml"), DEAD).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = user.command(Path::new(env!("CARGO_BIN_EXE_ibuild")));
        expect_success(&command.args(["-C", "hello"]).args(arguments).output().unwrap())
    };
    user.give(&user.home());
    run(&["cache", "ls"]);
    let store = user.home().join(".cache/ibuild");
    let status = Command::new("cp").arg("-r").args([&world.path("cache/packages"), &store]).status().unwrap();
    assert!(status.success());
    user.give(&store);
    let built = Built::read(&run(&BUILD));
    eprintln!("{} stages in {:.1} s", built.ran.len(), start.elapsed().as_secs_f64());
    assert_eq!((built.ran.len(), &built.digest), (11, &first.digest));
    assert_eq!(digest_of(&project.join("out/hello.ova")), first.digest);
}
