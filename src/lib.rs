//! A content-addressed incremental build system for Debian-derived virtual machines.
//!
//! [`Workspace`] is the facade for programs that build images: the whole transaction of a build is behind
//! [`Workspace::build`]. The program `ibuild` is a thin layer over it, which parses, calls and prints. `examples/embed.rs` is the
//! smallest program that builds an image.
//!
//! The crates below have what the facade does not show, by the names of what they do.

mod classified;
mod error;
mod process;
pub mod release;
mod secrets;
mod settings;
mod workspace;

pub use ibuild_cache as cache;
pub use ibuild_graph as graph;
pub use ibuild_stages as stages;

pub use error::{CheckFailed, Classified, Context, EnvironmentError, Error, ErrorKind, Result, UsageError};
pub use process::{STAGE_INIT, become_root, begin};
pub use secrets::SecretFile;
pub use settings::{LOCAL_FILE, Settings};
pub use workspace::{
    Action, BuildObserver, BuildRequest, BuildSummary, BuiltTarget, Compared, ComparedRecord, Comparison,
    ExecutionOptions, Explanation, ExportedPackages, FailedStage, ImportTrust, LOCK_FILE, NullObserver,
    PackageDifference, RecordedVerdict, ReleaseRequest, SHORTEST_PREFIX, SameAction, Sample, ShellCommand,
    Since, StageHistory, VerifiedStage, VerifyObserver, VerifyReport, VerifyRequest, Workspace,
    WorkspaceOptions, builds_back, digits_of_digest, find_project, import_results, listed_stages,
    load_recipe, note_clocks, open_store, output_dir, refuse_special_files, store_dir,
};
