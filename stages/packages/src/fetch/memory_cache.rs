//! Small files in memory: what several clients want in the same minutes is neither opened nor read for each of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ibuild_cache::Sha256;

/// The bytes of all files together. More would be a better proxy, but one that could not stand beside other things.
const ROOM: u64 = 8 << 20;

/// For so long a file that is here stays. While there is no room, others are read from the disk: of more files than fit, each wanted
/// in turn, some are found here, which the latest ones never would be.
const AGE: Duration = Duration::from_secs(60);

/// Files by their digests. Their bytes were checked when they came, and cannot change any more.
#[derive(Default)]
pub(crate) struct MemoryCache(Mutex<Held>);

#[derive(Default)]
struct Held {
    files: HashMap<Sha256, Bytes>,
    /// The oldest first.
    ages: VecDeque<(Instant, Sha256)>,
    size: u64,
}

impl MemoryCache {
    /// A file, if it is here.
    pub(crate) fn get(&self, digest: &Sha256) -> Option<Bytes> {
        self.with(|held| held.files.get(digest).cloned())
    }

    /// Whether a file of this size would be kept.
    pub(crate) fn has_room(&self, size: u64, now: Instant) -> bool {
        self.with(|held| held.has_room(size, now))
    }

    /// Keeps a file, if there still is room.
    pub(crate) fn keep(&self, digest: Sha256, bytes: Bytes, now: Instant) {
        self.with(|held| {
            let size = bytes.len() as u64;
            if held.has_room(size, now) && held.files.insert(digest, bytes).is_none() {
                held.ages.push_back((now, digest));
                held.size += size;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    /// Those whose time is over go first.
    fn has_room(&mut self, size: u64, now: Instant) -> bool {
        while let Some((since, digest)) = self.ages.front()
            && now.duration_since(*since) > AGE
        {
            let file = self.files.remove(digest);
            self.size -= file.map_or(0, |bytes| bytes.len() as u64);
            self.ages.pop_front();
        }
        self.size + size <= ROOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(digit: u8) -> (Sha256, Bytes) {
        (Sha256::from_bytes([digit; 32]), vec![digit; ROOM as usize / 3].into())
    }

    #[test]
    fn what_is_here_stays_for_a_while_and_then_makes_room() {
        let (recent, start) = (MemoryCache::default(), Instant::now());
        let keep = |digit, now| {
            let (digest, bytes) = file(digit);
            recent.keep(digest, bytes, now);
            recent.get(&digest).is_some()
        };
        assert!(keep(1, start) && keep(1, start) && keep(2, start + AGE / 2) && keep(3, start + AGE));
        assert!(!keep(4, start + AGE) && !recent.has_room(ROOM / 4, start + AGE));
        assert!(keep(5, start + AGE * 5 / 4));
        let here = [1, 2, 3, 4, 5].map(|digit| recent.get(&file(digit).0).is_some());
        assert_eq!(here, [false, true, true, false, true]);
        assert_eq!(recent.get(&file(5).0), Some(file(5).1));
    }
}
