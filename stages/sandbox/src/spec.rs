//! What a sandbox is to be: plain data, sent to the stage's init.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::secret::{SecretValue, ShownSecret};
use super::view::{Inject, InjectedContent, NetworkSpec, Payload, SandboxView};
use super::visible_machine::VisibleMachine;

/// A whole sandbox. Only [`Spec::new`] makes one, so nothing gets into a sandbox but by way of a [`SandboxView`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    pub(super) machine: VisibleMachine,
    pub(super) inject: Vec<Inject>,
    pub(super) epoch: i64,
    pub(super) network: NetworkSpec,
    pub(super) env: BTreeMap<String, String>,
    pub(super) payload: Payload,
    pub(super) place: HostPaths,
    pub(super) policy: RunPolicy,
    /// What is sent to init after all else, as bytes that nobody serialises.
    #[serde(skip)]
    pub(super) secrets: Vec<ShownSecret>,
}

/// Where on this machine the contents of a sandbox are found. None of these paths can be seen inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostPaths {
    /// The directory that has the unpacked layers. Lower directories are named relative to it, because the kernel
    /// takes all of them in one page of text.
    pub layers_dir: PathBuf,
    /// The lower directories of the tree that the stage stands on, topmost first. Empty for a stage that starts from nothing.
    pub lowers: Vec<String>,
    /// A work directory on the same file system. Init finds in it `upper`, which holds the stage's changes
    /// afterwards, [`SHOWN_DIR`] and [`OUTPUT_DIR`].
    pub run_dir: PathBuf,
    /// Layers of another root file system, topmost first, that a copy takes files from.
    pub from: Vec<String>,
    /// For each item of a copy that is not out of a root file system, where its bytes are. They are believed only as far as
    /// digests match.
    pub sources: Vec<Option<SourcePlace>>,
    /// The certificate of the authority that the package proxy has for this run.
    pub authority: Option<String>,
}

/// Below the work directory: what is shown read-only under `/run/ibuild`, entry by entry.
pub const SHOWN_DIR: &str = "shown";

/// Below the work directory: directories below `/run/ibuild` that the payload may write to.
pub const OUTPUT_DIR: &str = "output";

/// Where bytes are that are copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SourcePlace {
    /// Of the project.
    Project {
        /// The file or directory.
        path: PathBuf,
        /// A file with an encoded [`CopyList`](super::CopyList): what is copied of it.
        list: PathBuf,
    },
    /// A fetched file.
    Fetched(PathBuf),
}

/// How a payload is run on this machine. None of this is in a key, for the reason given with each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunPolicy {
    /// When to give up. It can only make a stage fail, and no result of a failed stage is remembered.
    pub timeout: Option<Duration>,
    /// How much of the machine the payload may take. One that comes up against a limit fails; it cannot read its limits.
    pub limits: Limits,
    /// Where input and output go. Stages have no input, and their output is no part of the tree; a person's shell is
    /// thrown away afterwards.
    pub stdio: Stdio,
}

/// Where the payload's input and output go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Nothing in, everything out to a log.
    Log,
    /// A person's terminal.
    Terminal,
}

impl Spec {
    /// A sandbox that shows `view`, with its contents laid out at `place`.
    pub fn new(view: &SandboxView, place: HostPaths, policy: RunPolicy) -> Self {
        // What is shown has been laid out by whoever has its contents.
        let SandboxView { machine, shown: _, secrets, inject, epoch, network, env, payload } = view.clone();
        let inject = inject.into_iter().filter_map(|file| known(file, place.authority.as_deref())).collect();
        Self { machine, inject, epoch, network, env, payload, place, policy, secrets }
    }

    /// The secrets that are there, with their names.
    pub(super) fn given_secrets(&self) -> impl Iterator<Item = (&str, &SecretValue)> {
        self.secrets.iter().filter_map(|secret| Some((secret.name.as_str(), secret.value.as_ref()?)))
    }
}

/// An injected file with its text.
fn known(file: Inject, authority: Option<&str>) -> Option<Inject> {
    let text = match file.content {
        InjectedContent::Text(text) => text,
        InjectedContent::Authority => authority?.to_owned(),
    };
    Some(Inject { content: InjectedContent::Text(text), ..file })
}
