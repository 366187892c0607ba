//! GNU tar as the independent reader: what it unpacks, this unpacks, of generated trees in all of its formats.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Lab;

/// What counts of a file: its kind and mode, its time if it is no directory, its content or target, its first name.
type Seen = (u32, i64, Vec<u8>, PathBuf);

fn seen(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut found, mut open, mut inodes) = (BTreeMap::new(), vec![PathBuf::new()], BTreeMap::new());
    while let Some(dir) = open.pop() {
        let entries = fs::read_dir(root.join(&dir)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| dir.join(name)).collect();
        names.sort();
        for name in names {
            let (path, meta) = (root.join(&name), fs::symlink_metadata(root.join(&name)).unwrap());
            let content = match meta.file_type() {
                kind if kind.is_dir() => Vec::new(),
                kind if kind.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                }
                _ => fs::read(&path).unwrap(),
            };
            if meta.is_dir() {
                open.push(name.clone());
            }
            let time = if meta.is_dir() { 0 } else { meta.mtime() };
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
            let first = if meta.nlink() > 1 && !meta.is_dir() { first } else { name.clone() };
            found.insert(name, (meta.mode(), time, content, first));
        }
    }
    // The first name of an inode depends on the order of the walk only if it was met in another directory.
    found
}

/// A tree of every kind of file that archives have.
fn generate(root: &Path, rng: &mut fastrand::Rng) {
    let mut dirs = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..rng.usize(5..25) {
        let dir = dirs[rng.usize(..dirs.len())].clone();
        let stem = if rng.u8(..4) == 0 { "long-".repeat(rng.usize(20..45)) } else { "n".to_owned() };
        let path = dir.join(format!("{stem}{number}"));
        match rng.u8(..7) {
            0 | 1 if path.as_os_str().len() < 1500 => {
                fs::create_dir(&path).unwrap();
                dirs.push(path);
                continue;
            }
            2 => {
                symlink("t".repeat(rng.usize(1..200)), &path).unwrap();
                continue;
            }
            3 if !files.is_empty() => fs::hard_link(&files[rng.usize(..files.len())], &path).unwrap(),
            4 => {
                let file = File::create(&path).unwrap();
                file.set_len(rng.u64(1..2_000_000)).unwrap();
                file.write_all_at(b"in the middle", rng.u64(..1_900_000)).unwrap();
            }
            _ => {
                let size = [0, 1, 511, 512, 513, 70_000, 65_536][rng.usize(..7)];
                fs::write(&path, (0..size).map(|_| rng.u8(..)).collect::<Vec<_>>()).unwrap();
            }
        }
        let mode = [0o644, 0o755, 0o600, 0o777, 0o444][rng.usize(..5)];
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(rng.u64(..1_900_000_000));
        File::open(&path).unwrap().set_modified(time).unwrap();
        files.push(path);
    }
    for dir in &dirs[1..] {
        fs::set_permissions(dir, fs::Permissions::from_mode([0o755, 0o700, 0o775][rng.usize(..3)])).unwrap();
    }
}

fn tar(arguments: &[&str]) -> bool {
    let ended = Command::new("tar").args(arguments).output().expect("install `tar`");
    ended.status.success()
}

#[test]
fn generated_trees_are_unpacked_as_tar_does() {
    let mut rng = fastrand::Rng::with_seed(1971);
    let (mut compared, mut refused) = (0, 0);
    for round in 0..20 {
        let lab = Lab::new();
        let tree = tempfile::tempdir().unwrap();
        generate(tree.path(), &mut rng);
        for format in ["gnu", "pax", "ustar", "oldgnu", "v7"] {
            let (scratch, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let archive = scratch.path().join("archive");
            let (archive, from) = (archive.to_str().unwrap(), tree.path().to_str().unwrap());
            let form = ["--gzip", "--xz", "--zstd", "--no-auto-compress"][rng.usize(..4)];
            let mut arguments = vec!["-c", "-f", archive, "-C", from, form, "--sort=name"];
            let sparse = rng.bool() && format != "pax";
            arguments.extend(sparse.then_some("--sparse"));
            let format = format!("--format={format}");
            arguments.extend([format.as_str(), "."]);
            if !tar(&arguments) {
                // Old formats have no long names.
                refused += 1;
                continue;
            }
            let into = theirs.path().to_str().unwrap();
            assert!(tar(&["-x", "-p", "--no-same-owner", "-f", archive, "-C", into]), "{arguments:?}");
            fs::remove_dir_all(lab.to("")).unwrap();
            fs::create_dir(lab.to("")).unwrap();
            lab.unpack(&fs::read(archive).unwrap()).unwrap_or_else(|e| panic!("{round} {arguments:?}: {e}"));
            assert_eq!(seen(&lab.to("")), seen(theirs.path()), "{round} {arguments:?}");
            compared += 1;
        }
    }
    assert!(compared > 50 && refused > 2, "{compared} compared, {refused} refused by tar");
}
