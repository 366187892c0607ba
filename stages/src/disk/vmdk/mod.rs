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
mod grains;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use format::{Footer, Marker, OVERHEAD, SECTOR, TABLE_ENTRIES, capacity_sectors};
use grains::{Grain, GrainSource, Table};

use super::digest::{DigestWriter, Digests};
use super::error::DiskError;
use super::spec::DiskSpec;
use super::{Progress, sparse};

/// Bytes in a grain, the unit of compression and of change.
pub const GRAIN: u64 = 65536;

/// What the bytes of a VMDK depend on besides the disk: our writer, the compressor and its level. It
/// belongs into the key of whatever holds one.
pub const VMDK_WRITER: &str = "ibuild-vmdk 1, libdeflater 1.26, level 6";

/// Deflate level, also told in [`VMDK_WRITER`]: 6 is 1 % smaller than qemu-img's at a third of its time; higher ones cost twice for 0.4 %.
const LEVEL: i32 = 6;

/// Bytes of the raw disk that [`write_vmdk`] will read: the total of its progress.
pub fn bytes_to_read(raw: &Path) -> Result<u64, DiskError> {
    Ok(open(raw)?.0.bytes())
}

/// Writes the raw disk at `raw` to `out` as a streamOptimized VMDK and tells its size and digests.
///
/// Grains are read and compressed in parallel, 32 MiB of disk at a time, and written in order: the bytes do
/// not depend on the number of threads. Holes of the raw disk are not read.
pub fn write_vmdk<W: Write + Send>(
    spec: &DiskSpec,
    raw: &Path,
    out: W,
    progress: Progress<'_>,
) -> Result<Digests, DiskError> {
    let (source, size) = open(raw)?;
    if !size.is_multiple_of(GRAIN) || size == 0 {
        let reason = format!("its raw disk has {size} bytes, which is not a multiple of {GRAIN}");
        return Err(DiskError::Spec { image: spec.name.clone(), reason });
    }
    let stream = VmdkStream::start(out, spec, size).map_err(DiskError::io("write the VMDK of", raw))?;
    stream.run(&source, raw, progress)
}

/// The raw disk as a source of grains, and its size in bytes.
fn open(raw: &Path) -> Result<(GrainSource, u64), DiskError> {
    let file = File::open(raw).map_err(DiskError::io("open the disk", raw))?;
    let size = file.metadata().map_err(DiskError::io("read", raw))?.len();
    let ranges = sparse::data_ranges(&file).map_err(DiskError::io("find the data of", raw))?;
    Ok((GrainSource::new(file, &ranges, LEVEL), size))
}

/// A VMDK being written: sectors so far, and the directory of the grain tables among them.
struct VmdkStream<W> {
    out: DigestWriter<W>,
    size: u64,
    directory: Vec<u32>,
}

impl<W: Write + Send> VmdkStream<W> {
    fn start(out: W, spec: &DiskSpec, size: u64) -> io::Result<Self> {
        let mut out = DigestWriter::new(out);
        out.write_all(&format::header(size, Footer::Elsewhere))?;
        out.write_all(&format::descriptor(spec, size))?;
        let tables = capacity_sectors(size).div_ceil(TABLE_ENTRIES * GRAIN / SECTOR);
        let mut stream = VmdkStream { out, size, directory: vec![0; tables as usize] };
        stream.pad_to(OVERHEAD * SECTOR)?;
        Ok(stream)
    }

    /// Compresses the next table's grains while the ones before are written.
    fn run(mut self, source: &GrainSource, raw: &Path, progress: Progress<'_>) -> Result<Digests, DiskError> {
        let total = source.bytes();
        let (mut done, mut ready): (u64, Option<Table>) = (0, None);
        for wanted in source.tables().map(Some).chain([None]) {
            let (written, next) = rayon::join(
                || ready.take().map_or(Ok(()), |table| self.table(&table)),
                || wanted.map(|wanted| source.compress(wanted)).transpose(),
            );
            written.map_err(DiskError::io("write the VMDK of", raw))?;
            ready = next.map_err(DiskError::io("read", raw))?;
            done += ready.as_ref().map_or(0, |table| table.read);
            progress(done, total);
        }
        self.end().map_err(DiskError::io("write the VMDK of", raw))
    }

    /// Grains, then the table that tells where they are. A table without grains is left out altogether.
    fn table(&mut self, table: &Table) -> io::Result<()> {
        if table.grains.is_empty() {
            return Ok(());
        }
        let mut entries = vec![0u32; TABLE_ENTRIES as usize];
        for grain in &table.grains {
            entries[grain.slot] = self.sector()?;
            self.grain(table.index, grain)?;
        }
        self.directory[table.index] = self.marked(Marker::GrainTable, &format::table(&entries))?;
        Ok(())
    }

    fn grain(&mut self, table: usize, grain: &Grain) -> io::Result<()> {
        let number = table as u64 * TABLE_ENTRIES + grain.slot as u64;
        let lba = number * (GRAIN / SECTOR);
        self.out.write_all(&lba.to_le_bytes())?;
        self.out.write_all(&(grain.zlib.len() as u32).to_le_bytes())?;
        self.out.write_all(&grain.zlib)?;
        self.pad_to(self.out.position().next_multiple_of(SECTOR))
    }

    fn end(mut self) -> io::Result<Digests> {
        let directory = format::table(&self.directory);
        let at = self.marked(Marker::GrainDirectory, &directory)?;
        self.marked(Marker::Footer, &format::header(self.size, Footer::Here { directory: at }))?;
        self.out.write_all(&Marker::EndOfStream.sector(0))?;
        self.out.flush()?;
        Ok(self.out.finish().1)
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
