//! How an image of a Debian-derived machine is made: what the stages of a recipe are, what describes them, and how each kind is made.
//!
//! In reading order: [`Project`] turns a recipe into a graph; [`StageExecutor`] is the executor that describes and makes
//! its stages; `steps` has a file for each kind of step, which resolves it into the one value of `resolved` that its key is
//! made of and that `stage_run` runs and captures; `image` is for disks.

mod error;
pub mod exchange;
mod executor;
pub mod fields;
mod image;
mod inputs;
mod inspect;
mod maintenance;
mod output;
mod packages_used;
mod project;
mod publish;
mod steps;
mod verify;

pub use error::{StageError, how_to_give};
pub use executor::archives::{Access, ArchiveOptions, Archives, Unlocked};
pub use executor::context::{ExecutorOptions, StageContext, Tracing};
pub use executor::failed_state::FailedState;
pub use executor::observer::{BootOutcome, NullObserver, StageObserver};
pub use executor::resolved::SANDBOX;
pub use executor::secrets::Secrets;
pub use executor::stage_executor::StageExecutor;
pub use image::packed_snapshots;
pub use inspect::build_history::{PastBuild, PastReason, PastRun};
pub use inspect::inside::{Inside, InsideError};
pub use inspect::logs::{Logs, printable, readable, tail};
pub use inspect::mounted::{MountError, Mounted, unmount};
pub use inspect::shell::{ShellError, ShellRequest};
pub use inspect::store_contents::{StoreContents, Weight};
pub use maintenance::forget::{Forgotten, forget_everything, forget_stage};
pub use maintenance::fsck::{Checked, Finding, fsck, recover};
pub use maintenance::gc;
pub use output::{Artifact, Composed, StageOutput, StoredBlob};
pub use packages_used::lock_update::{LockUpdate, PackageChange};
pub use packages_used::observed::Observed;
pub use packages_used::package_usage::used_by;
pub use project::{Job, Project, Target, TargetError};
pub use publish::outputs::{Published, Wanted, publish};
pub use publish::pending_artifacts::PendingArtifacts;
pub use verify::{Aspect, DifferentFile, StageVerdict, Variation, Verified, VerifyOptions, verify_stage};

pub use ibuild_compare as compare;
pub use ibuild_debian as debian;
pub use ibuild_disk as disk;
pub use ibuild_host as host;
pub use ibuild_machine as machine;
pub use ibuild_packages as packages;
pub use ibuild_recipe as recipe;
pub use ibuild_release as release;
pub use ibuild_sandbox as sandbox;
pub use ibuild_snapshot as snapshot;
pub use ibuild_spec as spec;
