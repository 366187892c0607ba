//! The way into the namespace.
//!
//! The process itself goes in, so its terminal, directory, environment, process id and exit status stay what they are, and
//! there is no second process that could outlive it. What stays outside for a moment is a shell with the two tools that
//! have the right to write the mappings: it waits for a line, which says that the namespace is there.
//!
//! A second process that stays outside would have to pass on signals, the terminal and the exit status.

use std::io::{self, Write};
use std::process::{Child, Command, Output, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::host::{MapTools, Obstacle};
use super::plan::MappingPlan;
use super::{UserNamespaceError, is_initial};

/// Makes this process root of a user namespace of its own, where 1 and above are the user's subordinate ids. To be
/// called before there is a second thread, and before anybody has asked [`is_initial`].
pub fn enter() -> Result<(), UserNamespaceError> {
    let plan = MappingPlan::of_process()?;
    let mapper = Mapper::start(&MapTools::find()?, &plan)?;
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|e| UserNamespaceError::Refused { obstacle: Obstacle::of_host(), source: e.into() })?;
    mapper.write()?;
    // Some hosts let everybody make the namespace, and then give its root no rights. This takes one, and changes nothing
    // that anybody uses; new mounts would make the way to this program's file one of mounts that are gone.
    unshare(CloneFlags::CLONE_NEWUTS).map_err(|e| UserNamespaceError::Powerless {
        act: "act as root",
        obstacle: Obstacle::of_host(),
        source: e.into(),
    })?;
    assert!(!is_initial(), "somebody asked for the namespace before it was entered");
    Ok(())
}

/// The shell outside. Dropped, it ends without having done anything.
struct Mapper(Child);

impl Mapper {
    fn start(tools: &MapTools, plan: &MappingPlan) -> Result<Self, UserNamespaceError> {
        let script = "read -r _ && \"$1\" $2 && exec \"$3\" $4";
        let of_this = |arguments: String| format!("{} {arguments}", std::process::id());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh"]).arg(&tools.uids).arg(of_this(plan.uid_arguments()));
        command.arg(&tools.gids).arg(of_this(plan.gid_arguments()));
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map(Self).map_err(mapping)
    }

    fn write(mut self) -> Result<(), UserNamespaceError> {
        let mut stdin = self.0.stdin.take().ok_or_else(|| mapping(io::ErrorKind::BrokenPipe.into()))?;
        stdin.write_all(b"\n").map_err(mapping)?;
        drop(stdin);
        let Output { status, stderr, .. } = self.0.wait_with_output().map_err(mapping)?;
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&stderr).trim().replace('\n', "; ");
        Err(UserNamespaceError::Mapping(if said.is_empty() { status.to_string() } else { said }))
    }
}

fn mapping(error: io::Error) -> UserNamespaceError {
    UserNamespaceError::Mapping(error.to_string())
}
