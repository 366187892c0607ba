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
//!
//! Such a stream refers back up to 32 KiB, while those of qemu-img stay within 4 KiB. Readers that inflate a cluster at
//! once, as QEMU does, accept both.

mod layout;
#[cfg(test)]
mod tests;

use super::grains::{DiskGrain, DiskGrains, GRAIN};
use super::rope::Rope;
use super::spec::DiskSpec;
use layout::Layout;

/// What the bytes of a qcow2 depend on besides the disk and its grains. It belongs into its key.
pub const QCOW2_WRITER: &str = "ibuild-qcow2 1";

/// A zlib stream of this length or more is longer than what it holds.
fn is_compressed(grain: &DiskGrain) -> bool {
    u64::from(grain.packed.length) < GRAIN
}

/// The grains as a qcow2: a function of the disk's size and of what the grains are.
pub fn qcow2(spec: &DiskSpec, grains: &DiskGrains) -> Rope {
    let layout = Layout::of(spec.size, &grains.list);
    let mut rope = Rope::default();
    rope.bytes(&layout.metadata());
    let (small, large): (Vec<&DiskGrain>, Vec<&DiskGrain>) =
        grains.list.iter().partition(|grain| is_compressed(grain));
    small.iter().for_each(|grain| rope.stream(&grain.packed));
    rope.pad_to(rope.size().next_multiple_of(GRAIN));
    large.iter().for_each(|grain| rope.content(&grain.packed));
    assert_eq!(rope.size(), layout.file_size(), "the tables tell where everything is");
    rope
}
