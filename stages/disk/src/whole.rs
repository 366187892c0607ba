//! The digest of a finished file, found by several threads. Its holes are digested as the zeros that they are, and not read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ibuild_cache::{BlobId, Cancel, DropBehind, is_in_memory};
use rayon::prelude::*;

use super::digest::Digested;
use super::error::DiskError;
use super::subtrees::{ChainingValue, SUBTREE, TreeDigester, chaining_value, whole_within};
use ibuild_snapshot::parts;

/// Bytes that are digested together.
const BATCH: u64 = 64 * SUBTREE;

impl Digested<BlobId> {
    /// Digests a file. What of it was not in memory before does not stay there.
    pub fn of_file(path: &Path, cancel: &Cancel) -> Result<Self, DiskError> {
        let file = File::open(path).map_err(DiskError::io("open", path))?;
        digest(&file, cancel).map_err(DiskError::io("read", path))
    }
}

fn digest(file: &File, cancel: &Cancel) -> io::Result<Digested<BlobId>> {
    let size = file.metadata()?.len();
    let data = parts(file, size)?;
    let mut behind = (!is_in_memory(file, size)).then(DropBehind::default);
    let (nothing, mut buffer) = (vec![0; BATCH as usize], vec![0; BATCH as usize]);
    let mut digester = TreeDigester::new();
    for start in (0..size).step_by(BATCH as usize) {
        cancel.check()?;
        let batch = start..size.min(start + BATCH);
        let data = within(&data, &batch);
        let bytes = if data.is_empty() { &nothing } else { read(file, &data, start, &mut buffer)? };
        let bytes = &bytes[..(batch.end - start) as usize];
        digester.update(bytes, &values(&batch, bytes));
        if let Some(behind) = &mut behind {
            data.into_iter().for_each(|part| behind.passed(file, part));
        }
    }
    Ok(digester.finish().0)
}

/// What of these parts is in a batch.
fn within(parts: &[Range<u64>], batch: &Range<u64>) -> Vec<Range<u64>> {
    let first = parts.partition_point(|part| part.end <= batch.start);
    let touched = parts[first..].iter().take_while(|part| part.start < batch.end);
    touched.map(|part| part.start.max(batch.start)..part.end.min(batch.end)).collect()
}

fn read<'b>(
    file: &File,
    data: &[Range<u64>],
    start: u64,
    buffer: &'b mut Vec<u8>,
) -> io::Result<&'b Vec<u8>> {
    buffer.fill(0);
    for part in data {
        let place = (part.start - start) as usize..(part.end - start) as usize;
        file.read_exact_at(&mut buffer[place], part.start)?;
    }
    Ok(buffer)
}

fn values(batch: &Range<u64>, bytes: &[u8]) -> Vec<ChainingValue> {
    let of_one = |n: u64| {
        let own = &bytes[(n * SUBTREE - batch.start) as usize..][..SUBTREE as usize];
        chaining_value(n, own)
    };
    whole_within(batch).into_par_iter().map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_count_as_zeros() {
        let mut random = fastrand::Rng::with_seed(9);
        for size in [0, 1, SUBTREE, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 4097] {
            let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
            file.as_file().set_len(size).unwrap();
            for _ in 0..4.min(size) {
                let at = random.u64(..size);
                let length = random.u64(..200_000).min(size - at);
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                file.as_file().write_all_at(&bytes, at).unwrap();
            }
            let bytes = std::fs::read(file.path()).unwrap();
            let digested = Digested::of_file(file.path(), &Cancel::default()).unwrap();
            assert_eq!(digested, Digested::of_bytes(&bytes), "{size}");
        }
    }

    #[test]
    fn who_gives_up_does_not_wait_for_it() {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        file.as_file().set_len(8 << 40).unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(Digested::of_file(file.path(), &cancel).unwrap_err().is_interrupt());
    }
}
