//! Steps: what is done to a root file system, one stage each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::account::Account;
use super::fetch::FetchRule;
use super::limits::Limits;
use super::names::{ArchiveNames, EnvName, PackageName, RootfsName, SecretName, StepName};
use super::source::Position;
use super::step_machine::StepMachine;

/// Where a step finds its `inputs`, below `/run/ibuild`, which is where its script lies, too.
pub const INPUTS: &str = "in";

/// Where a step finds its `secrets`, below `/run/ibuild`, each under its name.
pub const SECRETS: &str = "secrets";

/// One step of a rootfs, with everything that may change its result, but for the bytes of the files it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// Its name, unique in its rootfs.
    pub name: StepName,
    /// What it does.
    #[serde(flatten)]
    pub kind: StepKind,
    /// The whole environment: of the rootfses it stands on, of its rootfs, its own; later ones win. Steps that
    /// run nothing have none.
    pub env: BTreeMap<EnvName, String>,
    /// What it can reach while it runs.
    pub network: Network,
    /// What it sees of the machine that it runs on.
    #[serde(skip_serializing_if = "StepMachine::is_default")]
    pub machine: StepMachine,
    /// How long it may run.
    #[serde(rename = "timeout-seconds", serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How much of the machine it may take: its own limits, then those of its rootfs and of the ones below.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Files and directories it may read.
    pub inputs: Vec<Input>,
    /// Secrets that it may read while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<StepSecret>,
    /// Absolute paths in the machine that are scrubbed after it.
    pub volatile: Vec<String>,
    /// Whether it is expected to make the same each time.
    #[serde(skip_serializing_if = "Reproducible::is_expected")]
    pub reproducible: Reproducible,
    /// Where it stands in the recipe; all scripts of one `scripts` share a place.
    pub position: Position,
}

/// Whether a step is expected to make the same each time. It changes nothing of what the step makes, so it is in no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reproducible {
    /// A difference is a failure of a verification.
    #[default]
    Expected,
    /// The recipe accepts differences: `reproducible = false`.
    Waived,
}

impl Reproducible {
    /// Whether a difference is a failure.
    pub fn is_expected(&self) -> bool {
        *self == Self::Expected
    }
}

/// A file or directory of the project that a step may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where it is, relative to the recipe's directory.
    pub path: PathBuf,
    /// Patterns of files of the directory that are left out.
    pub exclude: Vec<String>,
}

/// As recipes have it: the path alone, if nothing else is said.
impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.exclude.is_empty() {
            return self.path.serialize(serializer);
        }
        let mut table = serializer.serialize_struct("Input", 2)?;
        table.serialize_field("path", &self.path)?;
        table.serialize_field("exclude", &self.exclude)?;
        table.end()
    }
}

/// A secret that a step may read. Its value is given when it is built, and is nowhere in a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSecret {
    /// What it is called.
    pub name: SecretName,
    /// Whether what the step makes depends on its value.
    pub effect: SecretEffect,
}

/// What depends on the value of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SecretEffect {
    /// Nothing: it only opens a door, and what is behind it is the same.
    #[default]
    AccessOnly,
    /// What the step makes: `affects-output = true`.
    Output,
}

/// As recipes have it: the name alone, if nothing else is said.
impl Serialize for StepSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.effect {
            SecretEffect::AccessOnly => self.name.serialize(serializer),
            SecretEffect::Output => {
                let mut table = serializer.serialize_struct("StepSecret", 2)?;
                table.serialize_field("name", &self.name)?;
                table.serialize_field("affects-output", &true)?;
                table.end()
            }
        }
    }
}

/// What a step does. Exactly one of these stands in its table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Makes a root file system of an archive. Always and only the first step of a chain.
    Bootstrap {
        /// Where packages come from, for this step and all above it.
        archive: ArchiveNames,
        /// Which packages are there from the start.
        variant: Variant,
        /// Packages beyond those of the variant.
        include: Vec<PackageName>,
    },
    /// Installs packages.
    Packages {
        /// The packages, in the order of the recipe.
        names: Vec<PackageName>,
        /// Whether recommended ones follow.
        recommends: Recommends,
    },
    /// Copies files of the project, in order; later rules win.
    Copy(Vec<CopyRule>),
    /// Runs a file of the project with the interpreter of its first line.
    Script {
        /// The file, relative to the recipe's directory.
        path: PathBuf,
    },
    /// Runs a text with `/bin/sh -e`.
    Run {
        /// The text.
        command: String,
    },
    /// Takes files out of another rootfs as its last step left it.
    CopyFrom {
        /// The other rootfs.
        rootfs: RootfsName,
        /// Absolute paths, the same on both sides.
        paths: Vec<String>,
    },
    /// Fetches files from elsewhere, in order; later ones win.
    Fetch(Vec<FetchRule>),
    /// Runs a text with `/bin/sh -e` and keeps nothing of what it did; the build fails if it fails.
    Check {
        /// The text.
        command: String,
    },
}

impl StepKind {
    /// The key that a step of this kind has in a recipe.
    pub fn key(&self) -> &'static str {
        match self {
            StepKind::Bootstrap { .. } => "bootstrap",
            StepKind::Packages { .. } => "packages",
            StepKind::Copy(_) => "copy",
            StepKind::Script { .. } => "script",
            StepKind::Run { .. } => "run",
            StepKind::CopyFrom { .. } => "copy-from",
            StepKind::Fetch(_) => "fetch",
            StepKind::Check { .. } => "check",
        }
    }
}

/// What a bootstrap starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Essential packages and apt.
    Minbase,
}

impl Variant {
    /// The word for it in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Variant::Minbase => "minbase",
        }
    }
}

/// Whether apt also installs what packages recommend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recommends {
    /// It does, as apt does by default.
    Install,
    /// Only what packages depend on.
    Skip,
}

/// What a step can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The package proxy, which answers with what the lock pins.
    Packages,
    /// Nothing.
    None,
}

impl Network {
    /// The word for it in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Network::Packages => "packages",
            Network::None => "none",
        }
    }
}

/// One thing to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyRule {
    /// A file or directory, relative to the recipe's directory. Of a directory, the contents are copied.
    pub from: PathBuf,
    /// Where to, an absolute path in the machine.
    pub to: String,
    /// Who owns the copies; root otherwise.
    pub owner: Option<Account>,
    /// The group of the copies; root otherwise.
    pub group: Option<Account>,
    /// Permissions of files; 0644 or 0755, by the exec bit, otherwise.
    #[serde(serialize_with = "octal")]
    pub mode: Option<u32>,
    /// Permissions of directories; 0755 otherwise.
    #[serde(serialize_with = "octal")]
    pub dirs: Option<u32>,
    /// Patterns of files of the directory that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// Permissions as people read them, in JSON too.
fn octal<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(|mode| format!("{mode:04o}")).serialize(serializer)
}

pub(super) fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(serializer)
}
