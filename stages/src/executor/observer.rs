//! What stages report while they run.

/// Where a boot loader comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOutcome {
    /// It was made by the GRUB of the root file system.
    Made,
    /// That was done before.
    Found,
}

/// Is told what stages do while they run, from several threads.
pub trait StageObserver: Send + Sync {
    /// So many bytes of so many are done.
    fn progress(&self, stage: &str, done: u64, total: u64);
    /// An image has so many compressed grains of disks; so many of them no earlier file had.
    fn packed(&self, stage: &str, grains: u64, compressed: u64);
    /// The disk of an image has its boot loader. Told once for images that share one.
    fn boot_loader(&self, stage: &str, outcome: BootOutcome);
    /// Something that the user should know, but that is no error.
    fn warning(&self, stage: &str, text: &str);
    /// The stage waits for another process that builds the same.
    fn waiting(&self, stage: &str, holder: Option<u32>);
    /// Files of the project that the stage would use are left out. Told once for each stage.
    fn ignored(&self, stage: &str, files: &[String]);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl StageObserver for NullObserver {
    fn progress(&self, _: &str, _: u64, _: u64) {}
    fn packed(&self, _: &str, _: u64, _: u64) {}
    fn boot_loader(&self, _: &str, _: BootOutcome) {}
    fn warning(&self, _: &str, _: &str) {}
    fn waiting(&self, _: &str, _: Option<u32>) {}
    fn ignored(&self, _: &str, _: &[String]) {}
}
