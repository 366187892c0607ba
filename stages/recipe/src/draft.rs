//! A recipe that has been read but not judged: names may lead nowhere, and parts that could not be read are gaps.
//!
//! A gap keeps its name, so that what refers to it is not reported as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ibuild_debian::{Keyring, Url};

use super::image::{Appliance, Image, ImageFormat};
use super::limits::Limits;
use super::machine_test::MachineTest;
use super::model::{Archive, Notice, Project};
use super::names::{
    ArchiveName, EnvName, ImageName, ProfileName, RootfsName, StepName, StepPath, TestName, VarName,
};
use super::source::{At, Span};
use super::step::{Input, Network, Recommends, Reproducible, StepKind, StepSecret};
use super::step_machine::StepMachine;

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) project: Option<Project>,
    pub(super) vars: BTreeMap<VarName, String>,
    pub(super) archives: BTreeMap<ArchiveName, Option<DraftArchive>>,
    pub(super) rootfses: BTreeMap<RootfsName, DraftRootfs>,
    pub(super) images: BTreeMap<ImageName, Option<DraftImage>>,
    pub(super) tests: BTreeMap<TestName, Option<DraftTest>>,
    pub(super) notices: Vec<Notice>,
    pub(super) profiles: BTreeMap<ProfileName, DraftProfile>,
    /// The one that is asked for.
    pub(super) profile: Option<ProfileName>,
    /// Stages of profiles that are not asked for.
    pub(super) omitted: BTreeSet<StepPath>,
}

/// What a profile replaces, but for variables, which are replaced before anything else is read.
#[derive(Debug, Default)]
pub(super) struct DraftProfile {
    pub(super) formats: Option<ProfileFormats>,
}

#[derive(Debug)]
pub(super) enum ProfileFormats {
    /// Of each image that is one machine.
    All(At<Vec<ImageFormat>>),
    /// Of these images.
    OfImages(Vec<(At<ImageName>, At<Vec<ImageFormat>>)>),
}

#[derive(Debug)]
pub(super) struct DraftArchive {
    /// All but whose it is.
    pub(super) archive: Archive,
    pub(super) vendor: Option<DraftVendor>,
}

#[derive(Debug)]
pub(super) struct DraftVendor {
    pub(super) url: Url,
    pub(super) key: At<PathBuf>,
    /// What is in the file.
    pub(super) keyring: Option<Keyring>,
}

#[derive(Debug, Default)]
pub(super) struct DraftRootfs {
    pub(super) from: Option<At<RootfsName>>,
    pub(super) env: BTreeMap<EnvName, String>,
    pub(super) limits: Limits,
    pub(super) steps: Vec<DraftStep>,
}

#[derive(Clone, Debug)]
pub(super) struct DraftStep {
    pub(super) at: Span,
    /// Absent for `scripts`, whose steps are named after files, and for steps whose name is wrong.
    pub(super) name: Option<At<StepName>>,
    /// A gap if the table does not say clearly what the step does.
    pub(super) kind: Option<DraftKind>,
    pub(super) settings: Settings,
    /// The profiles that it is a step of; of all builds if there are none.
    pub(super) profiles: Vec<At<ProfileName>>,
}

/// The keys that steps of several kinds share.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) env: BTreeMap<EnvName, String>,
    /// Filled in by whoever sees the text that is run, if the recipe does not say.
    pub(super) network: Option<Network>,
    pub(super) machine: Option<StepMachine>,
    pub(super) timeout: Option<Duration>,
    pub(super) limits: Limits,
    pub(super) inputs: Vec<At<Input>>,
    pub(super) secrets: Vec<StepSecret>,
    pub(super) volatile: Vec<String>,
    pub(super) reproducible: Option<Reproducible>,
}

impl Settings {
    /// These on top of others: lists and variables are added, all else takes precedence.
    pub(super) fn over(self, mut below: Self) -> Self {
        below.env.extend(self.env);
        let is_told_again =
            |input: &At<Input>| self.inputs.iter().any(|own| own.value.path == input.value.path);
        below.inputs.retain(|input| !is_told_again(input));
        below.inputs.extend(self.inputs);
        below.secrets.retain(|secret| self.secrets.iter().all(|own| own.name != secret.name));
        below.secrets.extend(self.secrets);
        below.volatile.extend(self.volatile);
        Self {
            network: self.network.or(below.network),
            machine: self.machine.or(below.machine),
            reproducible: self.reproducible.or(below.reproducible),
            timeout: self.timeout.or(below.timeout),
            limits: self.limits.or(below.limits),
            ..below
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum DraftKind {
    /// A step as it will be.
    Step { kind: StepKind, links: Links },
    /// Packages whose names are in a file.
    PackagesFrom { list: At<PathBuf>, recommends: Recommends },
    /// Directories that become a step per script.
    Scripts(DraftScripts),
}

#[derive(Clone, Debug)]
pub(super) struct DraftScripts {
    /// At least one. Of two scripts of one name the one of the later directory counts.
    pub(super) dirs: Vec<At<PathBuf>>,
    pub(super) rules: ScriptRules,
    pub(super) skip: Vec<At<String>>,
    /// What is said of single scripts, by their names.
    pub(super) settings: BTreeMap<String, At<Settings>>,
}

/// Which files of a directory are scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptRules {
    /// All but those that nobody means: what a directory that is named alone has always meant.
    EveryFile,
    /// Those that run-parts would run: with a name of letters, digits, `_` and `-`, and executable.
    RunParts,
}

/// The places of names within a step that others have to answer for.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    pub(super) archives: Vec<At<ArchiveName>>,
    pub(super) rootfs: Option<At<RootfsName>>,
    /// What `copy` reads, rule by rule.
    pub(super) copied: Vec<At<PathBuf>>,
    /// What `script` runs.
    pub(super) script: Option<At<PathBuf>>,
    /// The signatures of what `fetch` fetches, rule by rule.
    pub(super) signatures: Vec<Option<DraftSignature>>,
}

/// A signature whose key was not read yet.
#[derive(Clone, Debug)]
pub(super) struct DraftSignature {
    pub(super) urls: Vec<Url>,
    pub(super) key: At<PathBuf>,
}

#[derive(Debug)]
pub(super) enum DraftImage {
    /// Made of a rootfs.
    Single { image: Box<Image>, rootfs_at: Span },
    /// Made of other images.
    Several { appliance: Appliance, machines: Vec<At<ImageName>> },
}

#[derive(Debug)]
pub(super) struct DraftTest {
    pub(super) test: MachineTest,
    pub(super) images: Vec<At<ImageName>>,
    /// What its machines get to see.
    pub(super) files: Vec<At<PathBuf>>,
}
