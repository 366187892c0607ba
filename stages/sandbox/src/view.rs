//! All that a payload can see and do, as an inert value with no path of the host in it.
//!
//! A stage's key is made of this value ([`SandboxView::value`]), and its sandbox is built from it and from nothing else:
//! [`Spec::new`](super::Spec::new) takes it together with the places of this machine where its contents are found by
//! digest. [`SandboxView::value`] takes each type apart field by field, so a field that is not encoded does not compile.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ibuild_cache::{BlobId, Sha256, TreeId};
use ibuild_graph::Value;
use serde::{Deserialize, Serialize};

use super::secret::ShownSecret;
use super::visible_machine::VisibleMachine;

/// What a sandbox holds besides the root file system, and what runs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxView {
    /// The machine that the payload sees.
    pub machine: VisibleMachine,
    /// Files and directories below `/run/ibuild`. No two have one path.
    pub shown: Vec<Shown>,
    /// Secrets below `/run/ibuild/secrets`. No two have one name.
    pub secrets: Vec<ShownSecret>,
    /// Files in the root file system that exist only while the payload runs.
    pub inject: Vec<Inject>,
    /// The time of what is injected, seconds since 1970.
    pub epoch: i64,
    /// What the payload can reach.
    pub network: NetworkSpec,
    /// The whole environment of the payload.
    pub env: BTreeMap<String, String>,
    /// What to do.
    pub payload: Payload,
}

/// Something below `/run/ibuild`. It belongs to root and has the epoch of the project as its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Relative to `/run/ibuild`.
    pub path: PathBuf,
    /// What is there.
    pub content: ShownContent,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownContent {
    /// An executable file, read-only.
    Program(Vec<u8>),
    /// A file, read-only.
    Data(Vec<u8>),
    /// A file or directory of the project, read-only.
    Project(ProjectContent),
    /// A directory with the packages that a bootstrap has unpacked, read-only. Which they are is decided by what the root file
    /// system starts from, which is in the key.
    BasePackages,
    /// An empty directory that the payload may write to. What it leaves there is no part of the tree.
    Output,
}

/// Content of the project, normalised: owned by root, modes 0755 and 0644 by the executable bit, one time for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProjectContent {
    /// A regular file.
    File {
        /// Its bytes.
        content: BlobId,
        /// Their number.
        size: u64,
        /// Its executable bit.
        access: Executable,
    },
    /// A directory without what is ignored.
    Tree(TreeId),
}

/// The one bit of a file's mode in a checkout that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Executable {
    /// 0755.
    Yes,
    /// 0644.
    No,
}

impl Executable {
    /// Of a file with this mode.
    pub fn of_mode(mode: u32) -> Self {
        if mode & 0o111 == 0 { Self::No } else { Self::Yes }
    }

    /// The normalised mode.
    pub fn mode(self) -> u32 {
        match self {
            Self::Yes => 0o755,
            Self::No => 0o644,
        }
    }
}

/// A file that is there while the payload runs and gone afterwards, unless the payload changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inject {
    /// In the sandbox, absolute. Its directory has to be there, or nothing is injected; so has the file not to be.
    pub path: PathBuf,
    /// What is in it.
    pub content: InjectedContent,
    /// Its mode.
    pub mode: u32,
}

/// What an injected file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InjectedContent {
    /// This text.
    Text(String),
    /// The certificate of the authority that signs for the package proxy. It is another one for each run and in no key: it
    /// is a secret of the connection, withdrawn afterwards, and decides nothing but whether the connection is believed.
    Authority,
}

/// What a payload can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkSpec {
    /// Nothing but its own loopback interface.
    Isolated,
    /// The package proxy, through a listener on its own loopback interface.
    Proxy,
}

/// What init does in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Runs a program.
    Exec {
        /// The program and its arguments; of a script the interpreter, its argument and the script.
        argv: Vec<String>,
    },
    /// Copies files into the tree, in order: later ones win.
    Copy(Vec<CopyItem>),
}

/// One source and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyItem {
    /// What is copied.
    pub source: CopySource,
    /// As seen in the sandbox: the file's new name, or the directory that receives the content.
    pub to: PathBuf,
}

/// Where copies come from, and what they look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopySource {
    /// The project.
    Project {
        /// What is copied: its bytes are checked against these digests while they are copied.
        content: ProjectContent,
        /// Whose the copies are and what they may.
        look: Look,
    },
    /// Another root file system: everything as it is there.
    Root {
        /// The path there, absolute, of which no directory on the way is a link.
        path: PathBuf,
        /// What is there.
        entry: TreeId,
    },
    /// A file of the store that was fetched from elsewhere.
    Fetched {
        /// Its bytes: they are checked against this digest while they are copied or unpacked.
        content: Sha256,
        /// What becomes of it.
        form: FetchedForm,
        /// Whose the copies are and what they may. An archive says itself what its members may.
        look: Look,
    },
}

/// What becomes of a fetched file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchedForm {
    /// It is copied.
    File,
    /// It is an archive whose members go into a directory.
    Archive {
        /// How many directories in front of their names are left out.
        strip: u32,
    },
}

/// Owner, group and modes of copies from the project and of fetched files. What is not said: root, 0755 for directories, and 0755 or 0644 by the
/// executable bit for files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Look {
    /// A user's name or number in the image.
    pub owner: Option<String>,
    /// A group's name or number in the image.
    pub group: Option<String>,
    /// Of files.
    pub mode: Option<u32>,
    /// Of directories that the copy makes.
    pub dirs: Option<u32>,
}

impl SandboxView {
    /// The whole of it, for a key.
    pub fn value(&self) -> Value {
        let Self { machine, shown, secrets, inject, epoch, network, env, payload } = self;
        let shown = shown.iter().map(|shown| {
            let Shown { path, content } = shown;
            Value::List(vec![path_value(path), content.value()])
        });
        let network = match network {
            NetworkSpec::Isolated => "isolated",
            NetworkSpec::Proxy => "proxy",
        };
        let mut fields = vec![
            ("machine", machine.value()),
            ("shown", Value::List(shown.collect())),
            ("injected", Value::List(inject.iter().map(Inject::value).collect())),
            ("epoch", (*epoch).into()),
            ("network", network.into()),
            (
                "environment",
                Value::map(env.iter().map(|(name, value)| (name.as_str(), value.clone().into()))),
            ),
            ("payload", payload.value()),
        ];
        if !secrets.is_empty() {
            let secrets = secrets.iter().map(|secret| (secret.name.as_str(), secret.value()));
            fields.push(("secrets", Value::map(secrets)));
        }
        Value::map(fields)
    }
}

/// Bytes that are named elsewhere in a key in full, or that nobody wants to read there.
fn digest_of(bytes: &[u8]) -> Value {
    Value::Digest(*blake3::hash(bytes).as_bytes())
}

fn path_value(path: &Path) -> Value {
    Value::Bytes(path.as_os_str().as_bytes().to_vec())
}

impl ShownContent {
    fn value(&self) -> Value {
        match self {
            Self::Program(bytes) => Value::map([("program", digest_of(bytes))]),
            Self::Data(bytes) => Value::map([("data", digest_of(bytes))]),
            Self::Project(content) => Value::map([("project", content.value())]),
            Self::BasePackages => "base packages".into(),
            Self::Output => "output".into(),
        }
    }
}

impl ProjectContent {
    /// What counts of it.
    pub fn value(&self) -> Value {
        match self {
            // A file of another size has another digest.
            Self::File { content, size: _, access } => {
                let kind = match access {
                    Executable::Yes => "executable",
                    Executable::No => "file",
                };
                Value::map([("type", kind.into()), ("content", Value::Digest(*content.as_bytes()))])
            }
            Self::Tree(tree) => Value::Tree(*tree.as_bytes()),
        }
    }
}

impl Inject {
    fn value(&self) -> Value {
        let Self { path, content, mode } = self;
        let content = match content {
            InjectedContent::Text(text) => text.as_str().into(),
            InjectedContent::Authority => Value::List(Vec::new()),
        };
        Value::map([("path", path_value(path)), ("content", content), ("mode", i64::from(*mode).into())])
    }
}

impl Payload {
    fn value(&self) -> Value {
        match self {
            Self::Exec { argv } => Value::map([("argv", Value::texts(argv))]),
            Self::Copy(items) => {
                Value::map([("copy", Value::List(items.iter().map(CopyItem::value).collect()))])
            }
        }
    }
}

impl CopyItem {
    fn value(&self) -> Value {
        let Self { source, to } = self;
        let source = match source {
            CopySource::Project { content, look } => {
                Value::map([("content", content.value()), ("look", look.value())])
            }
            CopySource::Root { path, entry } => {
                Value::map([("path", path_value(path)), ("entry", Value::Digest(*entry.as_bytes()))])
            }
            CopySource::Fetched { content, form, look } => Value::map([
                ("content", Value::Digest(*content.as_bytes())),
                ("form", form.value()),
                ("look", look.value()),
            ]),
        };
        Value::map([("source", source), ("to", path_value(to))])
    }
}

impl FetchedForm {
    fn value(&self) -> Value {
        match self {
            Self::File => "file".into(),
            Self::Archive { strip } => Value::map([("strip", i64::from(*strip).into())]),
        }
    }
}

impl Look {
    fn value(&self) -> Value {
        let Self { owner, group, mode, dirs } = self;
        let account = |account: &Option<String>| Value::option(account.clone().map(Value::Text));
        let mode_of = |mode: &Option<u32>| Value::option(mode.map(|mode| i64::from(mode).into()));
        Value::map([
            ("owner", account(owner)),
            ("group", account(group)),
            ("mode", mode_of(mode)),
            ("dirs", mode_of(dirs)),
        ])
    }
}
