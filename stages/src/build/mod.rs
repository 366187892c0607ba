//! From a recipe to a build: what the stages are, what describes them, and how each kind is made.
//!
//! In reading order: [`Project`] turns a recipe into a graph; [`Builder`] is the executor that describes and makes
//! its stages; `steps` has a file for each kind of step, which resolves it into the one value of `resolved` that its key is
//! made of and that `stage_run` runs and captures; `image` is for disks.

mod apt;
mod archives;
mod base;
mod boot_loaders;
mod builder;
mod composition;
mod contents;
mod environment;
mod error;
mod evidence;
mod finished;
mod forget;
mod fsck;
pub mod gc;
mod grains;
mod image;
mod inputs;
mod inside;
mod logs;
mod mounted;
mod outlook;
mod output;
mod past;
mod place;
mod plain;
mod project;
mod publish;
mod reach;
mod resolved;
mod restore;
mod shell;
mod shown;
mod space;
mod spare;
mod stage_run;
mod steps;
mod unmoved;

pub use archives::{Access, ArchiveOptions, Archives, Unlocked};
pub use builder::{BootOutcome, Builder, BuilderOptions, Nothing, StageObserver, Tracing};
pub use contents::{Contents, Weight};
pub use error::StageError;
pub use evidence::{Observed, used_by};
pub use finished::Finished;
pub use forget::{Forgotten, forget_everything, forget_stage};
pub use fsck::{Checked, Finding, fsck, recover};
pub use image::packed_snapshots;
pub use inside::{Inside, InsideError};
pub use logs::{Logs, printable, readable, tail};
pub use mounted::{MountError, Mounted, unmount};
pub use outlook::{Outlook, PackageChange};
pub use output::{Artifact, Composed, StageOutput, StoredBlob};
pub use past::{PastBuild, PastReason, PastRun};
pub use project::{Job, Project, Target, TargetError};
pub use publish::{Published, Wanted, publish};
pub use resolved::SANDBOX;
pub use shell::{FailedState, ShellError};
