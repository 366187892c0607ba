//! Disks as compressed qcow2 (QEMU, "The qcow2 format", version 3), written in one stream.
//!
//! ```text
//! header                    one cluster
//! refcount table            one cluster
//! refcount blocks
//! L1 table
//! L2 tables                 for every 512 MiB that hold anything
//! compressed clusters       one behind the other, each the whole zlib stream of a grain
//! other clusters            whose content cannot be compressed
//! ```
//!
//! A cluster is a grain. QEMU wants deflate streams without zlib's frame, so entries point behind its two bytes, and what
//! follows the end of a stream is not looked at. That way the compressed grains of a VMDK are those of a qcow2, too.

mod layout;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use rayon::prelude::*;

use super::digest::DigestWriter;
use super::error::DiskError;
use super::grains::{Collected, GRAIN, GrainKey, Grains, Kept, WrittenDisk};
use super::spec::DiskSpec;
use layout::Layout;

/// What the bytes of a qcow2 depend on besides the disk and its grains. It belongs into its key.
pub const QCOW2_WRITER: &str = "ibuild-qcow2 1";

/// Grains that are read at once.
const AT_ONCE: usize = 512;

/// A zlib stream of this length or more is longer than what it holds.
fn is_compressed(grain: &Collected) -> bool {
    u64::from(grain.length()) < GRAIN
}

/// Writes the grains to `out` as qcow2. The bytes are a function of the disk's size and of what the grains are.
pub fn write_qcow2(
    spec: &DiskSpec,
    grains: &Grains<'_>,
    out: impl Write + Send,
) -> Result<WrittenDisk, DiskError> {
    let full: Vec<&Collected> = grains.list.iter().filter(|grain| grain.length() > 0).collect();
    let layout = Layout::of(spec.size, &full);
    let write = |source| DiskError::Write { what: format!("the qcow2 of `{}`", spec.name), source };
    let mut stream = Stream { out: DigestWriter::new(out), grains: Vec::new() };
    stream.out.write_all(&layout.metadata()).map_err(write)?;
    let (small, large): (Vec<_>, Vec<_>) = full.into_iter().partition(|grain| is_compressed(grain));
    copy(&small, |grain| grains.read(grain), |grain, bytes| stream.compressed(grain, bytes).map_err(write))?;
    stream.pad().map_err(write)?;
    copy(&large, |grain| grains.content(grain), |grain, bytes| stream.plain(grain, bytes).map_err(write))?;
    stream.out.flush().map_err(write)?;
    let (_, digests) = stream.out.finish();
    assert_eq!(digests.size, layout.file_size(), "the tables tell where everything is");
    Ok(WrittenDisk { digests, grains: stream.grains })
}

/// Reads grains by several threads, some ahead of those that are written, in order.
fn copy(
    grains: &[&Collected],
    read: impl Fn(&Collected) -> Result<Vec<u8>, DiskError> + Sync,
    mut write: impl FnMut(&Collected, &[u8]) -> Result<(), DiskError> + Send,
) -> Result<(), DiskError> {
    let mut ready: Vec<(&Collected, Vec<u8>)> = Vec::new();
    for wanted in grains.chunks(AT_ONCE).chain([[].as_slice()]) {
        let (written, next) = rayon::join(
            || ready.drain(..).try_for_each(|(grain, bytes)| write(grain, &bytes)),
            || {
                wanted
                    .par_iter()
                    .map(|grain| Ok((*grain, read(grain)?)))
                    .collect::<Result<Vec<_>, DiskError>>()
            },
        );
        written?;
        ready = next?;
    }
    Ok(())
}

struct Stream<W> {
    out: DigestWriter<W>,
    grains: Vec<(GrainKey, Kept)>,
}

impl<W: Write> Stream<W> {
    fn compressed(&mut self, grain: &Collected, bytes: &[u8]) -> io::Result<()> {
        let kept = Kept { offset: self.out.position(), length: bytes.len() as u32, digest: grain.digest() };
        self.grains.push((grain.key(), kept));
        self.out.write_all(bytes)
    }

    fn plain(&mut self, grain: &Collected, bytes: &[u8]) -> io::Result<()> {
        let digest = *blake3::hash(bytes).as_bytes();
        let kept = Kept { offset: self.out.position(), length: bytes.len() as u32, digest };
        self.grains.push((grain.key().plain(), kept));
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.out.position().next_multiple_of(GRAIN) - self.out.position();
        io::copy(&mut io::Read::take(io::repeat(0), missing), &mut self.out)?;
        Ok(())
    }
}
