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
mod found;
#[cfg(test)]
mod tests;

use format::{Footer, Marker, OVERHEAD, SECTOR, TABLE_ENTRIES, capacity_sectors};

use super::error::DiskError;
use super::grains::{DiskGrain, DiskGrains, GRAIN};
use super::rope::Rope;
use super::spec::DiskSpec;

pub use found::{FoundVmdk, KeptVmdk};

/// What the bytes of a VMDK depend on besides the disk and its grains. It belongs into the key of whatever holds one.
pub const VMDK_WRITER: &str = "ibuild-vmdk 2";

/// The grains as a streamOptimized VMDK: a function of the spec and of what the grains are.
pub fn vmdk(spec: &DiskSpec, grains: &DiskGrains) -> Result<Rope, DiskError> {
    if !spec.size.is_multiple_of(GRAIN) || spec.size == 0 {
        return wrong(spec, format!("its disk has {} bytes, which is not a multiple of {GRAIN}", spec.size));
    }
    let mut stream = VmdkStream::start(spec);
    let tables = grains.list.chunk_by(|a, b| a.number / TABLE_ENTRIES == b.number / TABLE_ENTRIES);
    tables.for_each(|table| stream.table(table));
    let rope = stream.end();
    // Tables point with 32 bits.
    if rope.size() / SECTOR > u32::MAX.into() {
        return wrong(spec, "its VMDK would be longer than 2 TiB".to_owned());
    }
    Ok(rope)
}

fn wrong<T>(spec: &DiskSpec, reason: String) -> Result<T, DiskError> {
    Err(DiskError::Spec { image: spec.name.clone(), reason })
}

/// A VMDK in the making: sectors so far, and the directory of the grain tables among them.
struct VmdkStream {
    rope: Rope,
    size: u64,
    directory: Vec<u32>,
}

impl VmdkStream {
    fn start(spec: &DiskSpec) -> Self {
        let mut rope = Rope::default();
        rope.bytes(&format::header(spec.size, Footer::Elsewhere));
        rope.bytes(&format::descriptor(spec, spec.size));
        rope.pad_to(OVERHEAD * SECTOR);
        let entries = capacity_sectors(spec.size).div_ceil(TABLE_ENTRIES * GRAIN / SECTOR);
        VmdkStream { rope, size: spec.size, directory: vec![0; entries as usize] }
    }

    /// Grains, then the table that tells where they are.
    fn table(&mut self, table: &[DiskGrain]) {
        let mut entries = vec![0u32; TABLE_ENTRIES as usize];
        for grain in table {
            entries[(grain.number % TABLE_ENTRIES) as usize] = self.sector();
            self.grain(grain);
        }
        let index = (table[0].number / TABLE_ENTRIES) as usize;
        self.directory[index] = self.marked(Marker::GrainTable, &format::table(&entries));
    }

    fn grain(&mut self, grain: &DiskGrain) {
        let lba = grain.number * (GRAIN / SECTOR);
        self.rope.bytes(&lba.to_le_bytes());
        self.rope.bytes(&grain.packed.length.to_le_bytes());
        self.rope.stream(&grain.packed);
        self.rope.pad_to(self.rope.size().next_multiple_of(SECTOR));
    }

    fn end(mut self) -> Rope {
        let directory = format::table(&self.directory);
        let at = self.marked(Marker::GrainDirectory, &directory);
        self.marked(Marker::Footer, &format::header(self.size, Footer::Here { directory: at }));
        self.rope.bytes(&Marker::EndOfStream.sector(0));
        self.rope
    }

    /// A marker and what it announces; tells the first sector of the latter.
    fn marked(&mut self, marker: Marker, payload: &[u8]) -> u32 {
        self.rope.bytes(&marker.sector(payload.len() as u64 / SECTOR));
        let at = self.sector();
        self.rope.bytes(payload);
        at
    }

    /// Of a file that turns out to be too long this is not what it should be, and the file is refused.
    fn sector(&self) -> u32 {
        (self.rope.size() / SECTOR) as u32
    }
}
