//! What a sandbox is to be: plain data, sent to the stage's init.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// A whole sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The directory that has the unpacked layers. Lower directories are named relative to it, because the kernel
    /// takes all of them in one page of text.
    pub layers_dir: PathBuf,
    /// The lower directories, topmost first. Empty for a stage that starts from nothing.
    pub lowers: Vec<String>,
    /// A work directory on the same file system, with nothing in it that init needs: `upper` holds the stage's changes
    /// afterwards.
    pub run_dir: PathBuf,
    /// Files and directories of the host that the stage may read.
    pub binds: Vec<Bind>,
    /// Layers of another root file system, topmost first, to be seen below `/run/ibuild/from`.
    pub from: Vec<String>,
    /// Files that exist only while the stage runs.
    pub inject: Vec<Inject>,
    /// What the stage can reach.
    pub network: NetworkSpec,
    /// The whole environment of the payload.
    pub env: BTreeMap<String, String>,
    /// What to do.
    pub payload: Payload,
    /// Where input and output go.
    pub stdio: Stdio,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// How much of the machine it may take.
    pub limits: Limits,
}

/// A file or directory of the host, seen read-only in the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    /// On the host, absolute.
    pub source: PathBuf,
    /// Below `/run/ibuild`, relative.
    pub target: PathBuf,
    /// Whether the stage may write.
    pub access: Access,
}

/// Whether a bind can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Written too: a place for results that are no part of the tree.
    ReadWrite,
}

/// A file that is there while the stage runs and gone afterwards, unless the stage changed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inject {
    /// In the sandbox, absolute. Its directory has to be there, or nothing is injected; so has the file not to be.
    pub path: PathBuf,
    /// What is in it.
    pub content: String,
    /// Its mode.
    pub mode: u32,
}

/// What a stage can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkSpec {
    /// Nothing but its own loopback interface.
    Isolated,
    /// A listener on its own loopback interface, which init hands out.
    Proxy,
}

/// What init does in the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Payload {
    /// Runs a program.
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// Copies files into the tree.
    Copy(Vec<CopyItem>),
}

/// One source and where it goes. All paths are as seen in the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopyItem {
    /// A file, or a directory whose content is copied.
    pub from: PathBuf,
    /// The file's new name, or the directory that receives the content.
    pub to: PathBuf,
    /// What files and directories are to look like.
    pub style: CopyStyle,
    /// Of a directory, a file with the paths that are copied, each ended by a zero byte and after the directory that it is
    /// in; without one, everything in it.
    pub list: Option<PathBuf>,
}

/// Whose the copies are and what they may.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CopyStyle {
    /// As a checkout gives them: owner, group and modes from the recipe, else root, and 0755 or 0644 by the executable bit.
    FromHost {
        /// A user's name or number in the image.
        owner: Option<String>,
        /// A group's name or number in the image.
        group: Option<String>,
        /// Of files.
        mode: Option<u32>,
        /// Of directories that the copy makes.
        dirs: Option<u32>,
    },
    /// As they are, for files that come from another root file system.
    Preserve,
}

/// Where the payload's input and output go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Nothing in, everything out to a log.
    Log,
    /// A person's terminal.
    Terminal,
}
