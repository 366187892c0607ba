//! Real machines with a boot sector of our own, which greets and then echoes what is typed.

use std::path::PathBuf;

use super::*;
use ibuild_disk::{DiskContent, DiskMap, DiskSpec, MachineDisk, Packs, Source, VmSpec, pack};
use ibuild_spec::{Format, MIB};

const LIMIT: Duration = Duration::from_secs(60);

/// 16-bit code: writes the text behind it to the first serial port, then echoes for ever.
const CODE: [u8; 33] = [
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x21, 0x7c, // mov si, text
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz echo
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xba, 0xfd, 0x03, // echo: mov dx, 0x3fd
    0xec, // in al, dx
    0xa8, 0x01, // test al, 1
    0x74, 0xf8, // jz echo
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, // in al, dx
    0xee, // out dx, al
    0xeb, 0xf1, // jmp echo
];

const GREETING: &str = "hello\r\nname: ";

#[derive(Default)]
struct Recorder {
    bytes: Vec<u8>,
    lines: Vec<String>,
    interrupted: bool,
}

impl ConsoleSink for Recorder {
    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn line(&mut self, line: &str) {
        self.lines.push(line.into());
    }

    fn keep_going(&mut self) -> bool {
        !self.interrupted
    }
}

struct Lab {
    dir: TempDir,
    qemu: Qemu,
}

impl Lab {
    fn new() -> Lab {
        let qemu = Qemu::find().expect("these tests need QEMU >= 8.1 (package qemu-system-x86)");
        Lab { dir: tempfile::tempdir().unwrap(), qemu }
    }

    fn raw(&self) -> PathBuf {
        self.raw_that_says(GREETING)
    }

    fn raw_that_says(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("disk.raw");
        fs::write(&path, sector(text)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(97 * MIB).unwrap();
        path
    }

    fn packed(&self, format: Format) -> PathBuf {
        let disk = DiskSpec::new("lab", 97 * MIB, 0);
        let vm = VmSpec::new(1, 64);
        let map = DiskMap::of_bytes(97 * MIB, [(0, sector(GREETING).as_slice())]);
        let machines = [MachineDisk { disk: &disk, vm: &vm, content: DiskContent::Map(&map) }];
        let out = self.dir.path().join(format!("lab.{format}"));
        let mut packs = Packs::none(&self.dir.path().join(format!("{format}.grains")));
        let source = Source::Machines { name: "lab", epoch: 0, machines: &machines, packs: &mut packs };
        pack(format, source, &out, &|_, _| {}).unwrap();
        out
    }

    fn options(&self, image: &Path, format: Format) -> MachineOptions {
        let mut options = MachineOptions::new(image, format, self.dir.path());
        options.memory_mib = 64;
        options.cpus = 1;
        options
    }
}

/// A boot sector that says something.
fn sector(text: &str) -> Vec<u8> {
    let mut sector = CODE.to_vec();
    sector.extend(text.bytes().chain([0]));
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

#[test]
fn every_format_starts_and_none_is_written_to() {
    let lab = Lab::new();
    for format in Format::ALL.into_iter().filter(|format| format.boots()) {
        let image = lab.packed(format);
        let before = fs::read(&image).unwrap();
        let options = lab.options(&image, format);
        let mut sink = Recorder::default();
        let report = boot_until(&lab.qemu, &options, &regex("name: $"), LIMIT, None, &mut sink).unwrap();
        assert_eq!(report.line, "name: ", "{format}");
        assert!(sink.lines.contains(&"hello".to_owned()), "{:?}", sink.lines);
        assert!(String::from_utf8_lossy(&sink.bytes).contains("hello\r\nname: "));
        assert!(before == fs::read(&image).unwrap(), "{format} was written to");
        let left: Vec<_> = fs::read_dir(lab.dir.path()).unwrap().flatten().collect();
        assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("machine-")));
    }
}

#[test]
fn one_can_type_and_take_a_picture() {
    let lab = Lab::new();
    let mut machine = Machine::start(&lab.qemu, &lab.options(&lab.raw(), Format::Raw)).unwrap();
    let mut sink = Recorder::default();
    machine.wait_for(&regex("^name: $"), LIMIT, &mut sink).unwrap();
    machine.send("veil\r").unwrap();
    assert_eq!(machine.wait_for(&regex("^veil$"), LIMIT, &mut sink).unwrap(), "veil");
    let picture = lab.dir.path().join("screen.png");
    machine.screenshot(&picture).unwrap();
    assert_eq!(fs::read(&picture).unwrap()[..4], *b"\x89PNG");
}

#[test]
fn a_machine_ends_with_its_value() {
    let lab = Lab::new();
    let machine = Machine::start(&lab.qemu, &lab.options(&lab.raw(), Format::Raw)).unwrap();
    let process = PathBuf::from(format!("/proc/{}", machine.pid()));
    assert!(process.exists());
    drop(machine);
    assert!(!process.exists());
}

#[test]
fn a_machine_ends_with_the_thread_that_started_it() {
    let lab = Lab::new();
    let (raw, options) = (lab.raw(), |raw: &Path| lab.options(raw, Format::Raw));
    let options = options(&raw);
    let qemu = lab.qemu.clone();
    let start = move || {
        let machine = Machine::start(&qemu, &options).unwrap();
        let pid = machine.pid();
        std::mem::forget(machine);
        pid
    };
    let pid = thread::spawn(start).join().unwrap();
    let status = PathBuf::from(format!("/proc/{pid}/status"));
    let gone = || fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
    let deadline = Instant::now() + LIMIT;
    while !gone() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(gone());
}

#[test]
fn a_wait_in_vain_tells_the_last_line() {
    let lab = Lab::new();
    let mut machine = Machine::start(&lab.qemu, &lab.options(&lab.raw(), Format::Raw)).unwrap();
    let mut sink = Recorder::default();
    machine.wait_for(&regex("hello"), LIMIT, &mut sink).unwrap();
    let error = machine.wait_for(&regex("login:"), Duration::from_millis(700), &mut sink).unwrap_err();
    assert!(matches!(&error, MachineError::Timeout { last, .. } if last == "name: "), "{error}");
    sink.interrupted = true;
    let error = machine.wait_for(&regex("login:"), LIMIT, &mut sink).unwrap_err();
    assert!(matches!(error, MachineError::Interrupted));
}

#[test]
fn a_fault_of_qemu_is_no_verdict_and_a_kill_is_none_of_its_faults() {
    let lab = Lab::new();
    let end_by = |signal| {
        let mut machine = Machine::start(&lab.qemu, &lab.options(&lab.raw(), Format::Raw)).unwrap();
        machine.wait_for(&regex("^name: $"), LIMIT, &mut Recorder::default()).unwrap();
        machine.check_emulator().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(machine.pid().cast_signed()), signal).unwrap();
        let waited = machine.wait_for(&regex("never"), LIMIT, &mut Recorder::default()).unwrap_err();
        (waited, machine.check_emulator(), machine.exit().unwrap_err())
    };
    for signal in [Signal::SIGABRT, Signal::SIGSEGV] {
        let (waited, checked, exit) = end_by(signal);
        for error in [waited, checked.unwrap_err(), exit] {
            assert!(error.is_emulator() && !error.is_verdict(), "{signal}: {error}");
        }
    }
    let (waited, checked, exit) = end_by(Signal::SIGKILL);
    assert!(checked.is_ok() && waited.is_verdict() && exit.is_verdict(), "{waited} {exit}");
}

#[test]
fn an_emulated_machine_that_lost_its_timer_is_no_verdict() {
    const STALL: &str = "rcu: \tPossible timer handling issue on cpu=1 timer-softirq=3\r\n";
    let lab = Lab::new();
    let boot = |text: &str| {
        let mut options = lab.options(&lab.raw_that_says(text), Format::Raw);
        options.accelerator = Accelerator::Tcg;
        boot_until(&lab.qemu, &options, &regex("name: $"), LIMIT, None, &mut Recorder::default())
    };
    let late = boot(&format!("{STALL}name: "));
    assert_eq!(late.unwrap().line, "name: ");
    let error = boot(&format!("{STALL}{STALL}...\r\n")).unwrap_err();
    assert!(error.is_emulator() && !error.is_verdict(), "{error}");
    assert!(error.to_string().contains("lost its timer") && error.to_string().contains("cpu=1"), "{error}");
}

#[test]
fn an_image_of_another_format_ends_with_qemus_words() {
    let lab = Lab::new();
    let options = lab.options(&lab.raw(), Format::Qcow2);
    let mut sink = Recorder::default();
    let error = boot_until(&lab.qemu, &options, &regex("x"), LIMIT, None, &mut sink).unwrap_err();
    assert!(error.to_string().contains("not in qcow2 format"), "{error}");
}
