//! The Packages files of an archive: one paragraph per package.

use std::collections::HashMap;
use std::io::Read;

use ibuild_cache::Sha256;

use super::compression::Compression;
use super::{Known, deb822};

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
}

impl<'a> Stanza<'a> {
    fn parse(paragraph: &'a str) -> Self {
        let mut stanza = Self::default();
        for (name, value) in deb822::fields(paragraph) {
            let field = match name {
                "Package" => &mut stanza.package,
                "Version" => &mut stanza.version,
                "Architecture" => &mut stanza.architecture,
                "Filename" => &mut stanza.filename,
                "Pre-Depends" => &mut stanza.pre_depends,
                "Depends" => &mut stanza.depends,
                "Provides" => &mut stanza.provides,
                "Priority" => &mut stanza.priority,
                "Essential" => &mut stanza.essential,
                "Size" => &mut stanza.size,
                "SHA256" => &mut stanza.sha256,
                _ => continue,
            };
            *field = value;
        }
        // Of a flat repository they are mostly `./NAME`.
        stanza.filename = stanza.filename.trim_start_matches("./");
        stanza
    }

    /// What the .deb has to be.
    pub fn known(&self) -> Result<Known, IndexError> {
        let parsed = self.sha256.parse::<Sha256>().ok().zip(self.size.parse().ok());
        let is_path = !self.filename.is_empty() && !self.filename.contains(char::is_whitespace);
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
    Compression::of(path).reader(compressed)?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Which file of the pool has to be what.
#[derive(Debug, Default)]
pub struct PoolTable {
    files: HashMap<Box<str>, Known>,
}

impl PoolTable {
    /// Reads all packages of an index.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        let entry = |stanza: Stanza<'_>| Ok((Box::from(stanza.filename), stanza.known()?));
        Ok(Self { files: stanzas(text).map(entry).collect::<Result<_, IndexError>>()? })
    }

    /// What the file at a path under the base has to be.
    pub fn get(&self, path: &str) -> Option<Known> {
        self.files.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn packages_by_path() {
        let text = format!(
            "Package: a\nVersion: 1\nArchitecture: all\nDescription: x\n Filename: not this\nFilename: pool/a.deb\n\
             Size: 7\nSHA256: {SHA}\n\nPackage: b\nFilename: pool/b.deb\nSize: 8\nSHA256: {SHA}\n"
        );
        let table = PoolTable::parse(&text).unwrap();
        assert_eq!(table.get("pool/a.deb"), Some(Known { sha256: SHA.parse().unwrap(), size: 7 }));
        assert_eq!(table.get("pool/b.deb").unwrap().size, 8);
        assert_eq!(table.get("not this"), None);
        let flat = PoolTable::parse(&text.replace("pool/b", "./b")).unwrap();
        assert!(flat.get("b.deb").is_some() && flat.get("./b.deb").is_none());
        assert!(PoolTable::parse(&text.replace("pool/b", "pool b")).is_err());
    }

    #[test]
    fn a_package_without_a_digest_is_refused() {
        let error = PoolTable::parse("Package: a\nFilename: pool/a.deb\nSize: 7\n").unwrap_err();
        assert!(error.to_string().contains("`a`"), "{error}");
    }

    #[test]
    fn odd_bytes_are_survived() {
        let text = read_text("Packages", &b"Package: a\nMaintainer: J\xf6rg\n"[..]).unwrap();
        assert_eq!(stanzas(&text).next().unwrap().package, "a");
    }
}
