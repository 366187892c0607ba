//! A recipe that has been found right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::image::{Appliance, Image, ImageFormat};
use super::limits::Limits;
use super::machine_test::MachineTest;
use super::names::{
    Architecture, ArchiveName, EnvName, ImageName, ProfileName, ProjectName, RootfsName, StepPath, TestName,
    VarName,
};
use super::step::Step;
use ibuild_debian::{Keyring, Url};

/// A checked recipe: every reference leads somewhere, every chain starts with a bootstrap and ends, every file
/// it names was there.
///
/// As JSON it has the words of the recipe, and nothing of the machine it was read on. Only images of several machines have
/// a key of their own there, `appliance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// The directory that all of its paths are relative to.
    #[serde(skip)]
    pub dir: PathBuf,
    /// The files it is written in, relative to `dir`: the recipe first, then what it includes.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
    /// What the whole is called and dated.
    pub project: Project,
    /// The profile that it was read with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// All profiles that one can choose.
    #[serde(skip)]
    pub profiles: BTreeSet<ProfileName>,
    /// Stages of other profiles, which are not in it.
    #[serde(skip)]
    pub omitted: BTreeSet<StepPath>,
    /// Vars with their final values; everything below has them substituted already.
    pub vars: BTreeMap<VarName, String>,
    /// Where packages come from.
    #[serde(rename = "archive")]
    pub archives: BTreeMap<ArchiveName, Archive>,
    /// Chains of steps.
    #[serde(rename = "rootfs")]
    pub rootfses: BTreeMap<RootfsName, Rootfs>,
    /// Disks.
    #[serde(rename = "image")]
    pub images: BTreeMap<ImageName, Image>,
    /// Images of several machines: in the recipe they are `[image.NAME]`, too, and no name is in both.
    #[serde(rename = "appliance", skip_serializing_if = "BTreeMap::is_empty")]
    pub appliances: BTreeMap<ImageName, Appliance>,
    /// Machine tests.
    #[serde(rename = "test")]
    pub tests: BTreeMap<TestName, MachineTest>,
    /// What was left out on the way, and why; for a person to know.
    #[serde(skip)]
    pub notices: Vec<Notice>,
}

impl Recipe {
    /// Everything that targets are formats of: images and appliances, with the formats that the recipe lists.
    pub fn products(&self) -> impl Iterator<Item = (&ImageName, &[ImageFormat])> {
        let images = self.images.values().map(|image| (&image.name, image.formats.as_slice()));
        images.chain(self.appliances.values().map(|it| (&it.name, it.formats.as_slice())))
    }
}

/// What the whole is called and dated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// `SOURCE_DATE_EPOCH`: no time in an image is later. Seconds since 1970, not negative.
    pub epoch: i64,
}

/// An archive of packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Archive {
    /// Its name.
    pub name: ArchiveName,
    /// Whose it is, if not Debian's.
    #[serde(flatten)]
    pub vendor: Option<Vendor>,
    /// Suites, such as `trixie` and `trixie-updates`.
    pub suites: Vec<String>,
    /// The suite with security updates, which comes from a mirror of its own.
    pub security: Option<String>,
    /// Components, such as `main`.
    pub components: Vec<String>,
    /// The architecture of the machines.
    pub architecture: Architecture,
    /// Architectures whose packages may be installed beside those of the machines' own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<Architecture>,
    /// A hint of where to fetch. Never part of a key: what is fetched is named by the lock.
    pub mirror: Option<String>,
    /// The same for the security suite. Never part of a key either.
    pub security_mirror: Option<String>,
}

/// Who publishes an archive that is not Debian's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vendor {
    /// Where it is.
    pub url: Url,
    /// The file with the keys that sign it, relative to the recipe's directory.
    pub key: PathBuf,
    /// What is in that file.
    #[serde(skip)]
    pub keyring: Keyring,
}

/// A chain of steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rootfs {
    /// Its name.
    pub name: RootfsName,
    /// The rootfs it goes on from.
    pub from: Option<RootfsName>,
    /// The variables its own table gives to its steps and to those of rootfses made from it.
    pub env: BTreeMap<EnvName, String>,
    /// How much of the machine its steps, and those of rootfses made from it, may take.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Its own steps, in order; at least one.
    pub steps: Vec<Step>,
}

/// A file in a directory of scripts that was not made a step, or that one may not have expected to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The file, relative to the recipe's directory.
    pub path: PathBuf,
    /// What is strange about it.
    pub reason: NoticeReason,
}

/// What is strange about a file among scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeReason {
    /// No step: its name starts with a dot.
    Hidden,
    /// No step: its name is one that editors give to copies.
    EditorBackup,
    /// No step: run-parts takes no such name.
    Name,
    /// No step: it is not executable.
    NotExecutable,
    /// No step: it is a directory.
    Directory,
    /// A step, although it is not executable: its directory is named alone.
    RunsAllTheSame,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let no_step = |reason: &str| format!("`{path}` is not a step: {reason}");
        let text = match self.reason {
            NoticeReason::Hidden => no_step("it is a hidden file"),
            NoticeReason::EditorBackup => no_step("it is an editor's backup"),
            NoticeReason::Name => no_step("its name has other characters than letters, digits, `_` and `-`"),
            NoticeReason::NotExecutable => no_step("it is not executable"),
            NoticeReason::Directory => no_step("it is a directory"),
            NoticeReason::RunsAllTheSame => {
                format!(
                    "`{path}` is not executable, and runs all the same: `scripts = [\"DIR\"]` would leave it out"
                )
            }
        };
        f.write_str(&text)
    }
}
