//! What is known of a built image: its bytes, and the root file systems in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ibuild_stages::packages::{InstalledPackage, Lock, LockedDeb, installed, licences, source_packages};
use ibuild_stages::release::{ImageFacts, ListedFile, PackageFacts, SourceFacts};
use ibuild_stages::snapshot::{Entry, Kind, Snapshot, TreeStore, files::read_tree};
use ibuild_stages::{Inside, InsideError, StageError};

use super::super::Workspace;
use crate::error::Result;
use crate::release::FileDigests;

const STATUS: &str = "/var/lib/dpkg/status";
const LISTS: &str = "/var/lib/dpkg/info";

/// A machine of an image.
pub(super) struct Machine<'a> {
    /// Its name, if the image has several.
    pub(super) name: Option<&'a str>,
    /// Its root file system.
    pub(super) snapshot: &'a Snapshot,
}

/// The facts of an image, whose file has got its name. `blake3` is the digest that it was made with.
pub(super) fn image_facts(
    workspace: &Workspace,
    path: &Path,
    blake3: String,
    machines: &[Machine<'_>],
    lock: &Lock,
) -> Result<ImageFacts> {
    let FileDigests { size, sha256, sha512 } = FileDigests::of(path)?;
    let (mut packages, mut sources, mut files) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for machine in machines {
        let inside = Inside::of(&workspace.store, machine.snapshot);
        let installed = installed(&text(&inside, STATUS)?);
        let named = licences_of(&inside, &installed)?;
        packages.extend(installed.iter().map(|it| package(it, &named, lock)));
        for source in source_packages(&installed, lock, |name| named.get(name).cloned().unwrap_or_default()) {
            let known = sources.entry(source.source.clone()).or_insert_with(|| SourceFacts {
                name: source.source.name.clone(),
                version: source.source.version.clone(),
                licences: BTreeSet::new(),
                url: source.url.clone(),
                packages: BTreeSet::new(),
            });
            known.licences.extend(source.licences);
            known.packages.extend(source.packages);
        }
        files.extend(listed_files(workspace, &inside, machine)?);
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (packages, sources) = (packages.into_iter().collect(), sources.into_values().collect());
    Ok(ImageFacts { file, size, sha256, sha512, blake3, packages, sources, files })
}

/// A text file inside, which need not be there: a root file system may have no packages.
fn text(inside: &Inside<'_>, path: &str) -> Result<String> {
    let mut bytes = Vec::new();
    match inside.read(path, &mut bytes) {
        Ok(()) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(InsideError::Missing(_) | InsideError::NotAFile(_) | InsideError::NotADirectory(_)) => {
            Ok(String::new())
        }
        Err(error) => Err(error.into()),
    }
}

fn licences_of(
    inside: &Inside<'_>,
    installed: &[InstalledPackage],
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found = BTreeMap::new();
    for package in installed {
        let copyright = text(inside, &format!("/usr/share/doc/{}/copyright", package.name))?;
        found.insert(package.name.clone(), licences(&copyright));
    }
    Ok(found)
}

fn package(
    installed: &InstalledPackage,
    licences: &BTreeMap<String, BTreeSet<String>>,
    lock: &Lock,
) -> PackageFacts {
    let InstalledPackage { name, version, architecture, source } = installed;
    let is_it = |locked: &LockedDeb| {
        let deb = &locked.deb;
        deb.name.as_str() == name
            && deb.version.as_str() == version
            && deb.architecture.as_str() == architecture
    };
    let locked = lock.debs().map(|(locked, _)| locked).find(|locked| is_it(locked));
    let deb = locked.map(|locked| &locked.deb);
    PackageFacts {
        name: name.clone(),
        version: version.clone(),
        architecture: architecture.clone(),
        source: source.name.clone(),
        source_version: source.version.clone(),
        licences: licences.get(name).cloned().unwrap_or_default(),
        deb: deb.map(|deb| (deb.sha256.hex(), format!("{}/{}", deb.base.canonical_url(), deb.path))),
        is_debians: deb.is_some_and(|deb| deb.base.is_debian()),
    }
}

fn listed_files(
    workspace: &Workspace,
    inside: &Inside<'_>,
    machine: &Machine<'_>,
) -> Result<Vec<ListedFile>> {
    let tree = read_tree(&TreeStore::new(&workspace.store), machine.snapshot).map_err(StageError::from)?;
    let owners = owners(inside, &top_links(&tree))?;
    let prefix = machine.name.map_or_else(String::new, |name| format!("{name}:"));
    let file = |(path, entry): &(Vec<u8>, Entry)| listed_file(&prefix, path, entry, owners.get(path));
    Ok(tree.iter().map(file).collect())
}

fn listed_file(prefix: &str, path: &[u8], entry: &Entry, owner: Option<&String>) -> ListedFile {
    let escaped = ListedFile::escaped;
    let (kind, size, content) = match &entry.kind {
        Kind::Directory(_) => ('d', 0, "-".to_owned()),
        Kind::File { content, size, .. } => ('-', *size, format!("b3:{}", content.hex())),
        Kind::Symlink(target) => ('l', 0, format!("-> {}", escaped(target))),
        Kind::Char(major, minor) => ('c', 0, format!("{major},{minor}")),
        Kind::Block(major, minor) => ('b', 0, format!("{major},{minor}")),
        Kind::Fifo => ('p', 0, "-".to_owned()),
    };
    ListedFile {
        path: format!("{prefix}/{}", escaped(path)),
        mode: format!("{kind}{:04o}", entry.meta.mode),
        owner: format!("{}:{}", entry.meta.uid, entry.meta.gid),
        size,
        content,
        package: owner.cloned(),
    }
}

/// Links of the root directory, as `lib` to `usr/lib`: packages may still name files by them.
fn top_links(tree: &[(Vec<u8>, Entry)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let top = tree.iter().filter(|(path, _)| !path.is_empty() && !path.contains(&b'/'));
    let link = |(path, entry): &(Vec<u8>, Entry)| match &entry.kind {
        Kind::Symlink(target) => Some((path.clone(), target.strip_prefix(b"/").unwrap_or(target).to_vec())),
        _ => None,
    };
    top.filter_map(link).collect()
}

/// The package of each path, as dpkg's lists have it. Paths without a slash in front.
fn owners(inside: &Inside<'_>, links: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<BTreeMap<Vec<u8>, String>> {
    let lists = match inside.list(LISTS) {
        Ok(lists) => lists,
        Err(InsideError::Missing(_) | InsideError::NotADirectory(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut owners: BTreeMap<_, Option<String>> = BTreeMap::new();
    for (name, _) in lists {
        let name = String::from_utf8_lossy(&name).into_owned();
        let Some(package) = name.strip_suffix(".list") else { continue };
        let mut list = Vec::new();
        inside.read(format!("{LISTS}/{name}"), &mut list)?;
        for path in list.split(|byte| *byte == b'\n').filter_map(|path| path.strip_prefix(b"/")) {
            let owner = owners.entry(resolved(path, links)).or_insert_with(|| Some(package.to_owned()));
            // Most directories are of several packages, and so of none.
            if owner.as_deref() != Some(package) {
                *owner = None;
            }
        }
    }
    Ok(owners.into_iter().filter_map(|(path, owner)| Some((path, owner?))).collect())
}

fn resolved(path: &[u8], links: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let (first, rest) = path.split_at(end);
    match links.get(first) {
        Some(target) if !rest.is_empty() => [target.as_slice(), rest].concat(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_through_links_of_the_root_are_the_files_own() {
        let links = BTreeMap::from([(b"lib".to_vec(), b"usr/lib".to_vec())]);
        assert_eq!(resolved(b"lib/x/y", &links), b"usr/lib/x/y");
        assert_eq!(resolved(b"lib", &links), b"lib");
        assert_eq!(resolved(b"library/x", &links), b"library/x");
    }
}
