//! Whether the disk got full while a stage ran.
//!
//! A program that does not look whether its writes succeed makes files that are too short and says that all went well.
//! What it made must not be remembered. The kernel tells nobody but the program that a write was refused, so the room
//! that is left is looked at again and again, and the sooner the less there is: before the next look nobody can have
//! written that much. What stays unseen is a program that asks for more room at once than there is (`fallocate`), is
//! refused, and takes no notice.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// With fewer bytes left a write may have been refused: file systems keep some for themselves, and the index asks for
/// some at once.
const TIGHT: u64 = 4 << 20;
/// No machine writes files faster, in bytes a nanosecond.
const FASTEST: u64 = 8;
/// The time between two looks: no shorter, because looking costs something too, and no longer.
const PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(100)];
/// With fewer inodes left a file may not have been made.
const FEW: u64 = 16;

/// Looks at a file system until it is told to stop.
#[must_use = "it says at the end what it saw"]
pub(crate) struct Watch {
    dir: PathBuf,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

struct Seen {
    ended: AtomicBool,
    least: AtomicU64,
}

impl Watch {
    /// Starts to look at the file system of `dir`.
    pub(crate) fn over(dir: &Path) -> Self {
        let seen = Arc::new(Seen { ended: AtomicBool::new(false), least: AtomicU64::new(u64::MAX) });
        let (dir, looking) = (dir.to_owned(), seen.clone());
        let thread = std::thread::spawn({
            let dir = dir.clone();
            move || {
                while !looking.ended.load(Ordering::Relaxed) {
                    let left = left(&dir);
                    looking.least.fetch_min(left, Ordering::Relaxed);
                    std::thread::park_timeout(pause(left));
                }
            }
        });
        Self { dir, seen, thread: Some(thread) }
    }

    /// Stops. Gives the least number of bytes that was left, if a write may have been refused.
    pub(crate) fn end(self) -> Option<u64> {
        let least = self.seen.least.load(Ordering::Relaxed).min(left(&self.dir));
        (least < TIGHT).then_some(least)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seen.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// In so much time nobody takes what is left.
fn pause(left: u64) -> Duration {
    let [shortest, longest] = PAUSES;
    Duration::from_nanos(left.saturating_sub(TIGHT) / FASTEST).clamp(shortest, longest)
}

/// The bytes that are left; none if there are no inodes. A file system that does not say has plenty.
pub(crate) fn left(dir: &Path) -> u64 {
    let Ok(stat) = rustix::fs::statvfs(dir) else { return u64::MAX };
    // A file system that makes inodes as it goes counts none.
    if stat.f_files > 0 && stat.f_favail < FEW {
        return 0;
    }
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_room_nothing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Watch::over(dir.path()).end(), None);
    }

    #[test]
    fn the_less_is_left_the_sooner_is_the_next_look() {
        assert_eq!(pause(0), PAUSES[0]);
        assert_eq!(pause(TIGHT + (80 << 20)), Duration::from_nanos(10 << 20));
        assert_eq!(pause(u64::MAX), PAUSES[1]);
    }

    #[test]
    fn a_file_system_without_room_is_noticed() {
        // It has neither blocks nor inodes to give.
        assert!(Watch::over(Path::new("/proc")).end().is_some());
    }
}
