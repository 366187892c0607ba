//! A running machine, from its start to its certain end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use regex::Regex;
use tempfile::TempDir;

use ibuild_host::tool::{ToolError, last_lines};
use ibuild_spec::hardware::Firmware;

use super::command::{MONITOR, VARS, arguments};
use super::console::{ConsoleSink, Lines};
use super::error::MachineError;
use super::options::{Accelerator, MachineOptions};
use super::qemu::{Ovmf, Qemu};
use super::qmp::Monitor;
use super::timers::TimerWatch;

/// How often a wait looks up from the console.
const TICK: Duration = Duration::from_millis(200);
/// Chunks of console output that may wait for a reader; QEMU then waits too.
const CHUNKS: usize = 64;
/// Name of QEMU's complaints in the scratch directory.
const STDERR: &str = "stderr";

/// A machine that runs. Dropping it ends it at once, as if its power were cut.
///
/// The kernel kills it when the *thread* that started it ends, so that even a killed ibuild leaves none
/// behind: start it on a thread that lives as long as the machine is wanted.
#[must_use = "a machine ends when it is dropped"]
pub struct Machine {
    child: Child,
    stdin: ChildStdin,
    console: Receiver<Vec<u8>>,
    lines: Lines,
    /// Only of an emulated machine: what a processor of the host's loses is a verdict.
    timers: Option<TimerWatch>,
    scratch: TempDir,
}

impl Machine {
    /// Starts the machine.
    pub fn start(qemu: &Qemu, options: &MachineOptions) -> Result<Machine, MachineError> {
        let scratch = tempfile::Builder::new().prefix("machine-").tempdir_in(&options.scratch);
        let scratch = scratch.map_err(MachineError::io("make a scratch directory in", &options.scratch))?;
        let ovmf = match options.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Some(prepare_firmware(scratch.path())?),
        };
        let arguments = arguments(options, ovmf.as_ref())?;
        let mut child = spawn(qemu, &arguments, scratch.path())?;
        let stdin = child.stdin.take().expect("standard input was piped");
        let mut stdout = child.stdout.take().expect("standard output was piped");
        let (sender, console) = sync_channel(CHUNKS);
        thread::spawn(move || forward(&mut stdout, &sender));
        let timers = (options.accelerator == Accelerator::Tcg).then(TimerWatch::default);
        Ok(Machine { child, stdin, console, lines: Lines::default(), timers, scratch })
    }

    /// Waits until a line of the console matches, even one that has not ended, such as a prompt. Lines up to
    /// and including the one that matched are not looked at again.
    pub fn wait_for(
        &mut self,
        pattern: &Regex,
        limit: Duration,
        sink: &mut dyn ConsoleSink,
    ) -> Result<String, MachineError> {
        let start = Instant::now();
        loop {
            if let Some(line) = self.lines.find(pattern) {
                return Ok(line);
            }
            self.check_timers()?;
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                let last = self.lines.last();
                return Err(MachineError::Timeout { pattern: pattern.to_string(), limit, last });
            }
            if !sink.keep_going() {
                return Err(MachineError::Interrupted);
            }
            match self.console.recv_timeout(left.min(TICK)) {
                Ok(bytes) => self.hear(&bytes, sink),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended(pattern)),
            }
        }
    }

    /// Types on the console, as if by keyboard. A line ends with `\r` there.
    pub fn send(&mut self, text: &str) -> Result<(), MachineError> {
        let write = self.stdin.write_all(text.as_bytes()).and_then(|()| self.stdin.flush());
        write.map_err(MachineError::io("write to the console of", self.scratch.path()))
    }

    /// Passes the console on until the machine ends by itself, or `limit` is over.
    pub fn follow(
        &mut self,
        limit: Option<Duration>,
        sink: &mut dyn ConsoleSink,
    ) -> Result<(), MachineError> {
        let start = Instant::now();
        loop {
            if let Some(limit) = limit.filter(|limit| start.elapsed() >= *limit) {
                return Err(MachineError::StillRunning { limit });
            }
            if !sink.keep_going() {
                return Err(MachineError::Interrupted);
            }
            match self.console.recv_timeout(TICK) {
                // Nobody asks about lines here, so none are kept.
                Ok(bytes) => sink.raw(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.exit(),
            }
        }
    }

    fn exit(&mut self) -> Result<(), MachineError> {
        let status =
            self.child.wait().map_err(MachineError::io("wait for the machine in", self.scratch.path()))?;
        match status.success() {
            true => Ok(()),
            false if is_fault(status) => Err(self.fault(status)),
            false => Err(MachineError::Crashed { status: status.to_string(), stderr: self.complaints() }),
        }
    }

    /// Errors if QEMU has failed: has ended by a fault of its own, or has lost a timer. A machine that has been switched off is
    /// no error.
    pub fn check_emulator(&mut self) -> Result<(), MachineError> {
        self.check_timers()?;
        let ended = self.child.try_wait();
        let ended = ended.map_err(MachineError::io("look after the machine in", self.scratch.path()))?;
        match ended.filter(|status| is_fault(*status)) {
            Some(status) => Err(self.fault(status)),
            None => Ok(()),
        }
    }

    fn check_timers(&self) -> Result<(), MachineError> {
        match self.timers.as_ref().and_then(TimerWatch::lost) {
            Some(said) => Err(MachineError::LostTimer { said: said.to_owned() }),
            None => Ok(()),
        }
    }

    fn fault(&self, status: ExitStatus) -> MachineError {
        MachineError::Emulator { status: status.to_string(), stderr: self.complaints() }
    }

    fn complaints(&self) -> String {
        last_lines(&fs::read(self.scratch.path().join(STDERR)).unwrap_or_default())
    }

    /// A keyboard of the console for another thread: bytes written there are typed as they are.
    pub fn keyboard(&self) -> Result<impl Write + Send + 'static, MachineError> {
        let keyboard = self.stdin.as_fd().try_clone_to_owned();
        keyboard.map(File::from).map_err(MachineError::io("write to the console of", self.scratch.path()))
    }

    /// Writes a picture of the screen to `path` as PNG.
    pub fn screenshot(&mut self, path: &Path) -> Result<(), MachineError> {
        const PICTURE: &str = "screen.png";
        self.monitor()?.screenshot(PICTURE)?;
        let picture = self.scratch.path().join(PICTURE);
        fs::copy(&picture, path).map_err(MachineError::io("write the screenshot", path))?;
        Ok(())
    }

    /// Presses the power button. Whether the guest heeds it shows on the console.
    pub fn power_button(&mut self) -> Result<(), MachineError> {
        self.monitor()?.power_button()
    }

    /// Starts the machine anew, as if its power had failed for a moment.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        self.monitor()?.reset()
    }

    /// Stops the machine where it is: it neither hears nor says anything.
    pub fn freeze(&mut self) -> Result<(), MachineError> {
        self.monitor()?.freeze()
    }

    /// Lets a frozen machine go on.
    pub fn thaw(&mut self) -> Result<(), MachineError> {
        self.monitor()?.thaw()
    }

    /// The last line with anything on it.
    pub fn last_line(&self) -> String {
        self.lines.last()
    }

    /// Hears what the machine has said meanwhile. A machine that nobody hears stops when its pipe is full.
    pub fn hear_pending(&mut self, sink: &mut dyn ConsoleSink) {
        while let Ok(bytes) = self.console.try_recv() {
            self.hear(&bytes, sink);
        }
    }

    /// The process id of QEMU.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn monitor(&self) -> Result<Monitor, MachineError> {
        Monitor::connect(self.scratch.path(), MONITOR)
    }

    fn hear(&mut self, bytes: &[u8], sink: &mut dyn ConsoleSink) {
        sink.raw(bytes);
        let timers = &mut self.timers;
        self.lines.feed(bytes, |line| {
            timers.iter_mut().for_each(|watch| watch.hear(line));
            sink.line(line);
        });
    }

    fn ended(&mut self, pattern: &Regex) -> MachineError {
        let status = match self.child.wait() {
            Ok(status) if is_fault(status) => return self.fault(status),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        MachineError::Ended { pattern: pattern.to_string(), status, stderr: self.complaints() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both only fail when the machine has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a boot went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootReport {
    /// The line that was waited for.
    pub line: String,
    /// How long it took to appear.
    pub elapsed: Duration,
}

/// Starts a machine, waits until a line of its console matches `until`, takes a picture if asked to (also
/// when the wait was in vain, which is when it is most wanted), and ends it.
pub fn boot_until(
    qemu: &Qemu,
    options: &MachineOptions,
    until: &Regex,
    limit: Duration,
    screenshot: Option<&Path>,
    sink: &mut dyn ConsoleSink,
) -> Result<BootReport, MachineError> {
    let start = Instant::now();
    let mut machine = Machine::start(qemu, options)?;
    let waited = machine.wait_for(until, limit, sink);
    let elapsed = start.elapsed();
    let pictured = screenshot.map_or(Ok(()), |path| machine.screenshot(path));
    let line = waited?;
    pictured?;
    Ok(BootReport { line, elapsed })
}

fn prepare_firmware(scratch: &Path) -> Result<Ovmf, MachineError> {
    let ovmf = Ovmf::find()?;
    let vars = scratch.join(VARS);
    fs::copy(&ovmf.vars, &vars).map_err(MachineError::io("copy UEFI's variables to", &vars))?;
    Ok(ovmf)
}

fn spawn(qemu: &Qemu, arguments: &[String], scratch: &Path) -> Result<Child, MachineError> {
    let stderr = scratch.join(STDERR);
    let stderr = File::create(&stderr).map_err(MachineError::io("create", &stderr))?;
    let parent = nix::unistd::getpid();
    let mut command = qemu.tool.command();
    command
        .args(arguments)
        .current_dir(scratch)
        .env("TMPDIR", scratch)
        // Ctrl-C is for us: we end the machine, and know then why it ended.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr);
    // SAFETY: between fork and exec only two system calls are made, both safe after a fork.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have ended before the line above.
            match nix::unistd::getppid() == parent {
                true => Ok(()),
                false => Err(std::io::ErrorKind::Interrupted.into()),
            }
        });
    }
    let failed = |source| ToolError::Run { path: qemu.tool.path().into(), source };
    Ok(command.spawn().map_err(failed)?)
}

/// Whether a process was ended by something that only it itself can have done. Nothing a guest does is meant to end QEMU so;
/// a kill comes from outside.
fn is_fault(status: ExitStatus) -> bool {
    const FAULTS: [Signal; 5] =
        [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE];
    status.signal().is_some_and(|signal| FAULTS.iter().any(|fault| *fault as i32 == signal))
}

/// Passes console output on until either end is gone.
fn forward(stdout: &mut impl Read, sender: &SyncSender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        if sender.send(buffer[..length].to_vec()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
