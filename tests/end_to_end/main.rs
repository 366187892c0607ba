//! hello, from its recipe to a login prompt: real Debian, real chroots, real QEMU, in one long story. And README's recipe, with
//! what README shows of it.
//!
//! The story is one test because each chapter stands on what the one before has built. It needs root, a Debian mirror, and
//! the tools that `ibuild doctor` lists; what is missing makes it fail, never pass.

#![expect(clippy::disallowed_methods, reason = "a night is longer, as the environment says")]
#![expect(clippy::print_stderr, reason = "the story tells its chapters and what they measured")]

mod boots;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../harness/documents.rs"]
mod documents;
mod edits;
#[path = "../ordinary/mod.rs"]
mod ordinary;
mod planted;
mod readers;
mod readme;
mod swap;
mod world;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ordinary::Ordinary;
use world::{BUILD, Built, Host, World, copy_tree, digest_of, expect_success, processes_with, wait_until};

#[test]
fn hello_from_its_recipe_to_a_login_prompt() {
    assert!(nix::unistd::geteuid().is_root(), "this story needs root");
    let world = World::new();
    let host = Host::look();
    let first = the_first_build(&world);
    nothing_runs_the_second_time(&world, &first);
    every_stage_is_reproducible(&world);
    an_edit_without_effect_runs_one_stage(&world, &first);
    an_edit_runs_what_follows(&world, &first);
    a_failure_is_explained_and_can_be_entered(&world);
    two_builds_at_once_share_their_stages(&world);
    a_killed_build_leaves_nothing(&world, &host, &first);
    without_upstream_all_stages_are_built_again(&world, &first);
    nothing_of_the_build_is_in_the_image(&world);
    all_formats_hold_the_same_disk(&world);
    readers::independent_readers_agree(&world);
    another_machine_around_a_disk_touches_no_grain(&world);
    edits::incremental_images_are_those_of_clean_builds(&world);
    boots::all_machines_start(&world);
    its_tests_are_done(&world);
    swap::swap_files_are_taken_by_the_kernel(&world);
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

/// What early cutoff rests on: with the volatile list, real packages leave nothing behind that differs. In a night on another
/// machine, too, and often.
fn every_stage_is_reproducible(world: &World) {
    chapter("every stage is reproducible");
    let is_night = std::env::var_os("IBUILD_NIGHTLY").is_some();
    let said = world.succeed(&["verify"]);
    assert_eq!(said, "11 stages are reproducible\n");
    if is_night {
        assert_eq!(world.succeed(&["verify", "--vary", "all"]), "11 stages are reproducible\n");
        assert_eq!(world.succeed(&["verify", "--times", "50"]), "11 stages are reproducible\n");
    }
    let start = Instant::now();
    assert_eq!(world.succeed(&["verify", "--since", "@0"]), "nothing to verify; 11 left out\n");
    eprintln!("nothing new: {:.0} ms; target 100 ms", start.elapsed().as_secs_f64() * 1000.0);
}

fn an_edit_without_effect_runs_one_stage(world: &World, first: &Built) {
    chapter("an edit without effect runs one stage");
    world.edit("10-hostname", "# Names the machine.", "# Gives the machine its name.");
    let built = world.build("one/hello", "cache", &[]);
    assert_eq!(built.ran, ["hello/10-hostname"]);
    assert_eq!(built.same_output, ["hello/10-hostname"]);
    assert_eq!(built.nondeterministic, [] as [String; 0]);
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
        "shell --failed hello/30-user` opens a shell",
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
    assert!(said.contains("`hello/0` should have been silent and sent"), "{said}");
    assert!(fs::read(results.join("boots/console.png")).unwrap().starts_with(b"\x89PNG"));
    fs::write(&recipe, format!("{text}{}{hopeless}", picture.replace("silent", "heard"))).unwrap();
    assert!(world.succeed(&["test", "boots"]).contains("passed  boots"));
    assert!(world.succeed(&["test", "boots"]).contains("passed  boots  cached"));
    qemu_that_fails_is_started_again(world);
    let hopeless = world.run(&["test"]);
    let said = String::from_utf8_lossy(&hopeless.stderr).into_owned();
    assert_eq!(hopeless.status.code(), Some(1), "{said}");
    assert!(said.contains("the test was not done after 3 s") && said.contains("`hopeless` failed"), "{said}");
    fs::write(&recipe, text).unwrap();
}

/// An emulator that aborts says nothing about the image.
fn qemu_that_fails_is_started_again(world: &World) {
    let mut command = world.ibuild("one/hello", "cache");
    let test =
        command.args(["test", "boots", "--again"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let test = test.unwrap();
    // A QEMU that is a machine: the first that is started only tells its version.
    let qemu = || {
        let machine = "qemu-system.* -nodefaults";
        let children = Command::new("pgrep").args(["-P", &test.id().to_string(), "-f", machine]).output();
        String::from_utf8(children.unwrap().stdout).unwrap().trim().parse::<i32>().ok()
    };
    let start = Instant::now();
    let first = loop {
        match qemu() {
            Some(pid) => break pid,
            None => assert!(start.elapsed() < Duration::from_secs(300), "QEMU was not started"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGABRT).unwrap();
    let output = test.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("QEMU itself failed") && said.contains("test `boots` begins anew"), "{said}");
    assert!(expect_success(&output).contains("passed  boots"));
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
    let all = [&["build", "--target"], edits::TARGETS.as_slice()].concat();
    run(&all);
    world.succeed(&all);
    for target in edits::TARGETS {
        let of = |project: &Path| digest_of(&project.join("out").join(target));
        assert_eq!(of(&project), of(&world.path("one/hello")), "{target}");
    }
}
