//! The checksums of a release folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use ibuild_stages::release::{Sum, Sums, checksums};
use sha2::{Digest, Sha256, Sha512};

use super::SIGNED_RECORD;
use crate::error::{Context, Result};

/// What tells a file from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileDigests {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// In hexadecimal.
    pub(crate) sha256: String,
    /// In hexadecimal.
    pub(crate) sha512: String,
}

impl FileDigests {
    /// Reads a file once.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let context = || format!("cannot read `{}`", path.display());
        let mut file = File::open(path).with_context(context)?;
        let (mut short, mut long, mut size) = (Sha256::new(), Sha512::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.with_context(context)?,
            };
            let bytes = &buffer[..count];
            std::thread::scope(|scope| {
                scope.spawn(|| short.update(bytes));
                long.update(bytes);
            });
            size += count as u64;
        }
        Ok(Self { size, sha256: hex(&short.finalize()), sha512: hex(&long.finalize()) })
    }

    /// One of them.
    pub(super) fn by(&self, sums: Sums) -> &str {
        match sums {
            Sums::Sha256 => &self.sha256,
            Sums::Sha512 => &self.sha512,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the lists of all files there: `SHA512SUMS` of the others, and `SHA256SUMS` of these and of that list, so that a signature of it
/// covers everything. Digests that are `known` are not computed again.
pub(crate) fn write_sums(dir: &Path, mut known: BTreeMap<String, FileDigests>) -> Result<()> {
    for of in [Sums::Sha512, Sums::Sha256] {
        let mut sums = Vec::new();
        for file in unsigned_files(dir)?.into_iter().filter(|file| file != of.file()) {
            if !known.contains_key(&file) {
                known.insert(file.clone(), FileDigests::of(&dir.join(&file))?);
            }
            sums.push(Sum { digest: known[&file].by(of).to_owned(), file });
        }
        let path = dir.join(of.file());
        fs::write(&path, checksums(&sums)).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

/// The names of the files of a release but for its signatures, sorted. `SHA256SUMS` is among them.
pub(super) fn unsigned_files(dir: &Path) -> Result<Vec<String>> {
    let mut files = names(dir)?;
    files.retain(|name| !is_signature(name));
    Ok(files)
}

/// The names of everything in a folder, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot read `{}`", dir.display());
    let entries = fs::read_dir(dir).with_context(context)?;
    let name = |entry: std::io::Result<fs::DirEntry>| -> Result<String> {
        Ok(entry.with_context(context)?.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Whether a file of a release is a signature, or has one in it: those differ each time that somebody signs. Nothing else is free of
/// being listed, whatever it is called.
pub(super) fn is_signature(name: &str) -> bool {
    let of_sums = name.strip_prefix(Sums::Sha256.file());
    of_sums.is_some_and(|ending| SIGNATURES.contains(&ending)) || name.ends_with(SIGNED_RECORD)
}

/// How signatures of the checksums end.
pub(super) const SIGNATURES: [&str; 3] = [".gpg", ".minisig", ".sig"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_told_by_their_names() {
        assert!(
            is_signature("SHA256SUMS.gpg") && is_signature("x.ova.intoto.jsonl") && !is_signature("x.ova")
        );
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("abc"), "abc").unwrap();
        let digests = FileDigests::of(&dir.path().join("abc")).unwrap();
        assert_eq!(digests.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(digests.sha512.starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!(digests.size, 3);
    }
}
