//! Headers of plain ustar archives (POSIX.1-1988): what every reader of a tar understands, VirtualBox's too.

use std::io;

/// What ends an archive.
pub const END: [u8; 1024] = [0; 1024];
const BLOCK: usize = 512;

/// The header of a file that belongs to root and that everybody may read. `name` has at most 100 bytes.
pub fn header(name: &str, size: u64, mtime: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// The zeros behind the content of a file of `size` bytes.
pub fn padding(size: u64) -> &'static [u8] {
    &END[..(size.next_multiple_of(BLOCK as u64) - size) as usize]
}
