//! What a file system says of the blocks of a file (Linux, "Fiemap Ioctl").

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// Extents that are asked for at once.
const AT_ONCE: usize = 128;
/// Of an extent: there are no others.
const LAST: u32 = 1;

#[repr(C)]
struct Head {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved_long: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    head: Head,
    extents: [Extent; AT_ONCE],
}

nix::ioctl_readwrite!(fs_ioc_fiemap, b'f', 11, Head);

/// What of the first `size` bytes of a file has blocks, written or not; `None` where the file system does not say.
pub(super) fn extents(file: &File, size: u64) -> io::Result<Option<Vec<Range<u64>>>> {
    let (mut found, mut start) = (Vec::new(), 0);
    while start < size {
        let request = match ask(file, start, size - start) {
            Ok(request) => request,
            Err(Errno::EOPNOTSUPP | Errno::ENOTTY | Errno::EINVAL) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let Some(extents) = request.extents.get(..request.head.mapped as usize) else { break };
        found.extend(
            extents.iter().map(|extent| extent.logical..extent.logical.saturating_add(extent.length)),
        );
        match extents.last() {
            Some(last) if last.flags & LAST == 0 => start = last.logical.saturating_add(last.length),
            _ => break,
        }
    }
    Ok(Some(found))
}

fn ask(file: &File, start: u64, length: u64) -> Result<Box<Request>, Errno> {
    let empty =
        Extent { logical: 0, physical: 0, length: 0, reserved_long: [0; 2], flags: 0, reserved: [0; 3] };
    let head = Head { start, length, flags: 0, mapped: 0, room: AT_ONCE as u32, reserved: 0 };
    let mut request = Box::new(Request { head, extents: [empty; AT_ONCE] });
    // SAFETY: the kernel writes the head, and behind it no more extents than the head says there is room for.
    unsafe { fs_ioc_fiemap(file.as_raw_fd(), (&raw mut *request).cast()) }?;
    Ok(request)
}
