//! The canonical tarball: one way only to write a file system down.
//!
//! ustar headers with numeric owners and times in whole seconds; a PAX header (POSIX.1-2001) only where ustar
//! cannot say it: long names, large owners, negative times, `SCHILY.xattr.*` attributes, and GNU's sparse format 1.0.
//! The `tar` crate parses and writes the 512-byte headers; records and their meaning are ours, because its own
//! reader of PAX records splits them at line feeds, which binary attributes may contain.

/// Changes when the same members give another tarball. Belongs into the key of whatever makes a layer, or an archive of all files.
pub const TARBALL_WRITER: &str = "ibuild-tar 3";

mod acl;
mod pax;
mod read;
mod sparse;
mod write;

pub(super) use read::{Member, MemberKind, read_members};
pub(super) use sparse::{Segment, segments};
pub(super) use write::{Acls, TarWriter};
