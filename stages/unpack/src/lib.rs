//! Unpacks tar archives of strangers into a directory, which nothing that is written can leave.
//!
//! What an archive makes is a function of its bytes and of [`Rules`]: its form is told by content and not by a name, owners come
//! from the rules, set-user-ID, set-group-ID and sticky bits are dropped, extended attributes are left out, and where a file has
//! holes is decided by its zeros. [`Limits`] bound what a small file can become; an archive that reaches one is refused, so they
//! change no result.
//!
//! The format of archives: POSIX.1-2001, pax, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual, "Basic
//! Tar Format". The `tar` crate reads it; names and links are judged here.

mod archive;
mod directory;
mod error;
mod format;
mod metered;
mod name;
mod zeros;

use std::io::Read;
use std::os::fd::BorrowedFd;

pub use error::{MemberFault, UnpackError};
pub use zeros::write_with_holes;

/// What becomes of members, besides what the archive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many directories in front of each name are left out. A member that has no more names than that is not unpacked.
    pub strip: u32,
    /// Who owns everything.
    pub uid: u32,
    /// The group of everything.
    pub gid: u32,
    /// No file gets a later time, seconds since 1970. Directories get the time at which they are unpacked.
    pub latest: i64,
}

/// How much an archive may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members, extension headers not counted.
    pub members: u64,
    /// Bytes of all files, holes counted; also bytes of the archive without its compression.
    pub bytes: u64,
}

impl Default for Limits {
    /// More than the largest toolchains and browsers have.
    fn default() -> Self {
        Self { members: 500_000, bytes: 16 << 30 }
    }
}

/// Unpacks `archive`, compressed or not, into the open directory `to`. The archive is not read beyond its end, and possibly
/// not up to that.
///
/// # Errors
///
/// What was unpacked before the error stays. Nothing outside of `to` has changed.
pub fn unpack(
    archive: &mut (dyn Read + Send),
    to: BorrowedFd<'_>,
    rules: &Rules,
    limits: &Limits,
) -> Result<(), UnpackError> {
    archive::Unpacking::new(to, rules, limits).run(archive)
}

#[cfg(test)]
mod tests;
