//! `ibuild watch`, with real edits, over a root file system of one busybox. Needs root.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::Sandbox;

const STEPS: &str = r#"
  { name = "word", run = "cp /run/ibuild/in/word /srv/word", inputs = ["word"] },
  { name = "slow", run = "if grep -q slow /srv/word; then sleep 30; fi; cp /srv/word /srv/again" },
"#;

/// A watch that runs, and what it says on both outputs.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(lab: &Sandbox) -> Self {
        let mut command = lab.command(&["watch"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            });
        }
        Self { child, lines }
    }

    /// Waits for a line with this text; all lines until then.
    #[track_caller]
    fn until(&self, text: &str) -> Vec<String> {
        let (start, mut seen) = (Instant::now(), Vec::new());
        while start.elapsed() < Duration::from_secs(50) {
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(100)) {
                seen.push(line);
                if seen.last().unwrap().contains(text) {
                    return seen;
                }
            }
        }
        panic!("no {text:?} in {seen:#?}");
    }

    fn stop(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        self.child.wait().unwrap().code()
    }
}

#[test]
fn each_save_is_built_and_a_save_overtakes_a_build() {
    let lab = Sandbox::empty();
    lab.write("word", "one\n");
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    let watch = Watch::start(&lab);
    let first = watch.until("waits for changes");
    assert!(first.iter().any(|line| line.contains("built ws.rootfs.tar.zst  3 run, 1 cached")), "{first:#?}");
    lab.write("word", "two\n");
    watch.until("built ws.rootfs.tar.zst  3 run");
    watch.until("waits for changes");
    assert_eq!(lab.run(&["cat", "ws/slow", "/srv/again"]).stdout, "two\n");
    // The build that sleeps is overtaken.
    lab.write("word", "slow\n");
    std::thread::sleep(Duration::from_millis(800));
    lab.write("word", "three\n");
    watch.until("begins anew");
    watch.until("waits for changes");
    assert_eq!(lab.run(&["cat", "ws/slow", "/srv/again"]).stdout, "three\n");
    // A mistake is told, and its cure is built.
    lab.edit("ibuild.toml", "name = \"slow\"", "nam = \"slow\"");
    watch.until("unknown key `nam`");
    watch.until("waits for changes");
    lab.edit("ibuild.toml", "nam = \"slow\"", "name = \"slow\"");
    watch.until("built ws.rootfs.tar.zst  0 run");
    watch.until("waits for changes");
    // Nothing that is no edit begins a round: what was built lies in the project.
    lab.write("out/x", "");
    lab.write(".word.swp", "");
    std::thread::sleep(Duration::from_millis(600));
    assert!(watch.lines.try_recv().is_err());
    watch.stop();
}

#[test]
fn a_target_that_there_is_not_is_told_at_once() {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), "");
    let outcome = lab.run(&["watch", "wz.raw"]);
    assert!(outcome.status == 2 && outcome.stderr.contains("wz.raw"), "{outcome:?}");
}
