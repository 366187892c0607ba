//! Room for unpacked layers: they are a cache over tarballs, and take no more than a budget.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ibuild_cache::LayerId;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::{LayerStore, SnapshotError, layer_groups};

/// What trimming removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Unpacked layers.
    pub layers: usize,
    /// Their bytes, as their tarballs have them.
    pub bytes: u64,
}

/// An unpacked layer, as the choice needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unpacked {
    layer: LayerId,
    bytes: u64,
    /// When it was last of use, seconds since 1970. Capture sets access times back, and cannot set those of change.
    used: i64,
}

impl LayerStore<'_> {
    /// Removes unpacked layers, those of no use for the longest time first, if all of them take more than `budget` bytes.
    /// They are unpacked again when a stage needs them. The caller has the store alone.
    pub fn trim_unpacked(&self, budget: u64) -> Result<Trimmed, SnapshotError> {
        let merged: Vec<_> =
            layer_groups::groups(self.store())?.into_iter().flat_map(|group| group.layers).collect();
        let mut unpacked = Vec::new();
        for layer in self.all()? {
            if let Ok(meta) = fs::metadata(self.unpacked_path(&layer.id)) {
                unpacked.push(Unpacked {
                    layer: layer.id,
                    // Each merged directory has a copy of it.
                    bytes: layer.raw_size
                        * (1 + merged.iter().filter(|one| **one == layer.id).count() as u64),
                    used: meta.atime().max(meta.ctime()),
                });
            }
        }
        let mut trimmed = Trimmed::default();
        for Unpacked { layer, bytes, .. } in surplus(unpacked, budget) {
            // Only a tarball in good order can be unpacked again; the stage would have to run instead.
            if self.find(&layer)?.is_none() {
                continue;
            }
            layer_groups::discard_with(self.store(), &layer)?;
            self.store().discard(&self.unpacked_path(&layer))?;
            trimmed = Trimmed { layers: trimmed.layers + 1, bytes: trimmed.bytes + bytes };
        }
        Ok(trimmed)
    }
}

/// What has to go so that the rest is within `budget`.
fn surplus(mut unpacked: Vec<Unpacked>, budget: u64) -> Vec<Unpacked> {
    let mut total: u64 = unpacked.iter().map(|one| one.bytes).sum();
    if total <= budget {
        return Vec::new();
    }
    unpacked.sort_by_key(|one| (one.used, one.layer));
    // A fifth of it stays free, so that not every build has to trim.
    let goal = budget / 5 * 4;
    let too_much = |one: &Unpacked| {
        let goes = total > goal;
        total = total.saturating_sub(one.bytes);
        goes
    };
    unpacked.into_iter().take_while(too_much).collect()
}

/// Notes that an unpacked layer is of use now. Best effort: without it the layer only looks older than it is.
pub(super) fn mark_used(dir: &Path) {
    let time = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time(UTIME_NOW), last_modification: time(UTIME_OMIT) };
    let _ = utimensat(CWD, dir, &times, AtFlags::SYMLINK_NOFOLLOW);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(number: u8, bytes: u64, used: i64) -> Unpacked {
        Unpacked { layer: LayerId::from_bytes([number; 32]), bytes, used }
    }

    #[track_caller]
    fn check(budget: u64, expected: &[u8]) {
        let all = vec![unpacked(1, 100, 30), unpacked(2, 50, 10), unpacked(3, 50, 20), unpacked(4, 200, 40)];
        let gone: Vec<_> = surplus(all, budget).iter().map(|one| one.layer.as_bytes()[0]).collect();
        assert_eq!(gone, expected, "a budget of {budget}");
    }

    #[test]
    fn the_longest_unused_go_until_there_is_room_again() {
        check(400, &[]);
        check(399, &[2, 3]);
        check(300, &[2, 3, 1]);
        check(200, &[2, 3, 1, 4]);
        check(0, &[2, 3, 1, 4]);
    }
}
