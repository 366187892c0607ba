//! Machines that have to start: every combination of firmware and bus, from every kind of file that holds the disk.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Instant;

use crate::chapter;
use crate::world::{World, is_night};

/// Firmware and bus.
const MACHINES: [(&str, &str); 6] = [
    ("bios", "sata"),
    ("bios", "virtio"),
    ("bios", "ide"),
    ("bios", "nvme"),
    ("uefi", "sata"),
    ("uefi", "virtio"),
];

/// Those that are only tried in a night.
const OTHER_MACHINES: [(&str, &str); 4] =
    [("bios", "scsi"), ("uefi", "ide"), ("uefi", "scsi"), ("uefi", "nvme")];

const FILES: [&str; 3] = ["hello.ova", "hello.qcow2", "hello.raw"];

/// How many machines run at the same time. Each of them keeps about one processor busy.
const AT_ONCE: usize = 2;

/// How many lines are told of a console that came to no prompt: enough for what came before a kernel's last complaints.
const TOLD: usize = 200;

/// A machine that has to start.
struct Boot {
    file: &'static str,
    firmware: &'static str,
    bus: &'static str,
}

/// Each machine once, with the files taking turns; in a night every machine with every file.
fn matrix() -> VecDeque<Boot> {
    let boot = |file, (firmware, bus)| Boot { file, firmware, bus };
    if !is_night() {
        let files = FILES.into_iter().cycle();
        return files.zip(MACHINES).map(|(file, machine)| boot(file, machine)).collect();
    }
    let machines = MACHINES.into_iter().chain(OTHER_MACHINES);
    machines.flat_map(|machine| FILES.map(|file| boot(file, machine))).collect()
}

pub fn all_machines_start(world: &World) {
    let start = chapter("all machines start");
    world.succeed(&[&["build", "--target"], FILES.as_slice()].concat());
    let boots = Mutex::new(matrix());
    let next = || boots.lock().expect("no panic while held").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(boot) = next() {
                    boot.reaches_its_prompt(world);
                }
            });
        }
    });
    eprintln!("all of them in {:.1} s", start.elapsed().as_secs_f64());
}

impl Boot {
    fn reaches_its_prompt(&self, world: &World) {
        let Self { file, firmware, bus } = self;
        let start = Instant::now();
        let mut command = world.ibuild("one/hello", "cache");
        command.args(["boot", file, "--firmware", firmware, "--disk-bus", bus]);
        command.args(["--until", "hello login:", "--timeout", "600"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let console = BufReader::new(child.stdout.take().unwrap());
        let lines: Vec<_> = console.split(b'\n').map_while(Result::ok).collect();
        let tail = lines.iter().rev().take(TOLD).rev().map(|line| String::from_utf8_lossy(line).into_owned());
        let tail: Vec<_> = tail.collect();
        assert!(
            child.wait().unwrap().success(),
            "{file} with {firmware} and {bus} did not start:\n{}",
            tail.join("\n")
        );
        eprintln!("{file} with {firmware} and {bus}: login after {:.1} s", start.elapsed().as_secs_f64());
    }
}
