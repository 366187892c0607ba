//! What the host allows ordinary users, by its settings and tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::UserNamespaceError;

/// A setting of the kernel that forbids user namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The kernel was built without them.
    Unknown,
    /// None may be made by anybody.
    NoneLeft,
    /// Debian's switch is off.
    SwitchedOff,
    /// AppArmor gives their root no rights.
    AppArmor,
}

impl Obstacle {
    /// The first that this host has.
    pub fn of_host() -> Option<Self> {
        Self::below(Path::new("/proc"))
    }

    fn below(proc: &Path) -> Option<Self> {
        let is = |name: &str, value: &str| {
            fs::read_to_string(proc.join("sys").join(name)).is_ok_and(|text| text.trim() == value)
        };
        if !proc.join("self/ns/user").exists() {
            Some(Self::Unknown)
        } else if is("user/max_user_namespaces", "0") {
            Some(Self::NoneLeft)
        } else if is("kernel/unprivileged_userns_clone", "0") {
            Some(Self::SwitchedOff)
        } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
            Some(Self::AppArmor)
        } else {
            None
        }
    }

    /// What is so, for people.
    pub fn found(self) -> &'static str {
        match self {
            Self::Unknown => "unknown to the kernel",
            Self::NoneLeft => "user.max_user_namespaces is 0",
            Self::SwitchedOff => "kernel.unprivileged_userns_clone is 0",
            Self::AppArmor => "kernel.apparmor_restrict_unprivileged_userns is 1",
        }
    }

    /// What root can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unknown => "use a kernel with CONFIG_USER_NS, or run ibuild with `sudo`",
            Self::NoneLeft => "sysctl -w user.max_user_namespaces=15000",
            Self::SwitchedOff => "sysctl -w kernel.unprivileged_userns_clone=1",
            Self::AppArmor => "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        }
    }
}

/// Where the tools that write mappings may be: not only on the user's own path.
const TOOL_DIRS: &[&str] = &["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/wrappers/bin"];

/// The tools that write the mappings of users and of groups. They have rights that their callers do not have.
#[derive(Debug, Clone)]
pub struct MapTools {
    /// `newuidmap`.
    pub uids: PathBuf,
    /// `newgidmap`.
    pub gids: PathBuf,
}

impl MapTools {
    /// Finds both.
    pub fn find() -> Result<Self, UserNamespaceError> {
        Ok(Self { uids: find("newuidmap", TOOL_DIRS)?, gids: find("newgidmap", TOOL_DIRS)? })
    }
}

fn find(name: &'static str, dirs: &[&str]) -> Result<PathBuf, UserNamespaceError> {
    let paths = || dirs.iter().map(|dir| Path::new(dir).join(name)).filter(|path| path.is_file());
    if let Some(path) = paths().find(|path| has_rights(path)) {
        return Ok(path);
    }
    let problem = if paths().next().is_some() { "is not setuid root" } else { "is not installed" };
    Err(UserNamespaceError::Tool { name, problem })
}

/// Distributions give them all of root's rights, or only the capability that they need.
fn has_rights(path: &Path) -> bool {
    let is_setuid = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0);
    is_setuid || rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64][..]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fake `/proc` with some settings.
    #[track_caller]
    fn check(settings: &[(&str, &str)], expected: Option<Obstacle>) {
        let proc = tempfile::tempdir().unwrap();
        for (name, value) in settings {
            let path = proc.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        assert_eq!(Obstacle::below(proc.path()), expected);
    }

    #[test]
    fn every_setting_is_an_obstacle() {
        let (clone, apparmor) =
            ("sys/kernel/unprivileged_userns_clone", "sys/kernel/apparmor_restrict_unprivileged_userns");
        let (most, ns) = ("sys/user/max_user_namespaces", ("self/ns/user", ""));
        check(&[], Some(Obstacle::Unknown));
        check(&[ns], None);
        check(&[ns, (most, "96365"), (clone, "1"), (apparmor, "0")], None);
        check(&[ns, (most, "0"), (clone, "1")], Some(Obstacle::NoneLeft));
        check(&[ns, (most, "9"), (clone, "0")], Some(Obstacle::SwitchedOff));
        check(&[ns, (most, "9"), (clone, "1"), (apparmor, "1")], Some(Obstacle::AppArmor));
    }

    #[test]
    fn a_tool_without_rights_is_not_enough() {
        let dir = tempfile::tempdir().unwrap();
        let (path, dirs) = (dir.path().join("newuidmap"), [dir.path().to_str().unwrap()]);
        let problem = || find("newuidmap", &dirs).map_err(|error| error.to_string());
        assert_eq!(problem().unwrap_err(), "`newuidmap` is not installed");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(problem().unwrap_err(), "`newuidmap` is not setuid root");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(problem().unwrap(), path);
    }
}
