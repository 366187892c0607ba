//! Watches what a stage writes. The file system is shared with everything else, so what is free on it tells only when it
//! is time to look at the files themselves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ibuild_cache::each_below;
use nix::sys::statvfs::statvfs;

use super::SandboxError;
use super::limits::Exceeded;

/// What is left free on the file system for everybody else: so much, or that part of a small one in whole units.
const RESERVE: u64 = 1 << 30;
const RESERVED_PART: u64 = 50;
const RESERVED_UNIT: u64 = 1 << 20;

/// Of the time, at most one part in so many is spent on counting.
const PATIENCE: u32 = 10;

/// What a stage writes below a directory.
pub(super) struct DiskWatch {
    dir: PathBuf,
    limit: Option<u64>,
    used: u64,
    free: u64,
    not_before: Instant,
}

impl DiskWatch {
    pub(super) fn new(dir: PathBuf, limit: Option<u64>) -> Self {
        Self { dir, limit, used: 0, free: u64::MAX, not_before: Instant::now() }
    }

    /// To be called a few times a second.
    pub(super) fn check(&mut self) -> Result<(), SandboxError> {
        let Some((free, reserve)) = free_space(&self.dir) else { return Ok(()) };
        if free < reserve {
            return Err(SandboxError::DiskFull(reserve));
        }
        let Some(limit) = self.limit else { return Ok(()) };
        // The first look counts what was there before the stage.
        let written = self.free.saturating_sub(free);
        let is_due = self.free == u64::MAX || written > limit.saturating_sub(self.used) / 2;
        if is_due && Instant::now() >= self.not_before {
            self.count()?;
            self.free = free;
        }
        Ok(())
    }

    /// Counts to the last file, and judges.
    pub(super) fn count(&mut self) -> Result<(), SandboxError> {
        let Some(limit) = self.limit else { return Ok(()) };
        let start = Instant::now();
        self.used = blocks_below(&self.dir);
        self.not_before = Instant::now() + start.elapsed().max(Duration::from_millis(1)) * PATIENCE;
        if self.used > limit { Err(SandboxError::Exceeded(Exceeded::Disk(limit))) } else { Ok(()) }
    }
}

/// Bytes that are free for others than root, and how many of them are to stay so.
fn free_space(dir: &Path) -> Option<(u64, u64)> {
    let stat = statvfs(dir).ok()?;
    let (unit, free) = (stat.fragment_size(), stat.blocks_available());
    let reserve = RESERVE.min(stat.blocks() * unit / RESERVED_PART);
    Some((free * unit, reserve / RESERVED_UNIT * RESERVED_UNIT))
}

/// Bytes on the disk of everything below a directory, however deep. What goes away meanwhile is not counted; a file with
/// several names counts once for each, which errs on the side of the host.
fn blocks_below(dir: &Path) -> u64 {
    const BLOCK: u64 = 512;
    let mut sum = 0;
    // What cannot be read cannot be counted.
    let _ = each_below(dir, |stat| sum += stat.st_blocks as u64 * BLOCK);
    sum
}
