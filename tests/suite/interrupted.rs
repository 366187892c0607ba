//! Ctrl-C while stages run: a terminal sends it to the whole group of a command, to the stages' inits as well as to the
//! builder. Over a root file system of one busybox. Needs root.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::harness::Sandbox;

/// None of the stages would end by itself while a test waits.
const STEPS: &str = r#"
  { name = "long", run = "echo begun; exec busybox sleep 100000" },
"#;

/// How often: the signal reaches the processes of a group in any order.
const TIMES: usize = 6;

const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(lab: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = lab.command(&[&["build", "--target", "ws.rootfs.tar.zst"], arguments].concat());
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What came of a build whose group is interrupted once while its stage runs.
fn interrupted(lab: &Sandbox, signal: Signal, arguments: &[&str]) -> crate::harness::Outcome {
    let log = lab.path("../cache/logs/seeded/ws/long.log");
    let _ = fs::remove_file(&log);
    let mut child = start(lab, arguments);
    wait_until("the stage", || fs::read_to_string(&log).is_ok_and(|said| said.contains("begun")));
    killpg(Pid::from_raw(child.id() as i32), signal).unwrap();
    wait_until("the end", || child.try_wait().unwrap().is_some());
    lab.finish(child.wait_with_output().unwrap())
}

/// Processes whose root or command shows that they belong to the lab.
fn left_running(lab: &Sandbox) -> usize {
    let root = lab.path("..").canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mounts = processes.filter_map(|process| fs::read_to_string(process.path().join("mountinfo")).ok());
    mounts.filter(|mounts| mounts.contains(root.to_str().unwrap())).count()
}

#[test]
fn is_an_interruption_and_no_failed_stage() {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    for arguments in [&[][..], &["--keep-going"]] {
        for _ in 0..TIMES {
            let ended = interrupted(&lab, Signal::SIGINT, arguments);
            assert_eq!((ended.status, ended.stdout.as_str()), (130, ""), "{}", ended.stderr);
            assert!(ended.stderr.ends_with("interrupted\n"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("init was killed"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("failed"), "{}", ended.stderr);
            assert_eq!(left_running(&lab), 0);
        }
    }
}

#[test]
fn programs_hear_of_it_too() {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    let ended = interrupted(&lab, Signal::SIGINT, &["--json"]);
    assert_eq!(ended.status, 130, "{}", ended.stderr);
    let events = ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let outcomes: Vec<_> = events.filter(|event| event["stage"] == "ws/long").collect();
    assert_eq!(outcomes.last().unwrap()["outcome"], "interrupted", "{outcomes:?}");
}

#[test]
fn so_is_the_end_of_a_session() {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        assert_eq!(interrupted(&lab, signal, &[]).status, 130);
    }
}

#[test]
fn ends_who_waits_for_another_build_too() {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    let log = lab.path("../cache/logs/seeded/ws/long.log");
    let mut first = start(&lab, &[]);
    wait_until("the stage", || fs::read_to_string(&log).is_ok_and(|said| said.contains("begun")));
    let said = lab.path("../said");
    let mut command = lab.command(&["build", "--target", "ws.rootfs.tar.zst"]);
    let mut second = command.process_group(0).stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
    let waits = || fs::read_to_string(&said).unwrap().contains("waits for another ibuild");
    wait_until("the other build", waits);
    killpg(Pid::from_raw(second.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(130));
    assert!(first.try_wait().unwrap().is_none(), "the other build was ended, too");
    killpg(Pid::from_raw(first.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(130));
}

/// A mirror that takes a connection and says nothing is waited for without anybody looking at the wish to stop.
#[test]
fn ends_who_waits_for_a_mirror() {
    let lab = Sandbox::with_project();
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mirror.local_addr().unwrap();
    lab.write("ibuild.local.toml", &format!("mirror = \"http://{address}/debian\"\n"));
    let mut command = lab.command(&["lock"]);
    let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
    let _silent = mirror.accept().unwrap();
    killpg(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    wait_until("the end", || child.try_wait().unwrap().is_some());
    let ended = lab.finish(child.wait_with_output().unwrap());
    assert_eq!(ended.status, 130, "{}", ended.stderr);
    assert!(ended.stderr.ends_with("interrupted\n"), "{}", ended.stderr);
    // It has not waited until it gave the mirror up, and asked again.
    mirror.set_nonblocking(true).unwrap();
    assert_eq!(mirror.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
