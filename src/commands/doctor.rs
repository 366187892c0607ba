//! `ibuild doctor`: what the host needs, what it is for, and how to get what is missing. Nothing is changed.

mod ordinary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ibuild::stages::host::tool::{FoundTool, Tool, ToolDirs, ToolError, Version};
use ibuild::stages::machine::{Accelerator, Ovmf, Qemu};
use ibuild::stages::packages::{DEBIAN_KEYRING, MirrorOverride, Mirrors, PackageError};
use ibuild::{Result, Settings, store_dir};
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

use crate::cli::{Global, JsonArgs};
use crate::invocation::{load_recipe, project_dir};
use crate::status::Status;
use crate::table::{Align, table};
use crate::terminal::{print, print_json};
use crate::ui::bytes;

/// Less than this, and a build of a few images may not fit.
const ENOUGH_SPACE: u64 = 20 << 30;

/// Any version has what is needed.
static GPGV: Tool = Tool {
    name: "gpgv",
    oldest: Version::new(2, 0, 0),
    package: "gpgv",
    because: "signatures of archives are checked with it",
};

pub fn run(global: &Global, args: &JsonArgs) -> Result<ExitCode> {
    let host = Host::look(global)?;
    let checks = host.checks();
    if args.json {
        print_json(json!({ "checks": checks.iter().map(Check::as_json).collect::<Vec<_>>() }))?;
    } else {
        print(&as_text(&checks))?;
    }
    let lacks = checks.iter().any(|check| check.need == Need::Build && check.state.is_bad());
    Ok(if lacks { Status::Environment.into() } else { ExitCode::SUCCESS })
}

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Missing,
    TooOld,
    /// It works, but not for long, or not well.
    Low,
}

impl State {
    fn is_bad(self) -> bool {
        matches!(self, Self::Missing | Self::TooOld)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::TooOld => "too old",
            Self::Low => "low",
        }
    }
}

/// What does not work without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Every build.
    Build,
    /// Only some targets or commands.
    Part,
}

/// One thing that the host should have.
#[derive(Debug)]
struct Check {
    what: &'static str,
    purpose: &'static str,
    need: Need,
    state: State,
    found: String,
    remedy: Option<String>,
}

impl Check {
    fn ok(what: &'static str, purpose: &'static str, need: Need, found: impl Into<String>) -> Self {
        Self { what, purpose, need, state: State::Ok, found: found.into(), remedy: None }
    }

    /// Turns a good check into a bad one.
    fn bad(self, state: State, remedy: impl Into<String>) -> Self {
        Self { state, remedy: Some(remedy.into()), ..self }
    }

    fn as_json(&self) -> Value {
        json!({
            "what": self.what,
            "for": self.purpose,
            "needed": self.need == Need::Build,
            "state": self.state.word(),
            "found": self.found,
            "remedy": self.remedy,
        })
    }
}

fn as_text(checks: &[Check]) -> String {
    let row =
        |check: &Check| [check.state.word(), check.what, check.purpose, &check.found].map(str::to_owned);
    let mut out = table([Align::Left; 4], &checks.iter().map(row).collect::<Vec<_>>());
    for (check, remedy) in checks.iter().filter_map(|check| Some((check, check.remedy.as_ref()?))) {
        out.push_str(&format!("{}: {remedy}\n", check.what));
    }
    out
}

/// What is asked about.
struct Host {
    /// `trixie`, as `/etc/os-release` says.
    codename: String,
    store: PathBuf,
    mirrors: MirrorOverride,
}

impl Host {
    /// A recipe may name mirrors, but there need not be one.
    fn look(global: &Global) -> Result<Self> {
        let dir = project_dir()?;
        let settings = Settings::read(&dir)?;
        let recipe = load_recipe(global, &dir, &[]).ok();
        let archives = || recipe.iter().flat_map(|recipe| recipe.archives.values());
        let mut mirrors = settings.mirrors();
        if mirrors.main.is_empty() {
            mirrors.main.extend(archives().find_map(|a| a.mirror.clone()));
        }
        if mirrors.security.is_empty() {
            mirrors.security.extend(archives().find_map(|a| a.security_mirror.clone()));
        }
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Ok(Self {
            codename: codename(&release),
            store: store_dir(global.cache_dir.as_deref(), &settings)?,
            mirrors,
        })
    }

    fn checks(&self) -> Vec<Check> {
        let mut checks = vec![
            self.overlayfs(),
            time_namespaces(),
            self.gpgv(),
            self.keyring(),
            self.mirror(),
            self.space(),
            self.tool("qemu", "boot, test", Need::Part, Qemu::find().map(|tool| tool.version().to_owned())),
            self.firmware(),
            accelerator(),
        ];
        checks.splice(0..0, ordinary::checks(&self.store));
        checks
    }

    fn tool(
        &self,
        what: &'static str,
        purpose: &'static str,
        need: Need,
        tool: Result<String, ToolError>,
    ) -> Check {
        match tool {
            Ok(version) => Check::ok(what, purpose, need, version),
            Err(error) => {
                let state =
                    if matches!(error, ToolError::TooOld { .. }) { State::TooOld } else { State::Missing };
                Check::ok(what, purpose, need, error.to_string()).bad(state, self.remedy(&error))
            }
        }
    }

    /// The command that installs what is missing. Debian 12 itself has too old versions of some tools.
    fn remedy(&self, error: &ToolError) -> String {
        match error {
            ToolError::TooOld { tool, .. } => self.install_new(tool.package),
            ToolError::Missing { tool }
                if tool.oldest > Version::new(2, 0, 0) && self.codename == "bookworm" =>
            {
                self.install_new(tool.package)
            }
            ToolError::Missing { tool } => install(tool.package),
            ToolError::NoLibrary { .. } if self.codename == "bookworm" => install("libarchive13"),
            ToolError::NoLibrary { .. } => install("libarchive13t64"),
            ToolError::NoVersion { .. } | ToolError::Run { .. } | ToolError::Failed { .. } => {
                error.to_string()
            }
        }
    }

    fn install_new(&self, package: &str) -> String {
        install(&format!("-t {}-backports {package}", self.codename))
    }

    fn gpgv(&self) -> Check {
        let found = FoundTool::find(&ToolDirs::default(), &GPGV, "--version");
        self.tool("gpgv", "packages", Need::Build, found.map(|tool| tool.version().to_owned()))
    }

    fn keyring(&self) -> Check {
        let check = Check::ok("debian-archive-keyring", "packages", Need::Build, DEBIAN_KEYRING);
        match Path::new(DEBIAN_KEYRING).is_file() {
            true => check,
            false => check.bad(State::Missing, install("debian-archive-keyring")),
        }
    }

    fn overlayfs(&self) -> Check {
        let check = |found: &str| Check::ok("overlayfs", "stages", Need::Build, found);
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if known.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
            return check("in the kernel");
        }
        let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
        let modules = Path::new("/lib/modules").join(release.unwrap_or_default()).join("kernel/fs/overlayfs");
        match modules.is_dir() {
            true => check("a module of the kernel"),
            false => check("unknown to the kernel").bad(State::Missing, "modprobe overlay"),
        }
    }

    /// The address is only named, not asked.
    fn mirror(&self) -> Check {
        let check = |found: String| Check::ok("mirror", "packages", Need::Build, found);
        let usable = |mirrors: Mirrors| mirrors.check().map(|()| mirrors).map_err(PackageError::from);
        match Mirrors::of_host(&self.mirrors).and_then(usable) {
            Ok(mirrors) => check(mirrors.all().map(ToString::to_string).collect::<Vec<_>>().join(" and ")),
            Err(error) => {
                let hint = error.hint().unwrap_or_else(|| "set `mirror` in ibuild.local.toml".to_owned());
                check(error.to_string()).bad(State::Missing, hint)
            }
        }
    }

    fn space(&self) -> Check {
        let check = |found: String| Check::ok("disk space", "the store", Need::Build, found);
        let there = self.store.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
        let free = match statvfs(there) {
            Ok(stat) => stat.blocks_available() * stat.fragment_size(),
            Err(error) => return check(format!("not known: {}", error.desc())),
        };
        let found = check(format!("{} free in {}", bytes(free), self.store.display()));
        let enough = bytes(ENOUGH_SPACE);
        match free >= ENOUGH_SPACE {
            true => found,
            false => found.bad(State::Low, format!("make room for {enough}, or pass `--cache-dir DIR`")),
        }
    }

    fn firmware(&self) -> Check {
        let check = |found: String| Check::ok("ovmf", "boot --firmware uefi", Need::Part, found);
        match Ovmf::find() {
            Ok(ovmf) => check(ovmf.code.display().to_string()),
            Err(error) => check(error.to_string()).bad(State::Missing, install("ovmf")),
        }
    }
}

/// Every stage has one, for the time since boot.
fn time_namespaces() -> Check {
    let check = |found: &str| Check::ok("time namespaces", "stages", Need::Build, found);
    match Path::new("/proc/self/ns/time").exists() {
        true => check("in the kernel"),
        false => check("unknown to the kernel").bad(State::Missing, "a kernel with `CONFIG_TIME_NS`"),
    }
}

fn accelerator() -> Check {
    let check = |found: &str| Check::ok("kvm", "fast boot", Need::Part, found);
    match Accelerator::of_host() {
        Accelerator::Kvm => check("/dev/kvm"),
        Accelerator::Tcg => check("not usable").bad(State::Low, "`boot` works without it, only slower"),
    }
}

fn install(packages: &str) -> String {
    format!("apt-get install {packages}")
}

/// The release of Debian, by name.
fn codename(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.unwrap_or("stable").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    static FAKE: Tool = Tool {
        name: "mke2fs",
        oldest: Version::new(1, 47, 1),
        package: "e2fsprogs",
        because: "it is a test",
    };
    static NEW: Tool =
        Tool { name: "qemu", oldest: Version::new(8, 1, 0), package: "qemu-system-x86", ..FAKE };

    #[track_caller]
    fn check(codename: &str, error: &ToolError, expected: &str) {
        let mirrors = MirrorOverride::default();
        let host = Host { codename: codename.to_owned(), store: PathBuf::new(), mirrors };
        assert_eq!(host.remedy(error), expected);
    }

    #[test]
    fn remedies_are_commands() {
        let old = ToolError::TooOld { tool: &FAKE, found: Version::new(1, 47, 0) };
        check("bookworm", &old, "apt-get install -t bookworm-backports e2fsprogs");
        check("trixie", &ToolError::Missing { tool: &NEW }, "apt-get install qemu-system-x86");
        let missing = ToolError::Missing { tool: &NEW };
        check("bookworm", &missing, "apt-get install -t bookworm-backports qemu-system-x86");
        check("bookworm", &ToolError::Missing { tool: &GPGV }, "apt-get install gpgv");
    }

    #[test]
    fn the_release_has_a_name() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n"), "trixie");
        assert_eq!(codename(""), "stable");
    }
}
