//! `ibuild proxy` as a program that runs beside a test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A proxy that runs. Its store and its log are in a directory that outlives it; dropped, it is killed.
pub struct Running {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Running {
    /// Starts it over the store `cache` of `dir`; what it writes down goes to the file `name` there.
    pub fn start(dir: &Path, name: &str, arguments: &[&str]) -> Self {
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

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `kill -9`
    #[allow(dead_code, reason = "not all that use a proxy kill it")]
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it as a service manager would, and reads what it wrote down.
    #[allow(dead_code, reason = "nor read all what it wrote down")]
    pub fn stop(mut self) -> Vec<Value> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What it shows to people.
    #[allow(dead_code, reason = "nor look at its page")]
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").expect("a response has a head").1.to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left to kill after its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
