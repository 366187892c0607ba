//! Where the story takes place: the project, its stores, and the host around them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ibuild::cache::{BlobId, Digest};

/// What a user sees of a build.
pub struct Built {
    pub digest: String,
    pub ran: Vec<String>,
    pub same_output: Vec<String>,
    /// What differs from what the very same action had made before.
    pub nondeterministic: Vec<String>,
}

pub struct World {
    pub root: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("ibuild-story-").tempdir_in("/var/tmp").unwrap();
        let world = Self { root };
        copy_tree(Path::new("examples/hello"), &world.path("one/hello"));
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn ibuild(&self, project: &str, cache: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.root.path());
        command.env("IBUILD_CACHE_DIR", self.path(cache)).arg("-C").arg(self.path(project));
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.ibuild("one/hello", "cache").args(arguments).output().unwrap()
    }

    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        expect_success(&self.run(arguments))
    }

    /// Builds the OVA and reads the events.
    #[track_caller]
    pub fn build(&self, project: &str, cache: &str, options: &[&str]) -> Built {
        let mut command = self.ibuild(project, cache);
        command.args(BUILD).args(options);
        Built::read(&expect_success(&command.output().unwrap()))
    }

    pub fn script(&self, name: &str) -> PathBuf {
        self.path("one/hello/scripts").join(name)
    }

    pub fn edit(&self, script: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.script(script)).unwrap();
        assert!(text.contains(from), "{script} has no {from:?}");
        fs::write(self.script(script), text.replace(from, to)).unwrap();
    }
}

pub const BUILD: [&str; 4] = ["build", "--target", "hello.ova", "--json"];

impl Built {
    /// From the events that it printed.
    pub fn read(said: &str) -> Self {
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
pub fn expect_success(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    // What somebody built here by hand is no part of the example.
    let _ = fs::remove_dir_all(to.join("out"));
    let _ = fs::remove_file(to.join("ibuild.lock"));
}

/// What a build could leave behind on the host.
#[derive(Debug, PartialEq)]
pub struct Host {
    mounts: BTreeSet<String>,
    loops: String,
}

impl Host {
    pub fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let loops = Command::new("losetup").arg("-a").output().unwrap().stdout;
        Self { mounts: mounts.lines().map(str::to_owned).collect(), loops: String::from_utf8(loops).unwrap() }
    }
}

/// The processes that run this program, or in one of its sandboxes.
pub fn processes_with(word: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(300), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The digest of a file's bytes.
pub fn digest_of(path: &Path) -> String {
    let mut hasher = <BlobId as Digest>::Hasher::default();
    let (mut file, mut buffer) = (fs::File::open(path).unwrap(), vec![0; 1 << 20]);
    while let length @ 1.. = file.read(&mut buffer).unwrap() {
        BlobId::update(&mut hasher, &buffer[..length]);
    }
    BlobId::finish(hasher).hex()
}

/// Whether there is a night's time.
#[allow(clippy::disallowed_methods, reason = "the nightly run of the tests says so in the environment")]
pub fn is_night() -> bool {
    std::env::var_os("IBUILD_NIGHTLY").is_some()
}
