//! Shells at a terminal: a pseudo-terminal that a person's shell would have. Needs root.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Sandbox;
use nix::pty::openpty;

/// A program at a terminal of its own, of which it is in front.
struct AtTerminal {
    child: Child,
    keyboard: File,
    screen: thread::JoinHandle<()>,
    shown: std::sync::Arc<std::sync::Mutex<String>>,
}

impl AtTerminal {
    fn start(mut command: Command) -> Self {
        let pty = openpty(None, None).unwrap();
        let theirs = || pty.slave.try_clone().unwrap();
        command.stdin(theirs()).stdout(theirs()).stderr(theirs());
        // SAFETY: system calls only.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                nix::errno::Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop((command, pty.slave));
        let keyboard = File::from(pty.master);
        let mut from = keyboard.try_clone().unwrap();
        let shown = std::sync::Arc::<std::sync::Mutex<String>>::default();
        let screen = thread::spawn({
            let shown = shown.clone();
            move || {
                let mut bytes = [0; 1024];
                // A terminal that nobody has any more is an error.
                while let Ok(length @ 1..) = from.read(&mut bytes) {
                    shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
                }
            }
        });
        Self { child, keyboard, screen, shown }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until it shows a text, and forgets all up to that.
    #[track_caller]
    fn shows(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let mut shown = self.shown.lock().unwrap();
            if let Some(place) = shown.find(text) {
                shown.drain(..place + text.len());
                return;
            }
            assert!(Instant::now() < end, "no {text:?} in {shown:?}");
            drop(shown);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its exit status, and what it showed last.
    fn ends(mut self) -> (i32, String) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                self.child.kill().unwrap();
                panic!("it does not end: {:?}", self.shown.lock().unwrap());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let status = self.child.wait().unwrap().code().unwrap();
        self.screen.join().unwrap();
        let shown = self.shown.lock().unwrap().clone();
        (status, shown)
    }
}

fn lab() -> Sandbox {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), "");
    lab
}

/// A shell of the host with `$IBUILD`, in the project.
fn shell_of_the_host(lab: &Sandbox, arguments: &[&str]) -> Command {
    let command = lab.command::<&str>(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(arguments).current_dir(command.get_current_dir().unwrap()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PS1", "host> ");
    shell.env("IBUILD", command.get_program());
    shell
}

/// A regression: the shell found that group 0 was in front when it began, and could not put it back there.
#[test]
fn a_shell_ends_as_it_was_told_to() {
    let lab = lab();
    let mut shell = AtTerminal::start(lab.command(&["shell", "ws/bootstrap"]));
    shell.shows("# ");
    shell.types("exit 4\n");
    let (status, shown) = shell.ends();
    assert!(!shown.contains("process group"), "{shown}");
    assert_eq!(status, 4, "{shown}");
}

#[test]
fn a_shell_after_a_failure_ends_without_a_word() {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), "{ name = \"bad\", run = \"exit 9\" },");
    let build = ["build", "--until", "ws/bad", "--shell-on-failure"];
    let mut shell = AtTerminal::start(lab.command(&build));
    shell.shows("# ");
    shell.types("exit 4\n");
    let (status, shown) = shell.ends();
    assert!(!shown.contains("process group"), "{shown}");
    assert_eq!(status, 1, "{shown}");
}

/// With its program, its inputs and its environment, over what it had made.
#[test]
fn a_shell_is_in_the_place_of_the_stage() {
    let lab = Sandbox::empty();
    lab.write("note", "from the project");
    let step = r#"{ name = "bad", run = "echo tries >> /srv/tries; cat /run/ibuild/in/note >&2; echo; exit 9", inputs = ["note"], env = { COLOUR = "blue" } },"#;
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), step);
    lab.run(&["build", "--until", "ws/bad"]).fails_with(1, "exited with status 9");
    let mut shell = AtTerminal::start(lab.command(&["shell", "--failed", "bad"]));
    shell.shows("  | from the project");
    shell.shows("exited with status 9");
    shell.shows("`rerun` runs it again");
    shell.shows("ibuild:ws/bad (failed) /");
    shell.types("rerun; echo status $? $COLOUR $(busybox wc -l < /srv/tries)\n");
    shell.shows("from the project");
    shell.shows("status 9 blue 2");
    shell.types("exit 0\n");
    assert_eq!(shell.ends().0, 0);
    let seen =
        lab.run(&["shell", "--failed", "bad", "--", "cat", "/run/ibuild/in/note", "/srv/tries"]).succeeds();
    assert_eq!(seen, "from the projecttries\n");
}

#[test]
fn the_terminal_is_given_back() {
    let lab = lab();
    let script = "$IBUILD shell ws/bootstrap -- /bin/true; echo asks; read -r x && echo got $x";
    let mut shell = AtTerminal::start(shell_of_the_host(&lab, &["-c", script]));
    shell.shows("asks");
    shell.types("this\n");
    shell.shows("got this");
    assert_eq!(shell.ends().0, 0);
}

/// What reads its output is of the same job, and reads from the terminal meanwhile, as a pager does.
#[test]
fn a_pager_stays_in_front() {
    let lab = lab();
    let script = "$IBUILD shell ws/bootstrap -- /bin/sh -c 'echo made; busybox sleep 2' | (read -r a; read -r b < /dev/tty; echo $a $b)";
    let mut shell = AtTerminal::start(shell_of_the_host(&lab, &["-c", script]));
    thread::sleep(Duration::from_millis(500));
    shell.types("typed\n");
    shell.shows("made typed");
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn a_stopped_payload_comes_back_with_its_job() {
    let lab = lab();
    let mut shell = AtTerminal::start(shell_of_the_host(&lab, &["-i"]));
    shell.shows("host> ");
    shell.types("$IBUILD shell ws/bootstrap -- /bin/sh -c 'echo be''gun; read -r x; echo he''ard $x'\n");
    shell.shows("begun");
    shell.types("\x1a");
    shell.shows("host> ");
    // In the background it must not take the terminal away.
    shell.types("bg\n");
    shell.shows("host> ");
    shell.types("echo still$((1 + 1))here\n");
    shell.shows("still2here");
    shell.types("fg\n");
    thread::sleep(Duration::from_millis(500));
    shell.types("word\n");
    shell.shows("heard word");
    shell.types("exit 0\n");
    assert_eq!(shell.ends().0, 0);
}
