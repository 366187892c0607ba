//! apt's own integration tests, with the stand-alone proxy between apt and their web server. They are taken from Debian's
//! source package of apt whenever this runs; nothing of them is kept here.

#[path = "../harness/apt.rs"]
mod apt;
#[path = "../harness/running.rs"]
mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use apt::Apt;
use running::Running;

/// Of the tests that use the web server, those that pass unchanged. What the others are about is in docs/packages.md.
const TESTS: [&str; 20] = [
    "test-acquire-same-file-multiple-times",
    "test-apt-acquire-additional-files",
    "test-apt-get-changelog",
    "test-apt-keep-downloaded-pkgs",
    "test-apt-update-empty-files",
    "test-apt-update-repeated-ims-hit",
    "test-apt-update-reporting",
    "test-apt-update-simple",
    "test-bug-595691-empty-and-broken-archive-files",
    "test-bug-617690-allow-unauthenticated-makes-all-untrusted",
    "test-bug-679371-apt-get-autoclean-multiarch",
    "test-bug-728500-tempdir",
    "test-bug-762160-relpath",
    "test-bug-838779-untrusted-to-trusted-Release-hit",
    "test-bug-870675-hang-on-unsupported-method",
    "test-bug-lp1445239-download-loop",
    "test-hashsum-verification",
    "test-http-pipeline-messup",
    "test-ubuntu-bug-1098738-apt-get-source-md5sum",
    "test-uri-encode-filename-field",
];

/// What of apt's helpers these tests use.
const HELPERS: [&str; 3] = ["aptwebserver", "aptdropprivs", "extract-control"];

/// Keys with which the tests sign. All of them are trusted by the proxy: it is apt that is to judge here.
const KEYS: [&str; 4] = ["joesixpack", "marvinparanoid", "sebastiansubkey", "rexexpired"];

/// apt's source as the tests want it: unpacked, with its helpers compiled.
struct Suite {
    source: PathBuf,
    build: PathBuf,
    between: PathBuf,
    keyring: PathBuf,
}

impl Suite {
    /// Fetches and prepares it; an error says why it cannot be had.
    fn prepare(dir: &Path) -> Result<Self, String> {
        let (build, between) = (dir.join("build"), dir.join("between"));
        fs::create_dir(&between).unwrap();
        let source = unpacked(dir)?;
        compile(&source, &build);
        let tests = source.join("test/integration");
        let keys = KEYS.map(|key| fs::read(tests.join(key).with_extension("pub")).unwrap());
        let keyring = dir.join("keyring.gpg");
        fs::write(&keyring, keys.concat()).unwrap();
        put_the_proxy_between(&tests.join("framework"));
        Ok(Self { source, build, between, keyring })
    }

    /// Runs one test; what it said is the error if it failed, or if nothing went through the proxy.
    fn run(&self, test: &str) -> Result<(), String> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", "120", "sh"]).arg(format!("./{test}")).stdin(Stdio::null());
        command.current_dir(self.source.join("test/integration"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.env("IBUILD", env!("CARGO_BIN_EXE_ibuild"));
        command.env("BETWEEN", &self.between).env("KEYRING", &self.keyring);
        for (name, value) in [
            ("SOURCE_DIR", self.source.as_os_str()),
            ("BUILD_DIR", self.build.as_os_str()),
            ("METHODS_DIR", "/usr/lib/apt/methods".as_ref()),
            ("LIBEXEC_DIR", "/usr/lib/apt/".as_ref()),
            ("INTERNAL_SOLVER", "/usr/lib/apt/solvers/apt".as_ref()),
            ("DUMP_SOLVER", "/usr/lib/apt/solvers/dump".as_ref()),
            ("INTERNAL_PLANNER", "/usr/lib/apt/planners/apt".as_ref()),
            ("FTPARCHIVE_BIN_DIR", "/usr/bin".as_ref()),
            ("CMDLINE_BIN_DIR", "/usr/bin".as_ref()),
            // The installed one.
            ("LIBRARY_PATH", "/nonexistent".as_ref()),
        ] {
            command.env(format!("APT_INTEGRATION_TESTS_{name}"), value);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        match self.requests(test) {
            0 => Err(format!("{test}: nothing went through the proxy\n{said}")),
            _ if output.status.success() => Ok(()),
            _ => Err(format!("{test}: {}\n{said}", output.status)),
        }
    }

    /// How many requests the proxies of a test have answered.
    fn requests(&self, test: &str) -> usize {
        let all = fs::read_dir(&self.between).unwrap().map(|entry| entry.unwrap());
        let of_test =
            all.filter(|entry| Path::new(&entry.file_name()).file_stem().is_some_and(|stem| stem == test));
        of_test.map(|entry| fs::read_to_string(entry.path().join("log")).unwrap().lines().count()).sum()
    }
}

/// apt's source, of the Debian that this is.
fn unpacked(dir: &Path) -> Result<PathBuf, String> {
    let release = fs::read_to_string("/etc/os-release").map_err(|e| e.to_string())?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.ok_or("this system has no code name")?;
    let proxy = Running::start(dir, "source.log", &[]);
    let apt = Apt::new(&dir.join("apt"), proxy.address(), &format!("deb-src {suite}"));
    apt.get(&["update"])?;
    apt.get(&["source", "--download-only", "apt"])?;
    let files = fs::read_dir(dir.join("apt")).unwrap().map(|entry| entry.unwrap().path());
    let mut tarballs = files.filter(|path| path.extension().is_some_and(|e| e == "xz"));
    let tarball = tarballs.next().expect("a tarball");
    let source = dir.join("source");
    fs::create_dir(&source).unwrap();
    succeed(Command::new("tar").arg("-xf").arg(tarball).args(["--strip-components=1", "-C"]).arg(&source));
    Ok(source)
}

/// With headers that configuring apt would make: these are all that its helpers need of it.
fn compile(source: &Path, build: &Path) {
    let (helpers, made) = (source.join("test/interactive-helper"), build.join("test/interactive-helper"));
    fs::create_dir_all(&made).unwrap();
    fs::write(build.join("config.h"), "").unwrap();
    fs::write(build.join("apti18n.h"), "#define _(text) text\n").unwrap();
    for helper in HELPERS {
        let mut command = Command::new("g++");
        command.arg("-I").arg(build).arg("-o").arg(made.join(helper));
        succeed(command.arg(helpers.join(helper).with_extension("cc")).args(["-lapt-pkg", "-pthread"]));
    }
    let mut command = Command::new("gcc");
    command.args(["-shared", "-fPIC", "-I"]).arg(build).arg("-o").arg(made.join("libnoprofile.so"));
    succeed(command.arg(helpers.join("libnoprofile.c")));
}

fn put_the_proxy_between(framework: &Path) {
    let mut text = fs::read_to_string(framework).unwrap();
    for (name, alone) in [("changetowebserver", "server_alone"), ("webserverconfig", "config_alone")] {
        let (old, new) = (format!("\n{name}() {{"), format!("\n{alone}() {{"));
        assert_eq!(text.matches(&old).count(), 1, "the framework does not define {name}()");
        text = text.replace(&old, &new);
    }
    fs::write(framework, text + include_str!("between.sh")).unwrap();
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn real_apt_passes_its_own_tests_through_the_proxy() {
    assert!(nix::unistd::geteuid().is_root(), "apt's tests drop root's privileges");
    let needed =
        ["/usr/bin/apt-ftparchive", "/usr/include/apt-pkg/init.h", "/usr/bin/dh", "/usr/bin/fakeroot"];
    if let Some(absent) = needed.iter().find(|path| !Path::new(path).exists()) {
        return eprintln!("SKIPPED: {absent} is needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    // The user `_apt` looks into it.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let suite = match Suite::prepare(dir.path()) {
        Ok(suite) => suite,
        Err(why) => return eprintln!("SKIPPED: apt's source is needed: {why}"),
    };
    let waiting = Mutex::new(TESTS.iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(test) = waiting.lock().unwrap().next() else { break };
                    if let Err(failure) = suite.run(test) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    eprintln!("{} tests of apt passed", TESTS.len());
}
