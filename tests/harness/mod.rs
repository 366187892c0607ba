//! A place of its own for each test, and what came of running ibuild there.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// `project`, `home` and `cache` in a directory that goes with the test. The cache is made by ibuild itself.
pub struct Sandbox {
    root: tempfile::TempDir,
}

/// What a command said and how it ended. `[ROOT]` stands for the sandbox's directory.
#[derive(Debug)]
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    /// Without a project.
    pub fn empty() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        for dir in ["project", "home"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        Self { root }
    }

    /// With the project that `init` makes.
    pub fn with_project() -> Self {
        let sandbox = Self::empty();
        sandbox.run(&["init"]).succeeds();
        sandbox
    }

    /// ibuild in `project`, to be run.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let root = self.root.path().canonicalize().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command
            .args(arguments)
            .current_dir(root.join("project"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", root.join("home"))
            .env("IBUILD_CACHE_DIR", root.join("cache"))
            .stdin(Stdio::null());
        command
    }

    /// Runs ibuild in `project`.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.finish(self.command(arguments).output().unwrap())
    }

    /// The same with arguments that need not be text.
    pub fn run_os(&self, arguments: &[&OsStr]) -> Outcome {
        self.finish(self.command(arguments).output().unwrap())
    }

    /// What came of a command that has ended.
    pub fn finish(&self, output: Output) -> Outcome {
        let root = self.root.path().canonicalize().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "[ROOT]");
        let status = output.status.code().expect("ibuild was killed by a signal");
        Outcome { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Where a file of the project, or beside it, is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("project").join(name)
    }

    /// Writes a file of the project, or beside it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces what stands once in a file of the project.
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {text}");
        self.write(name, &text.replace(old, new));
    }

    /// An open file, made if it is not there.
    pub fn file(&self, name: &str) -> fs::File {
        fs::File::options().create(true).append(true).open(self.path(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn is_executable(&self, name: &str) -> bool {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o100 != 0
    }
}

impl Outcome {
    /// What it printed; it has to have succeeded.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self.stdout
    }

    /// It has to have failed in exactly this way, with nothing on standard output.
    #[track_caller]
    pub fn fails(self, status: i32, stderr: &str) {
        assert_eq!((self.status, self.stderr.as_str(), self.stdout.as_str()), (status, stderr, ""));
    }

    /// It has to have failed with this status, and to say this among other things.
    #[track_caller]
    pub fn fails_with(&self, status: i32, text: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.stderr.contains(text) || self.stdout.contains(text), "{text}: {self:?}");
    }

    /// What it printed, as JSON of version 1.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let json: serde_json::Value = serde_json::from_str(&self.stdout).expect(&self.stdout);
        assert_eq!(json["v"], 1);
        json
    }
}

/// Every tag of an XML text that is opened is closed, in the right order.
#[track_caller]
pub fn assert_balanced(xml: &str) {
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("every tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match tag {
            _ if tag.ends_with('/') => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
