//! Files that a stage sees but that are not to be in its snapshot.
//!
//! They are ordinary files, so that scripts may move, divert or remove them as they do on any system. Afterwards those
//! that still are what was put there go; what a script changed is its own.
//!
//! Bind mounts would make `rm` and `mv` of these files fail.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::BUILD_MACHINE_ID;
use super::mounts::{SetupResult, failed};
use super::view::{Inject, InjectedContent};

const MACHINE_ID: &str = "/etc/machine-id";
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";

/// Changes when a stage finds another machine id, or leaves another one behind. Belongs into the key of every stage.
pub const MACHINE_ID_WRITER: &str = "ibuild-machine-id 1";

/// What was put into the sandbox. [`Injected::withdraw`] has to follow.
#[must_use = "what was injected has to be withdrawn"]
pub(super) struct Injected {
    files: Vec<(PathBuf, String)>,
}

/// The text of a regular file of moderate size. What a stage left in its place may be a pipe that never ends, or a device.
pub(super) fn text(path: &Path) -> io::Result<String> {
    const MOST: u64 = 1 << 20;
    let file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    io::read_to_string(file.take(MOST))
}

/// Puts files into the sandbox, and a machine id if the tree has none of its own.
pub(super) fn inject(files: &[Inject]) -> SetupResult<Injected> {
    let mut injected = Injected { files: Vec::new() };
    for file in files {
        let InjectedContent::Text(content) = &file.content else { continue };
        let has_place = file.path.parent().is_some_and(Path::is_dir);
        if has_place && fs::symlink_metadata(&file.path).is_err() {
            let act = || format!("create `{}`", file.path.display());
            fs::write(&file.path, content).map_err(failed(act()))?;
            let mode = fs::Permissions::from_mode(file.mode);
            fs::set_permissions(&file.path, mode).map_err(failed(act()))?;
            injected.files.push((file.path.clone(), content.clone()));
        }
    }
    if Path::new("/etc").is_dir() && lacks_machine_id() {
        fs::write(MACHINE_ID, machine_id()).map_err(failed("write `/etc/machine-id`"))?;
    }
    Ok(injected)
}

fn machine_id() -> String {
    format!("{BUILD_MACHINE_ID}\n")
}

fn lacks_machine_id() -> bool {
    match text(Path::new(MACHINE_ID)) {
        Ok(text) => text.trim().is_empty() || text.trim() == "uninitialized",
        Err(e) => e.kind() == io::ErrorKind::NotFound && !Path::new(MACHINE_ID).is_symlink(),
    }
}

impl Injected {
    /// Takes out what still is as it was put in. Of the machine id an empty file stays: that is how an image says that
    /// each machine is to choose its own.
    pub(super) fn withdraw(self) -> SetupResult {
        for (path, content) in &self.files {
            if text(path).is_ok_and(|now| now == *content) {
                fs::remove_file(path).map_err(failed(format!("remove `{}`", path.display())))?;
            }
        }
        let is_ours = |path: &str| text(Path::new(path)).is_ok_and(|text| text.trim() == BUILD_MACHINE_ID);
        if !Path::new(DBUS_MACHINE_ID).is_symlink() && is_ours(DBUS_MACHINE_ID) {
            fs::remove_file(DBUS_MACHINE_ID).map_err(failed("remove D-Bus's machine id"))?;
            symlink(MACHINE_ID, DBUS_MACHINE_ID).map_err(failed("link D-Bus's machine id"))?;
        }
        if is_ours(MACHINE_ID) {
            fs::write(MACHINE_ID, "").map_err(failed("empty `/etc/machine-id`"))?;
            let mode = fs::Permissions::from_mode(0o444);
            fs::set_permissions(MACHINE_ID, mode).map_err(failed("set the mode of `/etc/machine-id`"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_golden::pin;

    #[test]
    fn the_machine_id_has_a_version() {
        let seen = [MACHINE_ID, DBUS_MACHINE_ID, &machine_id()].join("\n");
        let pinned =
            ("ibuild-machine-id 1", "60887dbbe69b2503ce8b692cfcd0ed264f8c257c1545fb5d7330335c35a1d854");
        pin("MACHINE_ID_WRITER in sandbox/inject.rs", MACHINE_ID_WRITER, pinned, seen);
    }
}
