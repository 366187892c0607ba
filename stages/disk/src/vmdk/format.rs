//! The fixed structures of a sparse VMDK, byte for byte (VMware Virtual Disk Format 1.1). Little endian.

use crate::spec::DiskSpec;

use crate::grains::GRAIN;

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Entries of a grain table.
pub const TABLE_ENTRIES: u64 = 512;
/// The first sector that may hold a grain.
pub const OVERHEAD: u64 = 128;
/// Sectors of the descriptor.
const DESCRIPTOR: u64 = 20;
/// Valid newline test, compressed grains, markers in the stream.
const FLAGS: u32 = 0x0003_0001;
/// Disk geometry of VMware's SCSI adapters.
const HEADS: u64 = 255;
const SECTORS_PER_TRACK: u64 = 63;

/// Which of the two headers is written.
#[derive(Debug, Clone, Copy)]
pub enum Footer {
    /// The one at the start: the directory is found through the footer.
    Elsewhere,
    /// The footer itself.
    Here {
        /// First sector of the grain directory.
        directory: u32,
    },
}

/// Size of a disk in sectors.
pub fn capacity_sectors(size: u64) -> u64 {
    size / SECTOR
}

/// `SparseExtentHeader`, one sector. Fields follow each other without alignment.
pub fn header(size: u64, footer: Footer) -> Vec<u8> {
    let directory = match footer {
        Footer::Elsewhere => u64::MAX,
        Footer::Here { directory } => u64::from(directory),
    };
    let mut bytes = Vec::with_capacity(SECTOR as usize);
    bytes.extend(b"KDMV");
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(FLAGS.to_le_bytes());
    for field in [capacity_sectors(size), GRAIN / SECTOR, 1, DESCRIPTOR] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((TABLE_ENTRIES as u32).to_le_bytes());
    for field in [0, directory, OVERHEAD] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.push(0);
    bytes.extend(b"\n \r\n");
    bytes.extend(1u16.to_le_bytes());
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The descriptor, padded. The extent's file name is a constant: readers of one-file images do not check
/// it, and a name that followed the output's would change the bytes.
pub fn descriptor(spec: &DiskSpec, size: u64) -> Vec<u8> {
    let sectors = capacity_sectors(size);
    let cylinders = (sectors / (HEADS * SECTORS_PER_TRACK)).clamp(1, 65535);
    let text = format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid:08x}\n\
         parentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"disk.vmdk\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.virtualHWVersion = \"4\"\n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{HEADS}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
         ddb.uuid.image = \"{uuid}\"\n",
        cid = spec.identity().vmdk_cid(),
        uuid = spec.medium(),
    );
    let mut bytes = text.into_bytes();
    bytes.resize((DESCRIPTOR * SECTOR) as usize, 0);
    bytes
}

/// A grain table or directory, padded to sectors.
pub fn table(entries: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
    bytes
}

/// What a metadata marker announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// Nothing follows.
    EndOfStream = 0,
    /// A grain table.
    GrainTable = 1,
    /// The grain directory.
    GrainDirectory = 2,
    /// The header once more, with the directory's place.
    Footer = 3,
}

impl Marker {
    /// The marker's own sector; `count` sectors follow.
    pub fn sector(self, count: u64) -> Vec<u8> {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((self as u32).to_le_bytes());
        bytes.resize(SECTOR as usize, 0);
        bytes
    }
}
