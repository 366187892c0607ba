//! The indices of an archive, `Packages` and `Sources`: one paragraph per package.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use ibuild_cache::Sha256;

use crate::compression::Compression;
use crate::{Known, deb822};

/// The fields of a package that ibuild looks at, borrowed from the index's text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stanza<'a> {
    /// The package's name.
    pub package: &'a str,
    /// Its version.
    pub version: &'a str,
    /// `amd64`, or `all`.
    pub architecture: &'a str,
    /// Path under the archive's base.
    pub filename: &'a str,
    /// What has to be unpacked before it.
    pub pre_depends: &'a str,
    /// What has to be configured before it.
    pub depends: &'a str,
    /// Virtual names it answers to.
    pub provides: &'a str,
    /// `required`, `important`, `standard`, `optional`.
    pub priority: &'a str,
    /// `yes` where dpkg refuses to remove it.
    pub essential: &'a str,
    size: &'a str,
    sha256: &'a str,
}

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It cannot be decompressed.
    #[error("it cannot be decompressed")]
    Compression(#[from] std::io::Error),
    /// A package lacks what is needed to fetch it.
    #[error("package `{0}` has no usable Filename, Size and SHA256")]
    Package(String),
    /// The same of a source package.
    #[error("source package `{0}` has no usable Directory and Checksums-Sha256")]
    Source(String),
}

impl<'a> Stanza<'a> {
    fn parse(paragraph: &'a str) -> Self {
        let mut stanza = Self::default();
        for (name, value) in deb822::fields(paragraph) {
            if let Some(field) = stanza.field(name) {
                *field = value;
            }
        }
        // Of a flat repository they are mostly `./NAME`.
        stanza.filename = stanza.filename.trim_start_matches("./");
        stanza
    }

    /// The place of a field, whose name has no case (deb822(5)).
    fn field(&mut self, name: &str) -> Option<&mut &'a str> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        Some(match () {
            () if is("Package") => &mut self.package,
            () if is("Version") => &mut self.version,
            () if is("Architecture") => &mut self.architecture,
            () if is("Filename") => &mut self.filename,
            () if is("Pre-Depends") => &mut self.pre_depends,
            () if is("Depends") => &mut self.depends,
            () if is("Provides") => &mut self.provides,
            () if is("Priority") => &mut self.priority,
            () if is("Essential") => &mut self.essential,
            () if is("Size") => &mut self.size,
            () if is("SHA256") => &mut self.sha256,
            () => return None,
        })
    }

    /// What the .deb has to be.
    pub fn known(&self) -> Result<Known, IndexError> {
        let parsed = self.sha256.parse::<Sha256>().ok().zip(self.size.parse().ok());
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        let is_path = !self.filename.is_empty() && !self.filename.contains(is_odd);
        let known = parsed.map(|(sha256, size)| Known { sha256, size }).filter(|_| is_path);
        known.ok_or_else(|| IndexError::Package(self.package.to_owned()))
    }
}

/// The packages of an index.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    deb822::paragraphs(text).map(Stanza::parse)
}

/// The text of an index, decompressed as its path tells. Bytes that are not UTF-8 (old maintainers' names) are
/// replaced: no field that matters here has any.
pub fn read_text(path: &str, compressed: impl Read + Send) -> Result<String, IndexError> {
    let mut bytes = Vec::new();
    AtMost { reader: Compression::of(path).reader(compressed)?, left: MOST_INDEX }.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The most bytes of an index, decompressed: five times as many as that of Debian's `main` has. A small file can pretend to have any
/// number.
const MOST_INDEX: u64 = 256 << 20;

/// A reader that fails where there is more than may be.
struct AtMost<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for AtMost<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MOST_INDEX} bytes"))
        })?;
        Ok(length)
    }
}

/// Which file of the pool has to be what.
#[derive(Debug, Default)]
pub struct PoolTable {
    files: HashMap<Box<str>, Known>,
}

impl PoolTable {
    /// Reads all packages of the index that has this path, decompressed as that tells. Its text is several times as large as
    /// what is looked at here, and is never in memory as a whole.
    pub fn read(path: &str, compressed: impl Read + Send) -> Result<Self, IndexError> {
        let text = AtMost { reader: Compression::of(path).reader(compressed)?, left: MOST_INDEX };
        let text = BufReader::new(text);
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut table = Self::default();
        let add = if name.starts_with("Sources") { Self::add_source } else { Self::add_package };
        deb822::each_paragraph(text, |paragraph| add(&mut table, paragraph))?;
        Ok(table)
    }

    fn add_package(&mut self, paragraph: &str) -> Result<(), IndexError> {
        let stanza = Stanza::parse(paragraph);
        self.files.insert(stanza.filename.into(), stanza.known()?);
        Ok(())
    }

    /// All files of a source package.
    fn add_source(&mut self, paragraph: &str) -> Result<(), IndexError> {
        let bad = || IndexError::Source(deb822::field(paragraph, "Package").unwrap_or_default().to_owned());
        let directory = deb822::field(paragraph, "Directory").ok_or_else(bad)?;
        let listed = deb822::field(paragraph, "Checksums-Sha256").ok_or_else(bad)?;
        for line in listed.lines().filter(|line| !line.trim().is_empty()) {
            let (name, known) = file_of_source(line).ok_or_else(bad)?;
            self.files.insert(join(directory, name), known);
        }
        Ok(())
    }

    /// What the file at a path under the base has to be.
    pub fn get(&self, path: &str) -> Option<Known> {
        self.files.get(path).copied()
    }
}

/// A line of `Checksums-Sha256`: a digest, a size and a name (dsc(5)).
fn file_of_source(line: &str) -> Option<(&str, Known)> {
    let mut words = line.split_ascii_whitespace();
    let (digest, size, name) = (words.next()?, words.next()?, words.next()?);
    let known = Known { sha256: digest.parse().ok()?, size: size.parse().ok()? };
    (words.next().is_none() && !name.contains('/')).then_some((name, known))
}

/// Of a flat repository the directory is mostly `.`.
fn join(directory: &str, name: &str) -> Box<str> {
    match directory.trim_start_matches("./").trim_end_matches('/') {
        "" | "." => name.into(),
        directory => format!("{directory}/{name}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn read(path: &str, text: &str) -> Result<PoolTable, IndexError> {
        PoolTable::read(path, text.as_bytes())
    }

    /// A regression: a small index that pretends to be large took all memory.
    #[test]
    fn an_index_without_end_is_refused() {
        let endless = || AtMost { reader: io::repeat(b'x'), left: 1 << 20 };
        let mut bytes = Vec::new();
        assert_eq!(endless().read_to_end(&mut bytes).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(bytes.len() <= 1 << 20);
        bytes.clear();
        assert_eq!(
            endless().take(1 << 20).read_to_end(&mut bytes).unwrap(),
            1 << 20,
            "as much as there may be"
        );
    }

    #[test]
    fn packages_by_path() {
        let text = format!(
            "Package: a\nVersion: 1\nArchitecture: all\nDescription: x\n Filename: not this\nFilename: pool/a.deb\n\
             Size: 7\nSHA256: {SHA}\n\nPackage: b\nFilename: pool/b.deb\nSize: 8\nSHA256: {SHA}\n"
        );
        let table = read("Packages", &text).unwrap();
        assert_eq!(table.get("pool/a.deb"), Some(Known { sha256: SHA.parse().unwrap(), size: 7 }));
        assert_eq!(table.get("pool/b.deb").unwrap().size, 8);
        assert_eq!(table.get("not this"), None);
        let flat = read("Packages", &text.replace("pool/b", "./b")).unwrap();
        assert!(flat.get("b.deb").is_some() && flat.get("./b.deb").is_none());
        assert!(read("Packages", &text.replace("pool/b", "pool b")).is_err());
    }

    #[test]
    fn names_of_fields_have_no_case() {
        let text = format!("package: a\nFILENAME: pool/a.deb\nsize: 7\nsha256: {SHA}\n");
        assert_eq!(read("Packages", &text).unwrap().get("pool/a.deb").unwrap().size, 7);
    }

    #[test]
    fn files_of_source_packages() {
        let text = format!(
            "Package: a\nDirectory: pool/main/a/a\nChecksums-Sha256:\n {SHA} 7 a_1.dsc\n {SHA} 8 a_1.orig.tar.xz\n\n\
             Package: b\nDirectory: ./.\nChecksums-Sha256:\n {SHA} 9 b_1.dsc\n"
        );
        let table = read("dists/x/main/source/Sources", &text).unwrap();
        assert_eq!(table.get("pool/main/a/a/a_1.orig.tar.xz").unwrap().size, 8);
        assert_eq!(table.get("b_1.dsc").unwrap().size, 9);
        for bad in ["Sha256", "Directory"] {
            let error = read("Sources", &text.replacen(bad, "X", 1)).unwrap_err();
            assert!(error.to_string().starts_with("source package `a` has no usable"), "{error}");
        }
        assert!(read("Sources", &text.replace("a_1.dsc", "../a_1.dsc")).is_err());
    }

    #[test]
    fn a_package_without_a_digest_is_refused() {
        let error = read("Packages", "Package: a\nFilename: pool/a.deb\nSize: 7\n").unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }

    #[test]
    fn odd_bytes_are_survived() {
        let text = read_text("Packages", &b"Package: a\nMaintainer: J\xf6rg\n"[..]).unwrap();
        assert_eq!(stanzas(&text).next().unwrap().package, "a");
    }
}
