//! An apt of its own: nothing of the host's configuration, nor of its state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt whose files are all in one directory.
pub struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// One that knows one part of Debian's archive, like `deb trixie`, and asks a proxy for it.
    pub fn new(dir: &Path, proxy: &str, part: &str) -> Self {
        for sub in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        fs::write(dir.join("status"), "").unwrap();
        let (kind, suite) = part.split_once(' ').expect("a kind and a suite");
        let key = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = format!("{kind} [{key}] http://deb.debian.org/debian {suite} main\n");
        fs::write(dir.join("etc/sources.list"), source).unwrap();
        let root = dir.display();
        // It is read before everything else, and so keeps the host's own configuration out.
        let configuration = format!(
            "Acquire::http::Proxy \"http://{proxy}\";\nDir::Etc \"{root}/etc\";\nDir::State \"{root}/state\";\n\
             Dir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\nAPT::Architecture \"amd64\";\n\
             APT::Sandbox::User \"\";\nAcquire::Retries \"0\";\nAcquire::Languages \"none\";\n",
        );
        fs::write(dir.join("apt.conf"), configuration).unwrap();
        Self { dir: dir.to_owned() }
    }

    /// Runs `apt-get` in its directory. What it says is an error if it failed or had to warn.
    pub fn get(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new("apt-get");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("APT_CONFIG", self.dir.join("apt.conf")).current_dir(&self.dir);
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let is_fine = output.status.success() && !text.contains("W:");
        if is_fine { Ok(()) } else { Err(format!("{arguments:?}: {text}")) }
    }
}
