//! What a build says, and where to: results, a log of its work, and what becomes of it where nobody can be told. Over a root
//! file system of one busybox. Needs root.

use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::{OpenptyResult as Pty, openpty};

use crate::harness::{Outcome, Sandbox};

const STEPS: &str = r#"
  { name = "name", run = "echo 0 > /etc/name" },
"#;

const TARGET: &str = "ws.rootfs.tar.zst";
const FILE: &str = "out/ws.rootfs.tar.zst";

fn lab() -> Sandbox {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab
}

fn build_into(
    lab: &Sandbox,
    arguments: &[&str],
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> Outcome {
    let mut command = lab.command(&[&["build", "--target", TARGET], arguments].concat());
    let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
    lab.finish(child.wait_with_output().unwrap())
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_build_goes_on_without_its_reader() {
    for arguments in [&[][..], &["--json"]] {
        let lab = lab();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let built = build_into(&lab, arguments, writer, Stdio::piped());
        assert_eq!(built.status, 0, "{}", built.stderr);
        assert!(lab.exists(FILE));
    }
}

#[test]
fn a_build_that_cannot_be_reported_is_made_and_has_failed() {
    for arguments in [&[][..], &["--json"]] {
        let lab = lab();
        let built = build_into(&lab, arguments, full(), Stdio::piped());
        assert_eq!(built.status, 3, "{}", built.stderr);
        let told =
            "error: cannot write to standard output\n  caused by: No space left on device\nhint: make room";
        assert!(built.stderr.contains(told), "{}", built.stderr);
        assert!(lab.exists(FILE));
    }
}

#[test]
fn nobody_has_to_listen_to_its_progress() {
    let lab = lab();
    assert_eq!(build_into(&lab, &["-vv"], Stdio::piped(), full()).status, 0);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(build_into(&lab, &["-vv"], Stdio::piped(), writer).status, 0);
}

#[test]
fn verbose_is_what_it_looks_up_finds_mounts_and_captures() {
    let lab = lab();
    let said = |level: &[&str]| {
        let built = lab.run(&[level, &["build", "--target", TARGET]].concat());
        let said = built.stderr.clone();
        built.succeeds();
        said
    };
    let first = said(&["-v"]);
    let line =
        |said: &str, words: [&str; 2]| said.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["hit", "stage=ws/bootstrap"],
        ["miss", "stage=ws/name"],
        ["mounts a sandbox", "layers=1"],
        ["captured", "changes="],
        ["packs", TARGET],
    ] {
        assert!(line(&first, words), "{words:?}: {first}");
    }
    assert!(!first.contains("DEBUG"), "{first}");
    let second = said(&["-v"]);
    assert!(line(&second, ["hit", "stage=ws/name"]) && line(&second, ["key=", TARGET]), "{second}");
    assert!(!second.contains("mounts a sandbox"), "{second}");
    lab.edit("ibuild.toml", "echo 0", "echo 1");
    let more = said(&["-vv"]);
    assert!(
        line(&more, ["DEBUG", "commits to the index"]) && line(&more, ["ran", "stage=ws/name"]),
        "{more}"
    );
    lab.edit("ibuild.toml", "echo 1", "echo 2");
    let plain = said(&[]);
    assert!(!plain.contains("INFO") && !plain.contains("DEBUG"), "{plain}");
}

/// What a build says on a terminal.
fn on_terminal(lab: &Sandbox, arguments: &[&str]) -> String {
    let Pty { master, slave } = openpty(None, None).unwrap();
    let mut command = lab.command(&[arguments, &["build", "--target", TARGET]].concat());
    let child = command.env("TERM", "xterm").stderr(slave).stdout(Stdio::null()).spawn();
    // The command has the terminal's other end, too.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut terminal, mut said) = (File::from(master), Vec::new());
        // A terminal that nobody has open any more is an error to read from.
        let _ = terminal.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    assert!(child.unwrap().wait().unwrap().success());
    reader.join().unwrap()
}

#[test]
fn a_terminal_gets_no_sequence_that_was_forbidden() {
    let lab = lab();
    let number = Cell::new(0);
    let edit = || {
        let (old, new) = (number.get(), number.get() + 1);
        number.set(new);
        lab.edit("ibuild.toml", &format!("echo {old} "), &format!("echo {new} "));
    };
    assert!(on_terminal(&lab, &[]).contains('\x1b'));
    edit();
    let said = on_terminal(&lab, &["--color", "never"]);
    assert!(!said.contains('\x1b') && said.contains("ran     ws/name"), "{said:?}");
    edit();
    let said = on_terminal(&lab, &["-v", "--color", "never"]);
    assert!(!said.contains('\x1b') && said.contains("INFO mounts a sandbox"), "{said:?}");
}
