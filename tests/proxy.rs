//! The stand-alone proxy as a program, with real clients and the real mirror of this machine.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A mirror that nobody can reach.
const NOWHERE: [&str; 4] =
    ["--mirror", "http://127.0.0.1:1/debian", "--security-mirror", "http://127.0.0.1:1/debian-security"];

/// A proxy that runs. Its store and its log are in a directory that outlives it.
struct Running {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Running {
    fn start(dir: &Path, name: &str, arguments: &[&str]) -> Self {
        let log = dir.join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_ibuild"))
            .args(["proxy", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("IBUILD_CACHE_DIR", dir.join("cache"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Self { child, address: String::new(), log };
        let lines = BufReader::new(running.child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("listens at http://") {
                running.address = address.to_owned();
                return running;
            }
            said.push(line);
        }
        panic!("it does not listen: {said:?}");
    }

    /// Stops it as a service manager would, and reads what it wrote down.
    fn stop(mut self) -> Vec<Value> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").expect("a response has a head").1.to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left to kill after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An apt of its own updates, and fetches a package with all that it depends on.
fn apt(dir: &Path, proxy: &str) -> Vec<(String, Vec<u8>)> {
    for sub in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    fs::write(dir.join("status"), "").unwrap();
    let source = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
    fs::write(dir.join("etc/sources.list"), source).unwrap();
    let root = dir.display();
    // It is read before everything else, and so keeps the host's own configuration out.
    let configuration = format!(
        "Acquire::http::Proxy \"http://{proxy}\";\nDir::Etc \"{root}/etc\";\nDir::State \"{root}/state\";\n\
         Dir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\nAPT::Architecture \"amd64\";\n\
         APT::Sandbox::User \"\";\nAcquire::Retries \"0\";\nAcquire::Languages \"none\";\n",
    );
    fs::write(dir.join("apt.conf"), configuration).unwrap();
    for arguments in [&["update"][..], &["install", "--download-only", "--yes", "hello"]] {
        let mut command = Command::new("apt-get");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("APT_CONFIG", dir.join("apt.conf")).current_dir(dir);
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && !text.contains("W:"), "{arguments:?}: {text}");
    }
    let archives = fs::read_dir(dir.join("cache/archives")).unwrap().map(|entry| entry.unwrap());
    let files = archives.filter(|entry| entry.path().extension().is_some_and(|e| e == "deb"));
    let named = files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()));
    let mut debs: Vec<_> = named.collect();
    debs.sort();
    debs
}

fn verdicts(log: &[Value]) -> Vec<&str> {
    log.iter().map(|line| line["verdict"].as_str().unwrap()).collect()
}

#[test]
fn real_apt_twice_the_second_time_without_a_mirror() {
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/gpgv").exists() {
        return eprintln!("SKIPPED: apt-get and gpgv are needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let first = Running::start(dir.path(), "first.log", &[]);
    let debs = apt(&dir.path().join("first"), &first.address);
    assert!(debs.len() > 2 && debs.iter().any(|(name, _)| name.starts_with("hello_")), "{}", debs.len());
    let metrics = first.get("/metrics");
    assert!(
        metrics.contains(&format!("requests_total{{verdict=\"miss\"}} {}\n", debs.len() + 2)),
        "{metrics}"
    );
    let page = first.get("/");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    let log = first.stop();
    assert_eq!(verdicts(&log), vec!["miss"; debs.len() + 2], "{log:#?}");

    let second = Running::start(dir.path(), "second.log", &NOWHERE);
    assert_eq!(apt(&dir.path().join("second"), &second.address), debs);
    let log = second.stop();
    assert_eq!(verdicts(&log)[0], "stale");
    assert!(verdicts(&log)[1..].iter().all(|verdict| *verdict == "hit"), "{log:#?}");
    assert!(log.iter().all(|line| line["complete"] == true && line["v"] == 1), "{log:#?}");
}

#[test]
fn real_mmdebstrap_twice_the_second_time_without_a_mirror() {
    if !Path::new("/usr/bin/mmdebstrap").exists() {
        return eprintln!("SKIPPED: mmdebstrap is needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let make = |name: &str, proxy: &Running| {
        let out = dir.path().join(format!("{name}.tar"));
        let output = Command::new("mmdebstrap")
            .args(["--variant=extract", "--include=hello", "--mode=root"])
            .args(["trixie", out.to_str().unwrap(), "deb http://deb.debian.org/debian trixie main"])
            // What is given as an option is written down in the new system.
            .env("http_proxy", format!("http://{}", proxy.address))
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(out).unwrap()
    };
    let first = Running::start(dir.path(), "first.log", &[]);
    let tree = make("first", &first);
    first.stop();
    let second = Running::start(dir.path(), "second.log", &NOWHERE);
    assert!(make("second", &second) == tree, "another tree");
    let log = second.stop();
    assert!(log.len() > 5 && log.iter().all(|line| line["verdict"] == "hit" || line["verdict"] == "stale"));
}
