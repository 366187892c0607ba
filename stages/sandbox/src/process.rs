//! Running the payload's program as a child of the sandbox's first process.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio as StdStdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::capabilities::drop_rights;
use super::children::{Became, wait_for_any};
use super::emulation::Emulation;
use super::emulation::cpus::Cpus;
use super::emulation::device_nodes::DeviceNodes;
use super::emulation::disk_space::FreeSpace;
use super::emulation::kernel_name::KernelName;
use super::emulation::listener::{self, Entrance};
use super::emulation::memory_size::Memory;
use super::emulation::readdir::Readdir;
use super::end::End;
use super::front::Front;
use super::mounts::{SetupResult, failed};
use super::own_proc::OwnProc;
use super::seccomp::filter_calls;
use super::spec::{Spec, Stdio};
use super::visible_machine::{Clock, ReaddirOrder, VisibleMachine};
use super::{front, process_setup};
use ibuild_host::userns;

/// What came of a program.
pub(super) enum Ran {
    /// It ran to its end.
    Ended(End),
    /// The image lacks something that it needs to start.
    NotStarted(String),
}

/// Starts the program, waits for it, and reaps whatever else ends in the meantime, as the first process of a PID
/// namespace has to.
pub(super) fn run(argv: &[String], spec: &Spec, front: Front, proc: &OwnProc) -> SetupResult<Ran> {
    let [program, arguments @ ..] = argv else { return Err("there is no program to run".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.env);
    if front == Front::Payload {
        front::prepare().map_err(failed("use the terminal"))?;
    }
    let (entrance, awaited) = listener::prepare(emulations(&spec.machine)?, proc)?;
    confine(&mut command, spec, front, entrance);
    let spawned = command.spawn();
    // With its side of the socket.
    drop(command);
    let listening = awaited.listen()?;
    let (child, listening) = match (spawned, listening) {
        (Ok(child), Some(listening)) => (child, listening),
        (Ok(_), None) => return Err("the program runs without its filter".to_owned()),
        (Err(error), None) => return Err(failed("confine the program")(error)),
        (Err(error), Some(_)) => {
            let reason = what_is_missing(program, &error).map(Ran::NotStarted);
            return reason.ok_or_else(|| format!("cannot run `{program}`: {error}"));
        }
    };
    let ran = await_end(Pid::from_raw(child.id() as i32), front)?;
    listening.failure().map_or(Ok(ran), Err)
}

/// What the kernel alone cannot show as it is to be.
fn emulations(machine: &VisibleMachine) -> SetupResult<Vec<Box<dyn Emulation>>> {
    let mut emulations: Vec<Box<dyn Emulation>> =
        vec![Box::new(KernelName::new(&machine.kernel)?), Box::new(FreeSpace::new(machine.disk)?)];
    if let Some(cpus) = machine.cpus {
        emulations.push(Box::new(Cpus(cpus)));
    }
    if let Some(memory) = machine.memory {
        emulations.push(Box::new(Memory(memory)));
    }
    if machine.readdir != ReaddirOrder::AsStored {
        emulations.push(Box::new(Readdir::new(machine.readdir)));
    }
    if machine.clock != Clock::Host {
        emulations.push(clock(machine.clock)?);
    }
    if !userns::is_initial() {
        emulations.push(Box::new(DeviceNodes::new()?));
    }
    Ok(emulations)
}

#[cfg(target_arch = "x86_64")]
fn clock(clock: Clock) -> SetupResult<Box<dyn Emulation>> {
    use super::emulation::clock::ShiftedClock;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_err(failed("read the clock"))?.as_secs().cast_signed();
    Ok(Box::new(ShiftedClock::new(clock.start(now).saturating_sub(now))?))
}

#[cfg(not(target_arch = "x86_64"))]
fn clock(_: Clock) -> SetupResult<Box<dyn Emulation>> {
    Err("only on amd64 a stage can be shown another time".to_owned())
}

/// Lets a program start in a session of its own, without rights and with the calls that a stage may make.
fn confine(command: &mut Command, spec: &Spec, front: Front, entrance: Entrance) {
    let (stdio, umask) = (spec.policy.stdio, spec.machine.umask);
    command.current_dir("/");
    if stdio == Stdio::Log {
        command.stdin(StdStdio::null());
    }
    // SAFETY: the child is single-threaded and these are system calls only.
    unsafe {
        command.pre_exec(move || {
            if stdio == Stdio::Log {
                rustix::process::setsid()?;
            }
            if front == Front::Payload {
                front::come()?;
            }
            rustix::process::umask(rustix::fs::Mode::from(umask));
            process_setup::reset_signals();
            process_setup::set_resource_limits()?;
            process_setup::close_all_on_exec()?;
            drop_rights()?;
            filter_calls()?;
            entrance.enter()
        });
    }
}

fn await_end(pid: Pid, front: Front) -> SetupResult<Ran> {
    loop {
        let (who, became) = wait_for_any().map_err(failed("wait for the program"))?;
        match became {
            Became::Ended(end) if who == pid => return Ok(Ran::Ended(end)),
            Became::Stopped if who == pid && front == Front::Payload => front::pause_with(pid),
            Became::Ended(_) | Became::Stopped => {}
        }
    }
}

/// What is wrong with the image, if that is why a program does not start. One that is not there and one whose interpreter is
/// not there look the same to the kernel.
fn what_is_missing(program: &str, error: &io::Error) -> Option<String> {
    let is_path = program.contains('/');
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::ENOENT if is_path && fs::symlink_metadata(program).is_ok() => {
            Some(format!("`{program}` is there, but what it leads to, or the loader that it needs, is not"))
        }
        Errno::ENOENT | Errno::ENOTDIR => Some(format!("there is no `{program}` in the root file system")),
        Errno::EACCES => {
            Some(format!("`{program}` is no program in the root file system, or is not executable"))
        }
        Errno::ELOOP => Some(format!("`{program}` leads to itself, as a link or as its own interpreter")),
        Errno::ENOEXEC => Some(format!("`{program}` is no program for this machine")),
        _ => None,
    }
}

/// Kills what the program left behind, and tells its names.
pub(super) fn kill_survivors(proc: &OwnProc) -> Vec<String> {
    let names = survivors(proc);
    // Everything that this process may signal: all of the PID namespace but itself.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while wait_for_any().is_ok() {}
    names
}

fn survivors(proc: &OwnProc) -> Vec<String> {
    let names = proc.processes().unwrap_or_default().into_iter().filter_map(|pid| {
        let (command, stat) = (proc.text(pid, "comm").ok()?, proc.text(pid, "stat").ok()?);
        let is_zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
        (pid != 1 && !is_zombie).then(|| command.trim().to_owned())
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
