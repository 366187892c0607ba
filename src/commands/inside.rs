//! `ibuild ls`, `cat`, `mount` and `umount`: what is in a root file system, of a stage or of a finished target.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use ibuild::cache::{RocksIndex, Store};
use ibuild::stages::disk::utc;
use ibuild::stages::host::userns;
use ibuild::stages::snapshot::{Entry, Kind, Snapshot};
use ibuild::stages::{Inside, InsideError, Mounted, unmount};
use ibuild::{Classified, Context, EnvironmentError, ErrorKind, Result, Settings, UsageError, open_store};
use serde_json::json;

use crate::MOUNT_KEEPER;
use crate::cli::{CatArgs, Global, LsArgs, MountArgs, UmountArgs};
use crate::failure::in_a_line;
use crate::invocation;
use crate::table::{Align, table};
use crate::terminal::{harmless_line, print, print_json, written};

/// Lists a directory.
pub fn ls(global: &Global, args: &LsArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let snapshot = workspace.inspect(&args.name)?;
    let found = Inside::of(&workspace.store, &snapshot).list(args.path.as_bytes())?;
    if args.json {
        let files: Vec<_> = found.iter().map(|(name, entry)| described(name, entry)).collect();
        print_json(json!({ "v": 1, "files": files }))?;
    } else {
        let rows: Vec<_> = found.iter().map(|(name, entry)| row(name, entry)).collect();
        use Align::{Left, Right};
        print(&table([Left, Right, Right, Right, Left, Left], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a file.
pub fn cat(global: &Global, args: &CatArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let snapshot = workspace.inspect(&args.name)?;
    let _shared = invocation::share_store(global, &workspace)?;
    let mut out = std::io::stdout().lock();
    match Inside::of(&workspace.store, &snapshot).read(args.path.as_bytes(), &mut out) {
        Err(InsideError::Write(error)) => written(Err(error))?,
        read => read?,
    }
    written(out.flush())?;
    Ok(ExitCode::SUCCESS)
}

/// Mounts a root file system. The mount, and a small process that keeps its layers in the store, last until `umount`.
pub fn mount(global: &Global, args: &MountArgs) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() || !userns::is_initial() {
        let error = UsageError::new("only root can mount something for everybody to see");
        return Err(error
            .hint("`ibuild ls`, `ibuild cat` and `ibuild shell` look inside without a mount")
            .into());
    }
    let workspace = invocation::open(global, &[])?;
    let snapshot = workspace.inspect(&args.name)?;
    let place = absolute(&args.dir)?;
    Mounted::check(&place)?;
    let _shared = invocation::share_store(global, &workspace)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let order = Order { store: workspace.store.layout().root().to_owned(), place, snapshot };
    let mut keeper = Command::new(program)
        .arg(MOUNT_KEEPER)
        .arg(serde_json::to_string(&order).context("cannot describe the mount")?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the process that keeps the mount")?;
    let mut said = String::new();
    let out = keeper.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut said).context("cannot hear from the process that keeps the mount")?;
    match said.trim_end() {
        READY => Ok(ExitCode::SUCCESS),
        "" => Err(KeeperDied.into()),
        error => {
            let refusal: Refusal = serde_json::from_str(error).context("cannot read the keeper's answer")?;
            Err(EnvironmentError::from(refusal).into())
        }
    }
}

/// Takes a mount away.
pub fn umount(global: &Global, args: &UmountArgs) -> Result<ExitCode> {
    let settings = Settings::read(&invocation::project_dir()?)?;
    let store = open_store(global.cache_dir.as_deref(), &settings)?;
    unmount(&store, &absolute(&args.dir)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The process that keeps a mount ended without a word.
#[derive(Debug, thiserror::Error)]
#[error("the process that keeps the mount died")]
struct KeeperDied;

impl Classified for KeeperDied {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Bug
    }
}

const READY: &str = "mounted";

/// What the keeper is to mount.
#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    store: PathBuf,
    place: PathBuf,
    snapshot: Snapshot,
}

/// Where a root file system is mounted, if this process keeps a mount.
pub fn place_of_mount(pid: u32) -> Option<PathBuf> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip(1);
    let is_keeper = words.next()? == MOUNT_KEEPER.as_bytes();
    let order: Order = serde_json::from_slice(words.next().filter(|_| is_keeper)?).ok()?;
    Some(order.place)
}

/// Why the keeper did not.
#[derive(serde::Serialize, serde::Deserialize)]
struct Refusal {
    reason: String,
    hint: Option<String>,
}

impl From<Refusal> for EnvironmentError {
    fn from(refusal: Refusal) -> Self {
        let hint = refusal.hint.unwrap_or_else(|| "`ibuild doctor` tells what the host lacks".to_owned());
        Self { message: refusal.reason, hint }
    }
}

/// The process that keeps a mount's layers in the store. It says one line, and ends when the mount is gone.
pub fn keep(order: &str) -> ExitCode {
    // Its terminal's signals are not for it.
    let _ = nix::unistd::setsid();
    match mounted(order) {
        Ok(mounted) => {
            // Whoever mounts waits for the line, or is gone.
            let _ = print(&format!("{READY}\n"));
            // Whoever waits for the end of the output has heard everything.
            close_output();
            ExitCode::from(u8::from(mounted.wait().is_err()))
        }
        Err(error) => {
            let refusal = Refusal { reason: in_a_line(&error), hint: error.hints().first().cloned() };
            let _ = print(&format!("{}\n", serde_json::to_string(&refusal).unwrap_or_default()));
            ExitCode::FAILURE
        }
    }
}

fn close_output() {
    // SAFETY: nothing of this process writes to its output any more.
    unsafe { libc::close(libc::STDOUT_FILENO) };
}

fn mounted(order: &str) -> Result<Mounted> {
    let order: Order = serde_json::from_str(order)?;
    let store = Store::open(&order.store, RocksIndex::new)?;
    Ok(Mounted::mount(&store, &order.snapshot, &order.place)?)
}

fn absolute(dir: &Path) -> Result<PathBuf> {
    let missing = || UsageError::new(format!("there is no directory `{}`", dir.display()));
    Ok(dir.canonicalize().map_err(|_| missing())?)
}

fn row(name: &[u8], entry: &Entry) -> [String; 6] {
    let target = match &entry.kind {
        Kind::Symlink(target) => format!(" -> {}", harmless_line(&String::from_utf8_lossy(target))),
        _ => String::new(),
    };
    let size = match &entry.kind {
        Kind::File { size, .. } => size.to_string(),
        Kind::Char(major, minor) | Kind::Block(major, minor) => format!("{major},{minor}"),
        _ => "-".to_owned(),
    };
    [
        format!("{}{}", letter(&entry.kind), permissions(entry.meta.mode)),
        entry.meta.uid.to_string(),
        entry.meta.gid.to_string(),
        size,
        utc(u64::try_from(entry.meta.mtime).unwrap_or(0)),
        format!("{}{target}", harmless_line(&String::from_utf8_lossy(name))),
    ]
}

fn letter(kind: &Kind) -> char {
    match kind {
        Kind::Directory(_) => 'd',
        Kind::File { .. } => '-',
        Kind::Symlink(_) => 'l',
        Kind::Char(..) => 'c',
        Kind::Block(..) => 'b',
        Kind::Fifo => 'p',
    }
}

/// `rwxr-xr-x`, with `s` and `t` where setuid, setgid and sticky are.
fn permissions(mode: u32) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let triple = |(index, (bit, both, alone)): (usize, &(u32, char, char))| {
        let bits = mode >> (6 - 3 * index) & 7;
        let execute = match (bits & 1 != 0, mode & bit != 0) {
            (true, true) => *both,
            (false, true) => *alone,
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    special.iter().enumerate().flat_map(triple).collect()
}

fn described(name: &[u8], entry: &Entry) -> serde_json::Value {
    let mut described = json!({
        "name": String::from_utf8_lossy(name),
        "type": letter(&entry.kind).to_string(),
        "mode": format!("{:04o}", entry.meta.mode),
        "uid": entry.meta.uid,
        "gid": entry.meta.gid,
        "mtime": entry.meta.mtime,
    });
    match &entry.kind {
        Kind::File { content, size, .. } => {
            described["size"] = json!(size);
            described["blake3"] = json!(ibuild::cache::Digest::to_hex(content));
        }
        Kind::Symlink(target) => described["target"] = json!(String::from_utf8_lossy(target)),
        Kind::Char(major, minor) | Kind::Block(major, minor) => described["device"] = json!([major, minor]),
        Kind::Directory(_) | Kind::Fifo => {}
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_those_of_ls() {
        let cases =
            [(0o755, "rwxr-xr-x"), (0o4755, "rwsr-xr-x"), (0o1777, "rwxrwxrwt"), (0o2640, "rw-r-S---")];
        for (mode, text) in cases {
            assert_eq!(permissions(mode), text);
        }
    }
}
