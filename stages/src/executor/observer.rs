//! What stages report while they run.

/// Where a boot loader comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOutcome {
    /// It was made by the GRUB of the root file system.
    Made,
    /// That was done before.
    Found,
}

/// Is told what stages do while they run, from several threads. What an observer does not implement it ignores.
pub trait StageObserver: Send + Sync {
    /// So many bytes of so many are done.
    fn progress(&self, _stage: &str, _done: u64, _total: u64) {}
    /// An image has so many compressed grains of disks; so many of them no earlier file had.
    fn packed(&self, _stage: &str, _grains: u64, _compressed: u64) {}
    /// The disk of an image has its boot loader. Told once for images that share one.
    fn boot_loader(&self, _stage: &str, _outcome: BootOutcome) {}
    /// Something that the user should know, but that is no error.
    fn warning(&self, _stage: &str, _text: &str) {}
    /// The stage waits for another process that builds the same.
    fn waiting(&self, _stage: &str, _holder: Option<u32>) {}
    /// Files of the project that the stage would use are left out. Told once for each stage.
    fn ignored(&self, _stage: &str, _files: &[String]) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl StageObserver for NullObserver {}
