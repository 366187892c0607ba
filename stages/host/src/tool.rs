//! Host tools: where they are, which version they are, and how one is run without the host showing through.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The directories in which host tools are looked for, in this order.
///
/// A fixed list rather than `PATH`: libraries do not read the environment, and administrators' tools
/// live in `/usr/sbin`, which is not on an ordinary user's `PATH`.
#[derive(Debug, Clone)]
pub struct ToolDirs(Vec<PathBuf>);

impl Default for ToolDirs {
    fn default() -> Self {
        let dirs = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
        ToolDirs(dirs.iter().map(PathBuf::from).collect())
    }
}

impl ToolDirs {
    /// Looks in these directories only.
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        ToolDirs(dirs.into_iter().collect())
    }

    /// The first executable of this name.
    pub fn find(&self, tool: &'static Tool) -> Result<PathBuf, ToolError> {
        let candidates = self.0.iter().map(|dir| dir.join(tool.name));
        candidates.into_iter().find(|path| path.is_file()).ok_or(ToolError::Missing { tool })
    }
}

/// A host tool as we know it: its name, the oldest version that works, and where it comes from.
#[derive(Debug)]
pub struct Tool {
    /// Name of the executable.
    pub name: &'static str,
    /// The oldest version that does what we need.
    pub oldest: Version,
    /// Debian package that has it.
    pub package: &'static str,
    /// Why an older one will not do, to end the sentence "it is needed because".
    pub because: &'static str,
}

/// A dotted version number, as far as we compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number, zero when the tool does not tell one.
    pub patch: u32,
}

impl Version {
    /// A version from its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Version { major, minor, patch }
    }

    /// Reads the first word of `text` that starts with a digit and has a dot.
    pub fn find_in(text: &str) -> Option<Version> {
        text.split_whitespace().find_map(Version::parse)
    }

    fn parse(word: &str) -> Option<Version> {
        let end = word.find(|c: char| c != '.' && !c.is_ascii_digit());
        let mut numbers = word[..end.unwrap_or(word.len())].split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        let patch = numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        Some(Version { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a host tool could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("`{}` is not installed", tool.name)]
    Missing {
        /// The tool.
        tool: &'static Tool,
    },
    /// It is installed, but older than what we need.
    #[error("`{}` is too old: found {found}, needed {}", tool.name, tool.oldest)]
    TooOld {
        /// The tool.
        tool: &'static Tool,
        /// The version it gave.
        found: Version,
    },
    /// It answered a question about its version with something else.
    #[error("`{}` does not tell its version: {output:?}", tool.name)]
    NoVersion {
        /// The tool.
        tool: &'static Tool,
        /// What it said instead.
        output: String,
    },
    /// A library that it loads at run time is absent.
    #[error("`{}` cannot load {library}", tool.name)]
    NoLibrary {
        /// The tool.
        tool: &'static Tool,
        /// The library, by its soname.
        library: &'static str,
        /// Debian package that has it.
        package: &'static str,
    },
    /// It could not be started.
    #[error("cannot run `{}`", path.display())]
    Run {
        /// The executable.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("`{}` failed ({status}): {stderr}", path.display())]
    Failed {
        /// The executable.
        path: PathBuf,
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
}

impl ToolError {
    /// What to install.
    pub fn hint(&self) -> Option<String> {
        match self {
            ToolError::Missing { tool } | ToolError::TooOld { tool, .. } => Some(format!(
                "install the package `{}`, version {} or newer (on Debian 12: from bookworm-backports); \
                 it is needed because {}",
                tool.package, tool.oldest, tool.because
            )),
            ToolError::NoLibrary { package, .. } => Some(format!("install the package `{package}`")),
            ToolError::NoVersion { .. } | ToolError::Run { .. } | ToolError::Failed { .. } => None,
        }
    }
}

/// A tool that has been found and is new enough.
#[derive(Debug, Clone)]
pub struct FoundTool {
    path: PathBuf,
    version: String,
}

impl FoundTool {
    /// Finds the tool and checks its version. `version_flag` makes it print one; to either stream.
    pub fn find(dirs: &ToolDirs, tool: &'static Tool, version_flag: &str) -> Result<FoundTool, ToolError> {
        let path = dirs.find(tool)?;
        let output = run(clean_command(&path).arg(version_flag))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().next().unwrap_or_default().trim().to_owned();
        match Version::find_in(&line) {
            None => Err(ToolError::NoVersion { tool, output: line }),
            Some(found) if found < tool.oldest => Err(ToolError::TooOld { tool, found }),
            Some(_) => Ok(FoundTool { path, version: line }),
        }
    }

    /// The executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first line of what the tool says about its version. It belongs into the key of whatever the
    /// tool makes.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command with an empty environment: see [`clean_command`].
    pub fn command(&self) -> Command {
        clean_command(&self.path)
    }
}

/// A command whose environment is fixed: an UTF-8 locale without a country, no time zone.
///
/// `C.UTF-8` and not `C`: libarchive refuses names outside ASCII in the latter.
pub fn clean_command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs the command to its end, whatever that is.
pub fn run(command: &mut Command) -> Result<Output, ToolError> {
    command.output().map_err(|source| ToolError::Run { path: command.get_program().into(), source })
}

/// Runs the command; anything but success is an error that carries the end of standard error.
pub fn run_successfully(command: &mut Command) -> Result<Output, ToolError> {
    let output = run(command)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(ToolError::Failed {
        path: command.get_program().into(),
        status: output.status.to_string(),
        stderr: last_lines(&output.stderr),
    })
}

/// The last five lines of a tool's complaint, joined.
pub fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    static FAKE: Tool = Tool {
        name: "mkfake",
        oldest: Version::new(1, 47, 1),
        package: "fake-tools",
        because: "it is a test",
    };

    fn fake(version: &str) -> Result<FoundTool, ToolError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mkfake");
        std::fs::write(&path, format!("#!/bin/sh\necho '{version}' >&2\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        FoundTool::find(&ToolDirs::new([dir.path().to_owned()]), &FAKE, "-V")
    }

    #[test]
    fn versions_are_found_in_what_tools_say() {
        let cases = [
            ("mke2fs 1.47.2 (1-Jan-2025)", Some(Version::new(1, 47, 2))),
            ("qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2)", Some(Version::new(10, 0, 2))),
            ("QEMU emulator version 8.1~rc1", Some(Version::new(8, 1, 0))),
            ("no numbers", None),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find_in(text), version, "{text}");
        }
    }

    #[test]
    fn an_old_tool_is_refused_with_a_hint() {
        let error = fake("mkfake 1.47.0 (5-Feb-2023)").unwrap_err();
        assert_eq!(error.to_string(), "`mkfake` is too old: found 1.47.0, needed 1.47.1");
        let hint = error.hint().unwrap();
        assert!(hint.contains("fake-tools") && hint.contains("bookworm-backports"), "{hint}");
    }

    #[test]
    fn a_good_tool_tells_its_version() {
        assert_eq!(fake("mkfake 1.47.1 (x)").unwrap().version(), "mkfake 1.47.1 (x)");
    }

    #[test]
    fn an_absent_tool_is_named() {
        let error = FoundTool::find(&ToolDirs::new([]), &FAKE, "-V").unwrap_err();
        assert_eq!(error.to_string(), "`mkfake` is not installed");
    }

    #[test]
    fn a_failure_carries_the_last_words() {
        let mut command = clean_command(Path::new("/bin/sh"));
        let error = run_successfully(command.args(["-c", "echo one >&2; echo two >&2; exit 3"]));
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "`/bin/sh` failed (exit status: 3): one; two");
    }
}
