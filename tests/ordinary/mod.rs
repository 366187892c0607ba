//! An ordinary user of the machine, made for a test and gone with it: in mounts of the command's own, the files in `/etc`
//! that name users are other ones.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Nobody has this id, and nobody those from [`SUBIDS`] on.
pub const UID: u32 = 471_100;
const SUBIDS: u32 = 4_711_000;

/// A user with a home and subordinate ids.
pub struct Ordinary {
    root: PathBuf,
    /// What the host has in `/etc/subuid` and `/etc/subgid`.
    pub subids: String,
}

impl Ordinary {
    /// With a home in `root`, which everybody may enter from now on.
    pub fn new(root: &Path) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "only root can make a user");
        assert!(Path::new("/usr/bin/newuidmap").exists(), "install `uidmap`");
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        let user = Self { root: root.to_owned(), subids: format!("tester:{SUBIDS}:65536\n") };
        fs::create_dir_all(user.home()).unwrap();
        user.give(&user.home());
        user
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Makes a file, or a directory with all that is in it, the user's.
    pub fn give(&self, path: &Path) {
        let status = Command::new("chown").args(["-R", &format!("{UID}:{UID}")]).arg(path).status().unwrap();
        assert!(status.success());
    }

    /// Runs a program of the test as this user, with the user's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut binds = self.accounts();
        // Where the compiler puts programs, ordinary users may not be allowed to look.
        let place = self.root.join(program.file_name().unwrap());
        fs::File::create(&place).unwrap();
        binds.push((text(program), text(&place)));
        let mut command = Command::new(&place);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.home());
        command.stdin(Stdio::null()).current_dir(self.home());
        // SAFETY: system calls only, on texts that were made before.
        unsafe { command.pre_exec(move || become_user(&binds)) };
        command
    }

    /// Files that name the user, and the places where they are looked for.
    fn accounts(&self) -> Vec<(CString, CString)> {
        let host = |name: &str| fs::read_to_string(Path::new("/etc").join(name)).unwrap();
        let home = self.home();
        let files = [
            ("passwd", format!("{}tester:x:{UID}:{UID}::{}:/bin/sh\n", host("passwd"), home.display())),
            ("group", format!("{}tester:x:{UID}:\n", host("group"))),
            ("subuid", self.subids.clone()),
            ("subgid", self.subids.clone()),
        ];
        let bind = |(name, content): (&str, String)| {
            let file = self.root.join("etc").join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            chown(&file, Some(0), Some(0)).unwrap();
            (text(&file), text(&Path::new("/etc").join(name)))
        };
        files.map(bind).into()
    }
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// In the child: everything that it mounts ends with it.
fn become_user(binds: &[(CString, CString)]) -> io::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for (file, place) in binds {
        mount(Some(file.as_c_str()), place.as_c_str(), none, MsFlags::MS_BIND, none)?;
    }
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(UID.into())?;
    nix::unistd::setuid(UID.into())?;
    Ok(())
}
