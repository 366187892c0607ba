//! `ibuild release --check`: whether a release folder is whole, is signed by whom it should be, and does not contradict itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ibuild_stages::host::bounded;
use ibuild_stages::release::{
    Envelope, Statement, Sum, Sums, bill_of, read_checksums, read_package_list, read_statement,
};

use super::record::verify_envelope;
use super::sums::{FileDigests, SIGNATURES, is_signature, names, unsigned_files};
use super::{Index, IndexedImage, Key, RECORD, SIGNED_RECORD};
use crate::error::Result;

/// Documents are read as a whole; this is the longest.
const LONGEST: u64 = 256 << 20;

/// The digests of files that were read already.
type Known = BTreeMap<String, FileDigests>;

/// What was found in a release folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReleaseCheck {
    /// What is as it should be, a sentence each.
    pub good: Vec<String>,
    /// What is not, a sentence each.
    pub bad: Vec<String>,
    /// What could not be looked at, and how it can.
    pub unchecked: Vec<String>,
}

impl ReleaseCheck {
    fn note(&mut self, verdict: std::result::Result<String, String>) {
        match verdict {
            Ok(good) => self.good.push(good),
            Err(bad) => self.bad.push(bad),
        }
    }
}

/// Looks at a release folder; with a key, at its signatures, too.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage) if there is no release folder. That something is wrong with it is no error.
pub fn check_release(dir: &Path, key: Option<&Key>) -> Result<ReleaseCheck> {
    let index = Index::read(dir)?;
    let mut check = ReleaseCheck::default();
    let mut known = BTreeMap::new();
    for of in Sums::ALL {
        check_sums(dir, of, &mut known, &mut check)?;
    }
    check_signature(dir, key, &mut check)?;
    check_unlisted(dir, &index, key, &mut check)?;
    for image in &index.images {
        check.note(check_image(dir, image));
        check_record(dir, image, key, &mut check);
    }
    Ok(check)
}

fn read(dir: &Path, name: &str) -> std::result::Result<Vec<u8>, String> {
    bounded::read(&dir.join(name), LONGEST).map_err(|error| format!("`{name}` cannot be read: {error}"))
}

fn text(dir: &Path, name: &str) -> std::result::Result<String, String> {
    String::from_utf8(read(dir, name)?).map_err(|_| format!("`{name}` is not text"))
}

/// Whether the files are those that a list has, by the same rules as `sha256sum --check`, and whether the list has all of them.
fn check_sums(dir: &Path, of: Sums, known: &mut Known, check: &mut ReleaseCheck) -> Result<()> {
    let sums = text(dir, of.file())
        .and_then(|text| read_checksums(&text, of).map_err(|error| format!("`{}`, {error}", of.file())));
    let sums = match sums {
        Ok(sums) => sums,
        Err(bad) => {
            check.bad.push(bad);
            return Ok(());
        }
    };
    let before = check.bad.len();
    for sum in &sums {
        check_sum(dir, of, sum, known, check)?;
    }
    let listed: BTreeSet<_> = sums.iter().map(|sum| sum.file.as_str()).collect();
    let is_free = |name: &str| name == Sums::Sha256.file() || name == of.file();
    for name in unsigned_files(dir)?.iter().filter(|name| !is_free(name) && !listed.contains(name.as_str())) {
        check.bad.push(format!("`{name}` is not in `{}`", of.file()));
    }
    if check.bad.len() == before {
        check.good.push(format!("`{}`: {} files are what it says", of.file(), sums.len()));
    }
    Ok(())
}

fn check_sum(dir: &Path, of: Sums, sum: &Sum, known: &mut Known, check: &mut ReleaseCheck) -> Result<()> {
    let path = dir.join(&sum.file);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file());
    if !is_file {
        check.bad.push(format!("`{}` is missing", sum.file));
        return Ok(());
    }
    let found = match known.get(&sum.file) {
        Some(found) => found,
        None => known.entry(sum.file.clone()).or_insert(FileDigests::of(&path)?),
    };
    if found.by(of) != sum.digest {
        check.bad.push(format!("`{}` is not what `{}` says", sum.file, of.file()));
    }
    Ok(())
}

/// Signatures are in no list, so each has to be one of a release: a plain file under one of the known names. Those that nobody looked at are
/// named.
fn check_unlisted(dir: &Path, index: &Index, key: Option<&Key>, check: &mut ReleaseCheck) -> Result<()> {
    let read = key.map(|key| format!("{}{}", Sums::Sha256.file(), key.ending()));
    for name in names(dir)?.into_iter().filter(|name| is_signature(name)) {
        let is_file = fs::symlink_metadata(dir.join(&name)).is_ok_and(|meta| meta.is_file());
        let image = name.strip_suffix(SIGNED_RECORD);
        let is_foreign = image.is_some_and(|image| !index.images.iter().any(|it| it.file == image));
        if !is_file || is_foreign {
            check.bad.push(format!("`{}` is no signature of this release", name.escape_debug()));
        } else if key.is_some() && image.is_none() && read.as_ref() != Some(&name) {
            check.unchecked.push(format!("`{name}`: it is of another kind than the key"));
        }
    }
    let sums = dir.join(Sums::Sha256.file());
    if !fs::symlink_metadata(&sums).is_ok_and(|meta| meta.is_file()) {
        check.bad.push(format!("`{}` is no plain file", Sums::Sha256.file()));
    }
    Ok(())
}

fn check_signature(dir: &Path, key: Option<&Key>, check: &mut ReleaseCheck) -> Result<()> {
    let sums = Sums::Sha256.file();
    let Some(key) = key else {
        let is_signed = SIGNATURES.iter().any(|ending| dir.join(format!("{sums}{ending}")).exists());
        check.unchecked.push(match is_signed {
            true => "who signed it: `--key FILE` names the public key that it should be".to_owned(),
            false => "who made it: it is not signed".to_owned(),
        });
        return Ok(());
    };
    let name = format!("{sums}{}", key.ending());
    if !dir.join(&name).exists() {
        check.bad.push(format!("it is not signed: there is no `{name}`"));
        return Ok(());
    }
    let verdict = match (read(dir, sums), read(dir, &name)) {
        (Ok(text), Ok(signature)) => key.verify(&text, &signature),
        (Err(bad), _) | (_, Err(bad)) => {
            check.bad.push(bad);
            return Ok(());
        }
    };
    match verdict {
        Ok(who) => check.good.push(format!("`{name}` is by {who}")),
        Err(error @ super::SignatureError::Start(..)) => return Err(error.into()),
        Err(error) => check.bad.push(format!("`{name}`: {error}")),
    }
    Ok(())
}

/// Whether the documents of an image are of that image, and agree about its packages.
fn check_image(dir: &Path, image: &IndexedImage) -> std::result::Result<String, String> {
    let file = &image.file;
    let meta = fs::metadata(dir.join(file)).map_err(|_| format!("`{file}` is missing"))?;
    if meta.len() != image.size {
        return Err(format!("`{file}` has {} bytes, `{}` says {}", meta.len(), Index::FILE, image.size));
    }
    let name = format!("{file}.packages");
    let listed = read_package_list(&text(dir, &name)?).map_err(|error| format!("`{name}`, {error}"))?;
    let listed: BTreeSet<_> = listed.into_iter().map(|it| (it.name, it.version)).collect();
    let name = format!("{file}.spdx.json");
    let bill = serde_json::from_slice(&read(dir, &name)?).map_err(|_| format!("`{name}` is not JSON"))?;
    let (packages, of) =
        bill_of(&bill).ok_or_else(|| format!("`{name}` is no bill of materials of ibuild"))?;
    if of != image.sha256 {
        return Err(format!("`{name}` is of another image"));
    }
    if packages != listed {
        return Err(format!("`{name}` and `{file}.packages` have different packages"));
    }
    Ok(format!("`{file}`: {} packages, the same in all lists", listed.len()))
}

/// Whether the build record is of the image, and tells of the same stages as its manifest.
fn check_record(dir: &Path, image: &IndexedImage, key: Option<&Key>, check: &mut ReleaseCheck) {
    let name = format!("{}{RECORD}", image.file);
    let record = read(dir, &name).and_then(|bytes| {
        let record = read_statement(&bytes).map_err(|error| format!("`{name}`: {error}"))?;
        Ok((bytes, record))
    });
    let (bytes, record) = match record {
        Ok(record) => record,
        Err(bad) => return check.bad.push(bad),
    };
    check.note(agrees(dir, image, &name, &record));
    let signed = format!("{}{SIGNED_RECORD}", image.file);
    match key {
        Some(key) if dir.join(&signed).exists() => check.note(check_envelope(dir, &signed, &bytes, key)),
        // The checksums cover the record as they cover everything.
        Some(_) => check.unchecked.push(format!("`{signed}`: it is not there; the checksums cover `{name}`")),
        None => {}
    }
}

fn agrees(
    dir: &Path,
    image: &IndexedImage,
    name: &str,
    record: &Statement,
) -> std::result::Result<String, String> {
    let of = record.images.iter().find(|it| it.file == image.file);
    if of.is_none_or(|it| it.sha256 != image.sha256 || it.blake3 != image.blake3) {
        return Err(format!(
            "`{name}` tells of another build: `{}` is not the image that it names",
            image.file
        ));
    }
    let manifest = format!("{}.manifest.json", image.file);
    let trees =
        trees(&read(dir, &manifest)?).ok_or_else(|| format!("`{manifest}` is not a manifest of ibuild"))?;
    let recorded: BTreeMap<_, _> =
        record.stages.iter().map(|it| (it.stage.as_str(), it.output.as_str())).collect();
    match trees.iter().find(|(stage, tree)| recorded.get(stage.as_str()) != Some(&tree.as_str())) {
        Some((stage, _)) => Err(format!("`{name}` and `{manifest}` do not agree about `{stage}`")),
        None => Ok(format!("`{name}`: {} stages, of this image", record.stages.len())),
    }
}

/// The stages of a manifest, with the digests of their trees.
fn trees(manifest: &[u8]) -> Option<BTreeMap<String, String>> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    let stage = |it: &serde_json::Value| {
        let tree = it.get("tree")?.as_str()?;
        Some((it.get("stage")?.as_str()?.to_owned(), tree.trim_start_matches("b3:").to_owned()))
    };
    manifest.get("stages")?.as_array()?.iter().map(stage).collect()
}

fn check_envelope(dir: &Path, name: &str, record: &[u8], key: &Key) -> std::result::Result<String, String> {
    let said = |error: &dyn std::fmt::Display| format!("`{name}`: {error}");
    let envelope = Envelope::read(&read(dir, name)?).map_err(|error| said(&error))?;
    if envelope.record().map_err(|error| said(&error))? != record {
        return Err(format!("`{name}` has another record inside than the one beside it"));
    }
    let who = verify_envelope(&envelope, key).map_err(|error| said(&error))?;
    Ok(format!("`{name}` is by {who}"))
}
