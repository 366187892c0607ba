//! Drop-behind: a file that is read or written once, from its beginning to its end, does not stay in memory as a whole.
//!
//! Memory that is touched for the first time costs more than the disk on many virtual machines, and pages of a large file push
//! out those that are needed again. So the pages of what has passed are given back, but only if that is cheap to undo: bytes that
//! the disk has not written by then stay, because such a disk would be slow to read them again.

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::ptr;

use rustix::fs::{Advice, fadvise};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes that may have passed before the first of them are given back: the disk has had the time to write them.
const KEPT: u64 = 64 << 20;

/// What of a file has passed lately, and is still in memory.
#[derive(Debug, Default)]
pub struct DropBehind {
    passed: VecDeque<Range<u64>>,
    size: u64,
}

impl DropBehind {
    /// These bytes of `file` have been read, or their writing [has begun](crate::start_writing). What passed before them goes.
    ///
    /// That is advice to the kernel and nothing more: whether it is followed changes no byte.
    pub fn passed(&mut self, file: &File, bytes: Range<u64>) {
        self.size += bytes.end - bytes.start;
        match self.passed.back_mut() {
            Some(last) if last.end == bytes.start && last.end - last.start < KEPT / 16 => {
                last.end = bytes.end
            }
            _ => self.passed.push_back(bytes),
        }
        while self.size > KEPT
            && let Some(oldest) = self.passed.pop_front()
        {
            self.size -= oldest.end - oldest.start;
            let length = NonZeroU64::new(oldest.end - oldest.start);
            let _ = fadvise(file, oldest.start, length, Advice::DontNeed);
        }
    }
}

/// How much is looked at in each of [`SAMPLES`] places of a file.
const SAMPLE: u64 = 1 << 20;
const SAMPLES: u64 = 16;

/// Whether most of the file's first `size` bytes seem to be in memory, where they should stay. One that cannot be looked at is.
pub fn is_in_memory(file: &File, size: u64) -> bool {
    let (mut pages, mut resident) = (0, 0);
    for start in samples(size) {
        let sample = start..size.min(start + SAMPLE);
        let Some(states) = page_states(file, sample) else { return true };
        pages += states.len();
        resident += states.iter().filter(|state| *state & 1 == 1).count();
    }
    resident * 2 > pages
}

/// Where samples begin: all of a small file is looked at.
fn samples(size: u64) -> impl Iterator<Item = u64> {
    let step = (size / SAMPLES).next_multiple_of(page_size()).max(SAMPLE);
    (0..size).step_by(step as usize)
}

/// For each page of a range that begins on one, whether the kernel has it in memory (the lowest bit; mincore(2)).
fn page_states(file: &File, range: Range<u64>) -> Option<Vec<u8>> {
    let length = (range.end - range.start) as usize;
    let mut states = vec![0u8; length.div_ceil(page_size() as usize)];
    // SAFETY: the kernel chooses where the mapping is, nobody looks into it, and it is gone before this ends. The vector has a
    // byte for each page of it.
    let told = unsafe {
        let no_access = ProtFlags::empty();
        let mapping = mmap(ptr::null_mut(), length, no_access, MapFlags::SHARED, file, range.start).ok()?;
        let told = libc::mincore(mapping, length, states.as_mut_ptr());
        munmap(mapping, length).ok()?;
        told
    };
    (told == 0).then_some(states)
}

fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn file(size: u64) -> File {
        let file = tempfile::tempfile_in("/var/tmp").unwrap();
        file.write_all_at(&vec![7; size as usize], 0).unwrap();
        file.sync_data().unwrap();
        file
    }

    #[test]
    fn what_has_passed_long_ago_is_given_back() {
        let size = 3 * KEPT;
        let (file, mut behind) = (file(size), DropBehind::default());
        assert!(is_in_memory(&file, size));
        for start in (0..size).step_by(MIB as usize) {
            behind.passed(&file, start..start + MIB);
        }
        assert!(!is_in_memory(&file, size));
        let resident = page_states(&file, 0..size).unwrap().iter().filter(|state| *state & 1 == 1).count();
        let resident = resident as u64 * page_size();
        assert!((KEPT / 2..2 * KEPT).contains(&resident), "{resident} bytes are in memory");
    }

    #[test]
    fn nothing_of_an_empty_file_is_in_memory() {
        assert!(!is_in_memory(&file(0), 0));
    }
}
