//! Disks as streamOptimized VMDK (VMware Virtual Disk Format 1.1): compressed 64 KiB grains in one stream.
//!
//! The footer layout is written: what comes first does not depend on what comes later, so nothing is ever
//! rewritten and an unchanged beginning of a disk is an unchanged beginning of the file.
//!
//! ```text
//! header, descriptor, padding to sector 128
//! grains of the first 32 MiB that are not zero, then marker + grain table
//! ... for every 32 MiB that hold anything ...
//! marker + grain directory, marker + footer, end-of-stream marker (the last sector)
//! ```

mod format;
mod kept;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use format::{Footer, Marker, OVERHEAD, SECTOR, TABLE_ENTRIES, capacity_sectors};
use rayon::prelude::*;

use super::digest::DigestWriter;
use super::error::DiskError;
use super::grains::{Collected, GRAIN, GrainKey, Grains, Kept, WrittenDisk};
use super::spec::DiskSpec;

pub use kept::{FoundVmdk, KeptVmdk};

/// What the bytes of a VMDK depend on besides the disk and its grains. It belongs into the key of whatever holds one.
pub const VMDK_WRITER: &str = "ibuild-vmdk 2";

/// Bytes before the compressed ones of a grain.
const GRAIN_HEAD: u64 = 12;

/// The bytes that a VMDK of these grains will have.
pub fn vmdk_size(spec: &DiskSpec, grains: &Grains<'_>) -> u64 {
    let sectors = |bytes: u64| bytes.next_multiple_of(SECTOR);
    let table = SECTOR + TABLE_ENTRIES * 4;
    let tables: u64 = tables(&grains.list)
        .map(|some| {
            let all: u64 = some.iter().map(grain_size).sum();
            if all == 0 { 0 } else { table + all }
        })
        .sum();
    OVERHEAD * SECTOR + tables + SECTOR + sectors(directory_entries(spec.size) * 4) + 3 * SECTOR
}

fn grain_size(grain: &Collected) -> u64 {
    match grain.length() {
        0 => 0,
        length => (GRAIN_HEAD + u64::from(length)).next_multiple_of(SECTOR),
    }
}

fn directory_entries(size: u64) -> u64 {
    capacity_sectors(size).div_ceil(TABLE_ENTRIES * GRAIN / SECTOR)
}

/// Grains by the table that tells of them.
fn tables(grains: &[Collected]) -> impl Iterator<Item = &[Collected]> {
    grains.chunk_by(|a, b| a.number() / TABLE_ENTRIES == b.number() / TABLE_ENTRIES)
}

/// Writes the grains to `out` as a streamOptimized VMDK. The bytes are a function of the spec and of what the grains are.
pub fn write_vmdk(
    spec: &DiskSpec,
    grains: &Grains<'_>,
    out: impl Write + Send,
) -> Result<WrittenDisk, DiskError> {
    let write = |error| DiskError::Write { what: format!("the VMDK of `{}`", spec.name), source: error };
    if !spec.size.is_multiple_of(GRAIN) || spec.size == 0 {
        let reason = format!("its disk has {} bytes, which is not a multiple of {GRAIN}", spec.size);
        return Err(DiskError::Spec { image: spec.name.clone(), reason });
    }
    let mut stream = VmdkStream::start(out, spec).map_err(write)?;
    let mut ready: Option<Vec<(&Collected, Vec<u8>)>> = None;
    for wanted in tables(&grains.list).map(Some).chain([None]) {
        let (written, next) = rayon::join(
            || ready.take().map_or(Ok(()), |table| stream.table(&table)),
            || wanted.map(|wanted| read(grains, wanted)).transpose(),
        );
        written.map_err(write)?;
        ready = next?;
    }
    stream.end().map_err(write)
}

fn read<'g>(
    grains: &Grains<'_>,
    wanted: &'g [Collected],
) -> Result<Vec<(&'g Collected, Vec<u8>)>, DiskError> {
    let full = wanted.par_iter().filter(|grain| grain.length() > 0);
    full.map(|grain| Ok((grain, grains.read(grain)?))).collect()
}

/// A VMDK being written: sectors so far, and the directory of the grain tables among them.
struct VmdkStream<W> {
    out: DigestWriter<W>,
    size: u64,
    directory: Vec<u32>,
    grains: Vec<(GrainKey, Kept)>,
}

impl<W: Write> VmdkStream<W> {
    fn start(out: W, spec: &DiskSpec) -> io::Result<Self> {
        let mut out = DigestWriter::new(out);
        out.write_all(&format::header(spec.size, Footer::Elsewhere))?;
        out.write_all(&format::descriptor(spec, spec.size))?;
        let directory = vec![0; directory_entries(spec.size) as usize];
        let mut stream = VmdkStream { out, size: spec.size, directory, grains: Vec::new() };
        stream.pad_to(OVERHEAD * SECTOR)?;
        Ok(stream)
    }

    /// Grains, then the table that tells where they are. A table without grains is left out altogether.
    fn table(&mut self, table: &[(&Collected, Vec<u8>)]) -> io::Result<()> {
        let Some((first, _)) = table.first() else { return Ok(()) };
        let index = (first.number() / TABLE_ENTRIES) as usize;
        let mut entries = vec![0u32; TABLE_ENTRIES as usize];
        for (grain, zlib) in table {
            entries[(grain.number() % TABLE_ENTRIES) as usize] = self.sector()?;
            self.grain(grain, zlib)?;
        }
        self.directory[index] = self.marked(Marker::GrainTable, &format::table(&entries))?;
        Ok(())
    }

    fn grain(&mut self, grain: &Collected, zlib: &[u8]) -> io::Result<()> {
        let lba = grain.number() * (GRAIN / SECTOR);
        self.out.write_all(&lba.to_le_bytes())?;
        self.out.write_all(&(zlib.len() as u32).to_le_bytes())?;
        let kept = Kept { offset: self.out.position(), length: zlib.len() as u32, digest: grain.digest() };
        self.grains.push((grain.key(), kept));
        self.out.write_all(zlib)?;
        self.pad_to(self.out.position().next_multiple_of(SECTOR))
    }

    fn end(mut self) -> io::Result<WrittenDisk> {
        let directory = format::table(&self.directory);
        let at = self.marked(Marker::GrainDirectory, &directory)?;
        self.marked(Marker::Footer, &format::header(self.size, Footer::Here { directory: at }))?;
        self.out.write_all(&Marker::EndOfStream.sector(0))?;
        self.out.flush()?;
        Ok(WrittenDisk { digests: self.out.finish().1, grains: self.grains })
    }

    /// A marker and what it announces; tells the first sector of the latter.
    fn marked(&mut self, marker: Marker, payload: &[u8]) -> io::Result<u32> {
        self.out.write_all(&marker.sector(payload.len() as u64 / SECTOR))?;
        let at = self.sector()?;
        self.out.write_all(payload)?;
        Ok(at)
    }

    /// Tables point with 32 bits, so a VMDK cannot be longer than 2 TiB.
    fn sector(&self) -> io::Result<u32> {
        u32::try_from(self.out.position() / SECTOR).map_err(|_| io::ErrorKind::FileTooLarge.into())
    }

    fn pad_to(&mut self, position: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), position - self.out.position()), &mut self.out)?;
        Ok(())
    }
}
