//! `ibuild boot`: starts a finished target as a virtual machine, to wait for a line or to sit at its console.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ibuild::stages::disk::Identity;
use ibuild::stages::machine::{
    Cable, ConsoleSink, Machine, MachineError, MachineNic, MachineOptions, NicModel, Qemu, Regex, boot_until,
};
use ibuild::stages::recipe::{Image, ImageFormat, NetworkCard, Nic, Recipe};
use ibuild::stages::sandbox::Cancel;
use ibuild::stages::spec::MIB;
use ibuild::stages::spec::hardware::Firmware;
use ibuild::stages::{Project, Target};
use ibuild::{Context, Result, UsageError};

use crate::cli::{BootArgs, Global};
use crate::interrupt;
use crate::invocation;
use crate::terminal::{RawTerminal, tell};
use crate::ui::seconds;

/// How long `--until` waits if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(240);
/// Ctrl-], as in telnet.
const ESCAPE: u8 = 0x1d;

pub fn run(global: &Global, args: &BootArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let project = Project::new(&workspace.recipe);
    let until = args.until.as_deref().map(pattern).transpose()?;
    let (target, file) = find_built(&project, &workspace.output_dir(None), &args.target)?;
    let image = single(&workspace.recipe, &target)?;
    let scratch = workspace.store.run_dir()?;
    let mut options = machine(image, &file, target.format, scratch.path());
    options.firmware = firmware(image, args.firmware)?;
    options.bus = args.disk_bus.unwrap_or(options.bus);
    let qemu = Qemu::find().map_err(MachineError::from)?;
    let screenshot = args.screenshot.as_deref().map(std::path::absolute).transpose();
    let screenshot = screenshot.context("cannot find the place for the screenshot")?;
    let limit = args.timeout.map(Duration::from_secs);
    let console = Console { cancel: interrupt::cancel_on_signals()?, quit: Arc::default() };
    match until {
        Some(until) => wait(&qemu, &options, &until, limit, screenshot.as_deref(), console)?,
        None => sit(&qemu, &options, limit, screenshot.as_deref(), console)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pattern(text: &str) -> Result<Regex> {
    Ok(Regex::new(text)
        .map_err(|e| UsageError::new(format!("`--until {text}` is no regular expression: {e}")))?)
}

/// The target and its file. An image means the first of its formats that is there.
fn find_built(project: &Project<'_>, dir: &Path, text: &str) -> Result<(Target, PathBuf)> {
    let targets = project.targets(text)?;
    let mut disks = targets.iter().filter(|target| target.format.boots()).peekable();
    let Some(first) = disks.peek().map(ToString::to_string) else {
        let error = UsageError::new(format!("`{text}` has no disk to boot from"));
        return Err(error.hint("boot another format of the image, for example its `raw`").into());
    };
    let place = |target: &Target| (target.clone(), dir.join(target.to_string()));
    let found = disks.map(place).find(|(_, file)| file.is_file());
    let missing = || {
        UsageError::new(format!("`{first}` is not in `{}`", dir.display()))
            .hint(format!("`ibuild build --target {first}` puts it there"))
    };
    Ok(found.ok_or_else(missing)?)
}

/// The image of a target. Several machines are several commands, each of which has a console.
fn single<'r>(recipe: &'r Recipe, target: &Target) -> Result<&'r Image> {
    let several = || {
        let machines = &recipe.appliances[&target.image].machines;
        let names: Vec<_> = machines.iter().map(|name| format!("`{name}`")).collect();
        UsageError::new(format!("`{target}` has several machines"))
            .hint(format!("boot one of them: {}", names.join(", ")))
    };
    Ok(recipe.images.get(&target.image).ok_or_else(several)?)
}

/// What starts the machine: what was chosen, if the disk can be started by it.
fn firmware(image: &Image, choice: Option<Firmware>) -> Result<Firmware> {
    let wanted = choice.unwrap_or_else(|| image.firmware());
    let firmware = image.disk.iter().flat_map(|disk| &disk.firmware);
    if firmware.clone().any(|firmware| *firmware == wanted) {
        return Ok(wanted);
    }
    let words: Vec<_> = firmware.map(|firmware| firmware.word()).collect();
    let error = UsageError::new(format!("`{}` does not boot with {}", image.name, wanted.word()));
    Err(error
        .hint(format!("pass `--firmware {}`, or change `firmware` in the recipe", words.join("|")))
        .into())
}

/// The machine that the recipe describes, as far as it can be had here: no cable leaves the host.
fn machine(image: &Image, file: &Path, format: ImageFormat, scratch: &Path) -> MachineOptions {
    let mut options = MachineOptions::new(file, format, scratch);
    options.bus = image.vm.disk_bus;
    options.cpus = image.vm.cpus;
    options.memory_mib = u32::try_from(image.vm.memory.0 / MIB).unwrap_or(u32::MAX);
    options.uuid = image.vm.uuid;
    let adapter = |(slot, card): (usize, &NetworkCard)| MachineNic {
        model: NicModel::Virtio,
        mac: card.mac.unwrap_or_else(|| Identity::of(image.name.as_str()).mac(slot)),
        cable: if card.network == Nic::Nat { Cable::Restricted } else { Cable::Unplugged },
        capture: None,
        sent: None,
    };
    options.nics = image.vm.nics.iter().enumerate().map(adapter).collect();
    options
}

/// Shows the console as it is.
struct Console {
    cancel: Cancel,
    /// Set when the user leaves with Ctrl-].
    quit: Arc<AtomicBool>,
}

impl ConsoleSink for Console {
    fn raw(&mut self, bytes: &[u8]) {
        let mut stdout = std::io::stdout().lock();
        // The machine goes on when nobody reads its console any more.
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }

    fn keep_going(&mut self) -> bool {
        !self.cancel.is_cancelled() && !self.quit.load(Ordering::Relaxed)
    }
}

fn wait(
    qemu: &Qemu,
    options: &MachineOptions,
    until: &Regex,
    limit: Option<Duration>,
    screenshot: Option<&Path>,
    mut console: Console,
) -> Result<()> {
    let mut boot = || boot_until(qemu, options, until, limit.unwrap_or(PATIENCE), screenshot, &mut console);
    let report = match boot() {
        Err(error) if error.is_emulator() => {
            tell!("\n{error}; the machine is started anew");
            boot()?
        }
        done => done?,
    };
    tell!("\nseen `{}` after {}", report.line.trim(), seconds(report.elapsed));
    Ok(())
}

fn sit(
    qemu: &Qemu,
    options: &MachineOptions,
    limit: Option<Duration>,
    screenshot: Option<&Path>,
    mut console: Console,
) -> Result<()> {
    let mut machine = Machine::start(qemu, options)?;
    let raw = std::io::stdin().is_terminal().then(RawTerminal::enter).transpose();
    let raw = raw.context("cannot switch the terminal to raw mode")?;
    if raw.is_some() {
        tell!("Ctrl-] leaves the machine and ends it\r");
    }
    let typing = if raw.is_some() { Typing::Keys } else { Typing::Lines };
    type_into(machine.keyboard()?, typing, console.quit.clone());
    let ended = machine.follow(limit, &mut console);
    let pictured = screenshot.map_or(Ok(()), |path| machine.screenshot(path));
    drop(raw);
    match ended {
        Err(error) if error.is_interrupt() && console.quit.load(Ordering::Relaxed) => Ok(pictured?),
        // A machine that has ended has no display to take a picture of.
        ended => Ok(ended?),
    }
}

/// Where typed text comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typing {
    /// A terminal in raw mode.
    Keys,
    /// A file or a pipe: a console wants lines to end as the Enter key ends them.
    Lines,
}

/// Passes standard input on for as long as the program runs: nothing can interrupt a read from it.
fn type_into(mut keyboard: impl Write + Send + 'static, typing: Typing, quit: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = stdin.read(&mut buffer) {
            let typed = &mut buffer[..length];
            if typing == Typing::Keys && typed.contains(&ESCAPE) {
                return quit.store(true, Ordering::Relaxed);
            }
            if typing == Typing::Lines {
                typed.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
            }
            if keyboard.write_all(typed).and_then(|()| keyboard.flush()).is_err() {
                return;
            }
        }
    });
}
