//! Whole commands over projects that are large in one way: many copied files, many stages. Nothing changed, and one thing
//! changed; beside each row what other programs need to look at the same files.
//!
//!     cargo bench --bench loops [-- files|stages]
//!
//! Needs root, overlayfs, `busybox-static` and `git`. The machine is shared with others, so only the ratios of one run mean
//! something.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench takes what to measure and prints it"
)]

#[path = "../tests/harness/seeded.rs"]
mod seeded;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const FILES: usize = 100_000;
const STAGES: usize = 1_000;

fn main() {
    println!("{:<58} {:>10} {:>12}", "what", "ms", "beside");
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_chosen = |name| chosen.as_deref().is_none_or(|chosen| chosen == name);
    if is_chosen("files") {
        many_files();
    }
    if is_chosen("stages") {
        many_stages();
    }
}

struct Lab {
    root: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(root.path().join("project")).unwrap();
        Self { root }
    }

    fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Writes the recipe and seeds the store.
    fn recipe(&self, steps: &str) {
        seeded::project(&self.project(), &self.cache(), steps);
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn ibuild(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command.current_dir(self.project()).env("IBUILD_CACHE_DIR", self.cache());
        command.args(["-q", "build", "--until", "ws"]);
        command
    }
}

/// The fastest of some runs of a whole process, in milliseconds.
fn best_of(runs: usize, mut command: impl FnMut() -> Command) -> f64 {
    let one = |_| {
        let mut command = command();
        let start = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{command:?}");
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..runs).map(one).fold(f64::MAX, f64::min)
}

fn row(what: &str, millis: f64, beside: &str) {
    println!("{what:<58} {millis:>10.1} {beside:>12}");
}

fn ratio(millis: f64, of: f64) -> String {
    format!("{:.2}", millis / of)
}

fn command(program: &str, arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir);
    command
}

fn many_files() {
    let lab = Lab::new();
    let files = lab.project().join("files");
    for number in 0..FILES {
        let dir = files.join(format!("srv/d{}/d{}", number / 1000, number / 100 % 10));
        if number % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(format!("file-{number}.txt")), format!("{number}\n")).unwrap();
    }
    lab.recipe("{ name = \"files\", copy = [{ from = \"files\", to = \"/\" }] },\n");
    // Files that were written a moment ago are not trusted.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let first = best_of(1, || lab.ibuild());
    row("100,000 copied files: first build", first, "");
    lab.ibuild().status().unwrap();
    let nothing = best_of(10, || lab.ibuild());
    row("  nothing changed", nothing, "");
    let find = best_of(10, || command("find", &["files", "-printf", "%p %s %T@ %C@ %i\\n"], &lab.project()));
    row("    beside `find -printf`", find, &ratio(nothing, find));
    for arguments in [&["init", "-q"][..], &["add", "-A"]] {
        best_of(1, || command("git", arguments, &files));
    }
    let git = best_of(10, || command("git", &["status", "--porcelain"], &files));
    row("    beside `git status`", git, &ratio(nothing, git));
}

fn many_stages() {
    let lab = Lab::new();
    let step = |number| format!("{{ name = \"s{number}\", run = \"echo {number} > /srv/s{number}\" }},\n");
    lab.recipe(&(1..STAGES).map(step).collect::<String>());
    let first = best_of(1, || lab.ibuild());
    row("1,000 stages: first build", first, "");
    row("  nothing changed", best_of(10, || lab.ibuild()), "");
    let hello = Lab::new();
    hello.recipe(&(1..11).map(step).collect::<String>());
    best_of(1, || hello.ibuild());
    let (eleven, version) = (
        best_of(20, || hello.ibuild()),
        best_of(20, || {
            let mut command = hello.ibuild();
            command.arg("--help");
            command
        }),
    );
    row("11 stages: nothing changed", eleven, "");
    row("    beside `ibuild build --help`", version, &ratio(eleven, version));
}
