//! A .deb: an `ar` archive of `debian-binary`, `control.tar` and `data.tar`, the latter two compressed.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use crate::compression::Compression;
use crate::{Name, NameError, Version, VersionError, deb822, dependency};

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// The two tarballs of a .deb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// Control file and maintainer scripts.
    Control,
    /// The files to install.
    Data,
}

impl Member {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Control => "control.tar",
            Self::Data => "data.tar",
        }
    }
}

/// Why a file cannot be used as a .deb.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The operating system refused.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is none.
    #[error("`{}` is not a Debian package", path.display())]
    NotDeb {
        /// The file.
        path: PathBuf,
    },
    /// It says of itself what no package can be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl DebError {
    /// For `map_err` on an operation on `path`; `act` is a verb.
    fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}

/// An index or a .deb says of a package what no package can be.
#[derive(Debug, thiserror::Error)]
#[error("`{place}` has a package that cannot be one")]
pub struct IdentityError {
    /// The index or the .deb.
    pub place: String,
    /// What is wrong with it.
    pub source: FieldError,
}

/// A field of a package that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    /// The name, or the architecture.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The version.
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// The decompressed tarball of the .deb at `path`.
pub fn open_deb(path: &Path, member: Member) -> Result<Box<dyn Read + Send>, DebError> {
    let file = std::fs::File::open(path).map_err(DebError::io("open", path))?;
    read_deb(io::BufReader::new(file), member)
        .map_err(DebError::io("read", path))?
        .ok_or_else(|| DebError::NotDeb { path: path.to_owned() })
}

/// What a .deb says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The package.
    pub name: Name,
    /// Its version, with the epoch that file names leave out.
    pub version: Version,
    /// `amd64`, or `all`.
    pub architecture: Name,
}

impl Identity {
    /// Checks what the index or the .deb at `place` says of a package.
    pub fn parse(
        [name, version, architecture]: [&str; 3],
        place: impl fmt::Display,
    ) -> Result<Self, IdentityError> {
        let parse = || {
            Ok(Self { name: name.parse()?, version: version.parse()?, architecture: architecture.parse()? })
        };
        parse().map_err(|source| IdentityError { place: place.to_string(), source })
    }
}

/// Reads the control file of the .deb at `path`.
pub fn identify(path: &Path) -> Result<Identity, DebError> {
    let text = control(open_deb(path, Member::Control)?).map_err(DebError::io("read", path))?;
    let field = |name| deb822::field(&text, name).ok_or_else(|| DebError::NotDeb { path: path.to_owned() });
    Ok(Identity::parse([field("Package")?, field("Version")?, field("Architecture")?], path.display())?)
}

/// The names of all packages that the .deb at `path` depends on or recommends, alternatives included.
pub fn needs(path: &Path) -> Result<BTreeSet<String>, DebError> {
    let text = control(open_deb(path, Member::Control)?).map_err(DebError::io("read", path))?;
    let fields = ["Pre-Depends", "Depends", "Recommends"];
    let relations = fields.iter().filter_map(|name| deb822::field(&text, name)).flat_map(dependency::parse);
    Ok(relations.flatten().map(|relation| relation.name.to_owned()).collect())
}

/// Whether the file at `path` is a .deb to its end, by what its members say of their lengths.
pub fn is_whole(path: &Path) -> Result<bool, DebError> {
    let mut file = std::fs::File::open(path).map_err(DebError::io("open", path))?;
    has_all_members(&mut file).map_err(DebError::io("read", path))
}

fn has_all_members(file: &mut std::fs::File) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    if !fill(file, &mut magic)? || magic != *MAGIC {
        return Ok(false);
    }
    let (length, mut has_data) = (file.metadata()?.len(), false);
    while let Some((name, size)) = next_member(file)? {
        has_data |= name.starts_with(Member::Data.prefix());
        // Members start at even places; behind the last one there need not be a byte.
        let end = file.stream_position()?.saturating_add(size);
        if end > length {
            return Ok(false);
        }
        file.seek(io::SeekFrom::Start(end + size % 2))?;
    }
    Ok(has_data && file.stream_position()? >= length)
}

/// The most bytes of a control tarball that are looked at, decompressed: more than any package of Debian has, and less than a
/// small .deb can pretend to have.
const MOST_CONTROL: u64 = 64 << 20;

/// The text of the control file in a control tarball; empty without one. It is held in memory.
fn control(tarball: impl Read) -> io::Result<String> {
    let mut tarball = tar::Archive::new(tarball.take(MOST_CONTROL));
    for entry in tarball.entries()? {
        let mut entry = entry?;
        if matches!(entry.path_bytes().as_ref(), b"./control" | b"control") {
            let mut text = Vec::new();
            entry.read_to_end(&mut text)?;
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(String::new())
}

/// The decompressed tarball of a .deb; `None` if it is no .deb.
pub fn read_deb<'a>(
    mut deb: impl Read + Send + 'a,
    member: Member,
) -> io::Result<Option<Box<dyn Read + Send + 'a>>> {
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut deb, &mut magic)? || magic != *MAGIC {
        return Ok(None);
    }
    while let Some((name, size)) = next_member(&mut deb)? {
        if name.starts_with(member.prefix()) {
            return Compression::of(&name).reader(deb.take(size)).map(Some);
        }
        // Members start at even places.
        let skip = size + size % 2;
        if io::copy(&mut (&mut deb).take(skip), &mut io::sink())? < size {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Name and size from the next header of 60 bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2.
fn next_member(deb: &mut impl Read) -> io::Result<Option<(String, u64)>> {
    let mut header = [0; 60];
    if !fill(deb, &mut header)? || header[58..] != *b"`\n" {
        return Ok(None);
    }
    let text = |range| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
    let name = text(0..16).map(|name| name.trim_end_matches('/').to_owned());
    Ok(name.zip(text(48..58).and_then(|size| size.parse().ok())))
}

/// Whether there was enough to fill the buffer.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut member =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, bytes.len()).into_bytes();
        member.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            member.push(b'\n');
        }
        member
    }

    fn deb() -> Vec<u8> {
        let control = zstd::encode_all(&b"control"[..], 3).unwrap();
        let members = [
            member("debian-binary", b"2.0\n"),
            member("control.tar.zst", &control),
            member("data.tar/", b"data!"),
            member("_extra", b"odd"),
        ];
        [MAGIC.to_vec(), members.concat()].concat()
    }

    fn text(deb: &[u8], member: Member) -> Option<String> {
        let mut text = String::new();
        read_deb(deb, member).unwrap()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn members() {
        let deb = deb();
        assert_eq!(text(&deb, Member::Control).as_deref(), Some("control"));
        assert_eq!(text(&deb, Member::Data).as_deref(), Some("data!"));
    }

    #[test]
    fn a_deb_says_who_it_is() {
        let text = "Package: hello\nVersion: 1:2.10-5\nArchitecture: amd64\n";
        let mut tarball = tar::Builder::new(Vec::new());
        for (name, text) in [("./md5sums", ""), ("./control", text)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            tarball.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let tarball = zstd::encode_all(&tarball.into_inner().unwrap()[..], 3).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [MAGIC.to_vec(), member("control.tar.zst", &tarball)].concat()).unwrap();
        let Identity { name, version, architecture } = identify(file.path()).unwrap();
        assert_eq!([name.as_str(), version.as_str(), architecture.as_str()], ["hello", "1:2.10-5", "amd64"]);
        std::fs::write(file.path(), deb()).unwrap();
        assert!(identify(file.path()).is_err());
    }

    /// A regression: the file that a package is laid out as for dpkg is named after it.
    #[test]
    fn a_package_cannot_be_called_anything() {
        let check = |fields: [&str; 3], wrong: &str| {
            let refused = Identity::parse(fields, "the index").unwrap_err();
            assert!(refused.to_string().contains("the index"), "{refused}");
            let cause = std::error::Error::source(&refused).unwrap().to_string();
            assert!(cause.contains(wrong), "{cause}");
        };
        for name in ["/var/tmp/x", "../x", "a/b", "..", "", "a b", "a\n deb x", "a\u{1b}[31m"] {
            check([name, "1", "amd64"], "is not a name");
        }
        for version in ["", "1 2", "1\n release b", "1/2", "-1", "\u{1b}"] {
            check(["a", version, "amd64"], "is not a version");
        }
        check(["a", "1", "../amd64"], "is not a name");
        for version in ["1:2.10-5", "2.0~rc1+dfsg-1+b2", "1.0_1"] {
            assert_eq!(Identity::parse(["a", version, "all"], "").unwrap().version.as_str(), version);
        }
    }

    /// A regression: a small .deb whose control file is said to be large took all memory.
    #[test]
    fn a_control_file_without_end_is_not_read_to_its_end() {
        let mut header = tar::Header::new_ustar();
        header.set_path("control").unwrap();
        header.set_size(1 << 32);
        header.set_cksum();
        let text = control(header.as_bytes().chain(io::repeat(b'x'))).unwrap();
        assert!(text.len() as u64 <= MOST_CONTROL);
    }

    #[test]
    fn no_deb() {
        let deb = deb();
        for bad in [&b""[..], b"!<arch>\n", b"PK\x03\x04 something else", &deb[..100]] {
            assert_eq!(text(bad, Member::Data), None);
        }
    }
}
