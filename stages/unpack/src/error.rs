//! Why an archive is not unpacked.

use std::io;

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is something else than a tar archive, or compressed in a way that is not known here.
    #[error("it is {0}, and not a tar archive: plain or compressed by gzip, xz or zstd")]
    Format(&'static str),
    /// It has no files.
    #[error("the archive is empty")]
    Empty,
    /// All names are shorter than what is left out of them.
    #[error("`strip = {0}` leaves nothing of it: no member has more than {0} names in its path")]
    NothingLeft(u32),
    /// It cannot be read to its end.
    #[error("the archive is damaged: {0}")]
    Damaged(io::Error),
    /// It has too many members.
    #[error("the archive has more than {0} members")]
    Members(u64),
    /// It becomes too large.
    #[error("the archive becomes larger than {0} bytes")]
    Bytes(u64),
    /// The headers of one member have no end in sight.
    #[error("the headers of one member are larger than {0} bytes")]
    Headers(u64),
    /// A member that cannot be unpacked.
    #[error("member `{name}`: {fault}")]
    Member {
        /// Its name, as far as it can be read.
        name: String,
        /// What is wrong with it.
        fault: MemberFault,
    },
}

/// What is wrong with a member.
#[derive(Debug, thiserror::Error)]
pub enum MemberFault {
    /// It has a place of its own in mind.
    #[error("its name is an absolute path")]
    Absolute,
    /// It climbs.
    #[error("its name contains `..`")]
    Parent,
    /// No file can be called that.
    #[error("its name contains a NUL")]
    Nul,
    /// The way to it leads through a link out of the directory.
    #[error("a symbolic link on the way to it leads out of the directory that is unpacked into")]
    ThroughLink,
    /// It is a hard link to something that this archive did not make.
    #[error("it is a hard link to `{0}`, which the archive does not have before it")]
    ForeignLink(String),
    /// It is a device, a pipe or something unknown.
    #[error("it is {0}")]
    Kind(&'static str),
    /// Something else has its place.
    #[error("there is {0} in its way")]
    InTheWay(&'static str),
    /// The file system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for MemberFault {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}
