//! How an image of a Debian-derived machine is made: the recipe that describes it, and everything that
//! turns it into stages, file system snapshots, packages and disks.

pub mod build;

pub use ibuild_debian as debian;
pub use ibuild_disk as disk;
pub use ibuild_host as host;
pub use ibuild_machine as machine;
pub use ibuild_packages as packages;
pub use ibuild_recipe as recipe;
pub use ibuild_sandbox as sandbox;
pub use ibuild_snapshot as snapshot;
pub use ibuild_spec as spec;
