//! Files that have a hole for each block of zeros, wherever their original had holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Size and alignment of holes.
const BLOCK: usize = 64 << 10;

/// Writes all that `from` has into a new file, and tells how much that was.
pub fn write_with_holes(from: &mut dyn Read, to: &File) -> io::Result<u64> {
    let (mut block, mut size) = (Vec::with_capacity(BLOCK), 0);
    loop {
        block.clear();
        from.take(BLOCK as u64).read_to_end(&mut block)?;
        let is_hole = block.len() == BLOCK && block.iter().all(|byte| *byte == 0);
        if !is_hole {
            to.write_all_at(&block, size)?;
        }
        size += block.len() as u64;
        if block.len() < BLOCK {
            break;
        }
    }
    to.set_len(size)?;
    Ok(size)
}
