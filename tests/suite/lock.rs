//! The lock against the real archive: what builds write into it, what they make of a wrong one, and how it is moved.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

const RECIPE: &str = r#"schema = 1
[project]
name = "locked"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
components = ["main"]
[rootfs.ws]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } },
  { name = "tools", packages = ["hello"], recommends = false },
]
[image.ws]
rootfs = "ws"
formats = ["rootfs.tar.zst"]
disk = { size = "2 GiB" }
"#;

struct Project {
    dir: tempfile::TempDir,
}

/// How a command ended, and all that it said.
struct Ended {
    status: i32,
    stdout: String,
    all: String,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::write(dir.path().join("ibuild.toml"), RECIPE).unwrap();
        Self { dir }
    }

    fn run(&self, program: &[&str]) -> Ended {
        let (name, arguments) = program.split_first().unwrap();
        let output = Command::new(name)
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path())
            .env("IBUILD_CACHE_DIR", self.dir.path().join("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let all = format!("{stdout}{}", String::from_utf8(output.stderr).unwrap());
        Ended { status: output.status.code().unwrap(), stdout, all }
    }

    #[track_caller]
    fn ibuild(&self, arguments: &[&str], status: i32) -> Ended {
        let ended = self.run(&[&[env!("CARGO_BIN_EXE_ibuild")], arguments].concat());
        assert_eq!(ended.status, status, "{arguments:?}: {}", ended.all);
        ended
    }

    /// In a network without any way out.
    #[track_caller]
    fn isolated(&self, arguments: &[&str], status: i32) -> Ended {
        let ended = self.run(&[&["unshare", "--net", env!("CARGO_BIN_EXE_ibuild")], arguments].concat());
        assert_eq!(ended.status, status, "{arguments:?}: {}", ended.all);
        ended
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.dir.path().join("ibuild.lock")).unwrap()
    }

    /// Writes a lock of these lines, the last of which counts them.
    fn set_lock(&self, text: &str) {
        fs::write(self.dir.path().join("ibuild.lock"), counted(text)).unwrap();
    }

    fn package(&self, digest: &str) -> std::path::PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.dir.path().join("cache/packages").join(&hex[..2]).join(&hex[2..])
    }
}

/// The text of a lock with the last line that its other lines need.
fn counted(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("end ")).collect();
    format!("{}\nend {}\n", lines.join("\n"), lines.len())
}

const BUILD: [&str; 3] = ["build", "--target", "ws.rootfs.tar.zst"];

/// Words of the line of a package.
fn line_of<'l>(lock: &'l str, name: &str) -> &'l str {
    let start = format!("deb debian {name} ");
    lock.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {name} in {lock}"))
}

#[test]
fn real_packages_are_locked_one_by_one() {
    assert!(nix::unistd::geteuid().is_root(), "stages need root");
    let project = Project::new();
    let looked = project.run(&[env!("CARGO_BIN_EXE_ibuild"), "update"]);
    if looked.all.contains("cannot be reached") {
        return eprintln!("SKIPPED: {}", looked.all);
    }
    project.ibuild(&BUILD, 0);
    let lock = project.lock();
    let hello = line_of(&lock, "hello");
    let words: Vec<_> = hello.split(' ').collect();
    assert!(words[4] == "amd64" && words[8].starts_with("pool/main/h/hello/hello_"), "{hello}");
    assert!(
        hello.ends_with(" ws/tools") && line_of(&lock, "base-files").ends_with(" ws/bootstrap"),
        "{lock}"
    );
    let kind =
        |line: &str| ["#", "format", "release", "deb", "end"].iter().position(|kind| line.starts_with(kind));
    assert!(!lock.contains("://") && lock.lines().is_sorted_by_key(|line| kind(line).unwrap()), "{lock}");

    // What is locked and here needs nobody, and changes nothing.
    project.isolated(&[&BUILD[..], &["--locked", "--offline"]].concat(), 0);
    assert_eq!(project.lock(), lock);
    assert!(project.ibuild(&["lock"], 0).stdout.starts_with("locked: 1 suite, "));

    // A line too few, a line too many.
    let without = lock.replace(&format!("{hello}\n"), "");
    project.set_lock(&without);
    let drifted = project.ibuild(&[&BUILD[..], &["--locked"]].concat(), 4);
    assert!(drifted.all.contains(&format!("+ hello {} amd64", words[3])), "{}", drifted.all);
    assert_eq!(project.lock(), counted(&without));
    project.ibuild(&BUILD, 0);
    assert_eq!(project.lock(), lock);
    project.set_lock(&lock.replace(hello, &format!("{hello}\n{}", hello.replace(" hello ", " hellp "))));
    assert!(project.ibuild(&[&BUILD[..], &["--locked"]].concat(), 4).all.contains("- hellp "));
    project.ibuild(&["lock"], 0);
    assert_eq!(project.lock(), lock);

    moved(&project, &lock, hello, &words);
    signed_again(&project, &lock);
    offline(&project, &words);
}

/// The same lock as if it were of yesterday.
fn moved(project: &Project, lock: &str, hello: &str, words: &[&str]) {
    assert!([0, 30].contains(&project.run(&[env!("CARGO_BIN_EXE_ibuild"), "lock", "--check"]).status));
    let release = lock.lines().find(|line| line.starts_with("release debian main trixie ")).unwrap();
    let fields: Vec<_> = release.split(' ').collect();
    let other = format!("sha256:{}", "1".repeat(64));
    let state = |date: &str| lock.replace(fields[4], &other).replace(fields[6], date);
    let yesterday = state("2025-01-01T00:00:00Z");
    project.set_lock(&yesterday);
    let check = project.ibuild(&["lock", "--check"], 10);
    assert!(check.stdout.contains("debian  trixie  2025-01-01T00:00:00Z -> "), "{}", check.stdout);
    project.set_lock(&yesterday.replace("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z 2025-01-08T00:00:00Z"));
    assert!(project.ibuild(&["lock", "--check"], 30).stdout.contains("what is locked expired on 2025-01-08"));

    let older = hello.replace(words[3], "2.9-1").replace(words[6], &other);
    let older = yesterday.replace(hello, &older);
    project.set_lock(&older);
    let changed = format!("hello amd64  2.9-1 -> {}\n", words[3]);
    assert!(project.ibuild(&["lock", "--check"], 20).stdout.contains(&changed));
    let stays = project.ibuild(&["update", "base-files"], 0).stdout;
    assert_eq!((stays.as_str(), project.lock()), ("debian  stays: `base-files` would be the same\n", older));
    assert!(project.ibuild(&["update", "hello"], 0).stdout.ends_with(&changed));
    assert_eq!(project.lock(), lock);

    let tomorrow = state("2099-01-01T00:00:00Z");
    project.set_lock(&tomorrow);
    let refused = project.ibuild(&["update"], 3);
    assert!(refused.all.contains("older than the locked one") && refused.all.contains("--allow-rollback"));
    assert_eq!(project.lock(), tomorrow);
    project.ibuild(&["update", "--allow-rollback"], 0);
    assert_eq!(project.lock(), lock);
}

/// The archive in another state that has the same packages: its root in other bytes, whose signature is as good.
fn signed_again(project: &Project, lock: &str) {
    let release = lock.lines().find(|line| line.starts_with("release debian main trixie ")).unwrap();
    let digest = release.split(' ').nth(4).unwrap();
    let signed = fs::read_to_string(project.package(digest)).unwrap();
    let head = "-----BEGIN PGP SIGNATURE-----\n";
    let other = signed.replace(head, &format!("{head}Comment: another state\n"));
    assert_ne!(other, signed);
    let port = mirror_with(other);
    let settings = project.dir.path().join("ibuild.local.toml");
    fs::write(&settings, format!("mirror = \"http://127.0.0.1:{port}/debian\"\n")).unwrap();
    project.ibuild(&["update"], 0);
    let moved = project.lock();
    assert!(!moved.contains(digest), "the lock stays: {moved}");
    let built = project.ibuild(&BUILD, 0);
    assert!(built.stdout.contains("0 run, 3 cached"), "{}", built.all);
    assert_eq!(project.lock(), moved, "other packages");
    let why = project.ibuild(&["explain", "ws/tools"], 0).stdout;
    assert!(
        why.contains("archive roots main trixie") && why.contains("but the packages are the same"),
        "{why}"
    );
    // It is known from here on.
    assert!(project.ibuild(&[&BUILD[..], &["--locked", "--offline"]].concat(), 0).stdout.contains("0 run"));

    // Other packages are no reason to believe in it: the step runs.
    let recipe = project.dir.path().join("ibuild.toml");
    fs::write(&recipe, RECIPE.replace("[\"hello\"]", "[\"hello\", \"sl\"]")).unwrap();
    assert!(project.ibuild(&BUILD, 0).stdout.contains("2 run, 1 cached"));
    fs::write(&recipe, RECIPE).unwrap();
    fs::remove_file(settings).unwrap();
    project.set_lock(lock);
    assert!(project.ibuild(&BUILD, 0).stdout.contains("0 run"));
}

/// A mirror with a root of its own, which sends whoever wants something else to the host's mirror. Returns its port.
fn mirror_with(inrelease: String) -> u16 {
    let targets = Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).output().unwrap();
    let targets = String::from_utf8(targets.stdout).unwrap();
    let real =
        targets.lines().find(|uri| !uri.contains("security")).unwrap().trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<_> =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
            let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let answer = match path.ends_with("/InRelease") {
                true => format!("200 OK\r\nContent-Length: {}\r\n\r\n{inrelease}", inrelease.len()),
                false => {
                    let place = path.strip_prefix("/debian").unwrap_or_default();
                    format!("302 Found\r\nLocation: {real}{place}\r\nContent-Length: 0\r\n\r\n")
                }
            };
            let _ = write!(stream, "HTTP/1.1 {}", answer.replacen("\r\n", "\r\nConnection: close\r\n", 1));
        }
    });
    port
}

/// Everything once more from the packages alone; then one of them is gone.
fn offline(project: &Project, words: &[&str]) {
    let out = Path::new("out/ws.rootfs.tar.zst");
    let before = fs::read(project.dir.path().join(out)).unwrap();
    project.ibuild(&["cache", "rm", "--stages"], 0);
    let built = project.isolated(&[&BUILD[..], &["--locked", "--offline"]].concat(), 0);
    assert!(built.stdout.contains("3 run, 0 cached"), "{}", built.stdout);
    assert!(fs::read(project.dir.path().join(out)).unwrap() == before, "other bits");
    from_another_store(project, &before);
    project.ibuild(&["cache", "rm", "ws/tools"], 0);
    fs::remove_file(project.package(words[6])).unwrap();
    let failed = project.isolated(&[&BUILD[..], &["--offline"]].concat(), 1);
    let why = "it is not in the store, and this build is offline (build once without `--offline`)";
    assert!(failed.all.contains(why) && failed.all.contains("/hello_"), "{}", failed.all);
}

/// Everything once more with an empty store, and nothing but the packages of the other one.
fn from_another_store(project: &Project, before: &[u8]) {
    let local = project.dir.path().join("ibuild.local.toml");
    let elsewhere = [&BUILD[..], &["--locked", "--offline", "--cache-dir", "empty"]].concat();
    let alone = project.isolated(&elsewhere, 3);
    assert!(alone.all.contains("is not in the store, and this build is offline"), "{}", alone.all);
    fs::write(&local, "stores = [\"nowhere\"]\n").unwrap();
    let nowhere = project.isolated(&elsewhere, 3);
    assert!(
        nowhere.all.contains("there is no store in `") && nowhere.all.contains("nowhere`"),
        "{}",
        nowhere.all
    );
    fs::write(&local, "stores = [\"cache\"]\n").unwrap();
    let built = project.isolated(&elsewhere, 0);
    assert!(built.stdout.contains("3 run, 0 cached"), "{}", built.stdout);
    assert!(fs::read(project.dir.path().join("out/ws.rootfs.tar.zst")).unwrap() == before, "other bits");
    fs::remove_file(local).unwrap();
}

/// As after a disk that was too full to keep a package: that there is a result does not say what is in it.
#[test]
fn what_nobody_can_tell_is_not_locked() {
    let lab = crate::harness::Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), "{ name = \"one\", run = \"true\" },\n");
    let build = ["build", "--target", "ws.rootfs.tar.zst"];
    lab.run(&build).succeeds();
    let locked = lab.run(&[&build[..], &["--locked"]].concat());
    assert_eq!(locked.status, 4, "{}", locked.stderr);
    let why = "it is not known which packages `ws/bootstrap` installed";
    assert!(locked.stderr.contains(why) && locked.stderr.contains("`ibuild build --from ws/bootstrap`"));
    let noted = lab.run(&["lock"]);
    assert!(noted.stderr.contains("it is not known what these installed: ws/bootstrap"), "{}", noted.stderr);
}
