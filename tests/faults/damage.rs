//! Bits that rot, files that are cut off or gone.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::chance;
use crate::lab::{Built, Lab, TARGET, copy_tree};

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Flip,
    Cut,
    Empty,
    Remove,
}

const DAMAGES: [Damage; 4] = [Damage::Flip, Damage::Cut, Damage::Empty, Damage::Remove];

impl Damage {
    fn happens_to(self, file: &Path, rng: &mut Rng) {
        let mut bytes = fs::read(file).unwrap();
        let at = rng.usize(..bytes.len().max(1));
        match self {
            Self::Remove => return fs::remove_file(file).unwrap(),
            Self::Flip if !bytes.is_empty() => bytes[at] ^= 1 << rng.u8(..8),
            Self::Cut => bytes.truncate(at),
            Self::Flip | Self::Empty => bytes.clear(),
        }
        fs::write(file, bytes).unwrap();
    }
}

/// A store in which all is built, and a lab that works on copies of it.
struct Ward {
    whole: Lab,
    clean: Built,
    lab: Lab,
}

impl Ward {
    fn new() -> Self {
        let (whole, lab) = (Lab::new(), Lab::new());
        let clean = whole.build();
        Self { whole, clean, lab }
    }

    /// A fresh copy of the store, and nothing in `out`.
    fn admit(&mut self) -> &Lab {
        let store = self.lab.path("store");
        fs::remove_dir_all(&store).unwrap();
        copy_tree(self.whole.store_dir(), &store);
        self.lab.clean();
        &self.lab
    }

    /// Files below a directory of the store, by their paths in it.
    fn files(&self, dir: &str) -> Vec<PathBuf> {
        let (mut files, mut open) = (Vec::new(), vec![self.whole.store_dir().join(dir)]);
        while let Some(path) = open.pop() {
            match path.is_dir() {
                true => open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
                false => files.push(path.strip_prefix(self.whole.store_dir()).unwrap().to_owned()),
            }
        }
        files.sort();
        files
    }

    /// The tarball of the layer that cannot be made again here.
    fn bottom(&self) -> PathBuf {
        let shown = self.whole.run(&["cache", "show", "base", "--json"]).succeeds();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let blob = shown["layers"][0]["blob"].as_str().unwrap();
        PathBuf::from(format!("blobs/{}/{}", &blob[..2], &blob[2..]))
    }
}

fn forget_unpacked(lab: &Lab) {
    for start in fs::read_dir(lab.store_dir().join("layers")).unwrap() {
        let start = start.unwrap().path();
        fs::remove_dir_all(&start).unwrap();
    }
}

#[test]
fn damaged_blobs_are_made_again_or_said_to_be_gone() {
    let (mut ward, mut rng) = (Ward::new(), chance::rng());
    let (blobs, bottom) = (ward.files("blobs"), ward.bottom());
    assert!(blobs.len() > 8 && blobs.contains(&bottom), "{blobs:?}");
    let pairs = |blob: &PathBuf| DAMAGES.map(|damage| (blob.clone(), damage));
    let mut cases: Vec<_> = blobs.iter().flat_map(pairs).collect();
    rng.shuffle(&mut cases);
    cases.truncate(chance::rounds(8, usize::MAX));
    for (blob, damage) in cases {
        eprintln!("{damage:?} {}", blob.display());
        let clean = ward.clean.clone();
        let lab = ward.admit();
        damage.happens_to(&lab.store_dir().join(&blob), &mut rng);
        if rng.bool() {
            forget_unpacked(lab);
        }
        if rng.bool() {
            assert_found(lab, damage, ["verify", "fsck"][rng.usize(..2)]);
        }
        let built = lab.try_build();
        if built.status != 0 {
            assert_eq!(blob, bottom, "{}", built.stderr);
            built.fails_outside(&["base/bootstrap"]);
            lab.seed();
        } else {
            built.built(&lab.artifact()).assert_same(&clean);
        }
        lab.clean();
        lab.build().assert_same(&clean);
        // A flipped bit that nobody has read yet is found by who looks for it.
        lab.run(&["cache", "fsck"]);
        lab.assert_sound();
    }
}

#[track_caller]
fn assert_found(lab: &Lab, damage: Damage, command: &str) {
    let checked = lab.run(&["cache", command]);
    let is_seen = command == "fsck" || damage != Damage::Remove;
    assert_eq!(checked.status, i32::from(is_seen), "{command}: {}{}", checked.stdout, checked.stderr);
}

/// Each stage runs over layers that are unpacked anew, of which one does not have its digest any more.
#[test]
fn a_damaged_layer_heals_within_the_build_that_needs_it() {
    let (mut ward, mut rng) = (Ward::new(), chance::rng());
    let bottom = ward.bottom();
    let mut blobs: Vec<_> = ward.files("blobs").into_iter().filter(|blob| *blob != bottom).collect();
    rng.shuffle(&mut blobs);
    blobs.truncate(chance::rounds(3, usize::MAX));
    for blob in blobs {
        let clean = ward.clean.clone();
        let lab = ward.admit();
        forget_unpacked(lab);
        Damage::Flip.happens_to(&lab.store_dir().join(&blob), &mut rng);
        lab.edit("scripts/20-change", "changed", "changed again");
        let other = lab.build();
        assert_ne!(other.digest, clean.digest);
        lab.edit("scripts/20-change", "changed again", "changed");
        lab.clean();
        lab.build().assert_same(&clean);
    }
}

#[test]
fn missing_unpacked_layers_are_unpacked_again() {
    let mut ward = Ward::new();
    let clean = ward.clean.clone();
    let lab = ward.admit();
    forget_unpacked(lab);
    let built = lab.run(&["build", "--target", TARGET, "--json", "--from", "main/files"]);
    built.built(&lab.artifact()).assert_same(&clean);
}

#[test]
fn a_damaged_index_is_said_to_be_so_and_put_right() {
    let (mut ward, mut rng) = (Ward::new(), chance::rng());
    let pairs = |file: &PathBuf| DAMAGES.map(|damage| (file.clone(), damage));
    let mut cases: Vec<_> = ward.files("index").iter().flat_map(pairs).collect();
    rng.shuffle(&mut cases);
    cases.truncate(chance::rounds(10, usize::MAX));
    let mut broken = 0;
    for (file, damage) in cases {
        eprintln!("{damage:?} {}", file.display());
        let clean = ward.clean.clone();
        let lab = ward.admit();
        damage.happens_to(&lab.store_dir().join(&file), &mut rng);
        let built = lab.try_build();
        if built.status == 0 {
            built.built(&lab.artifact()).assert_same(&clean);
        } else {
            broken += 1;
            built.fails_outside(&["index", "hint: `ibuild cache fsck`"]);
        }
        lab.run(&["cache", "fsck"]);
        lab.assert_sound();
        lab.clean();
        let again = lab.build();
        again.assert_same(&clean);
        assert_eq!(again.ran, [] as [&str; 0], "lost with the index");
    }
    assert!(broken > 0, "nothing was damaged that mattered");
}

#[test]
fn a_deleted_index_is_made_again_from_the_results() {
    let mut ward = Ward::new();
    let clean = ward.clean.clone();
    let lab = ward.admit();
    fs::remove_dir_all(lab.store_dir().join("index")).unwrap();
    let built = lab.try_build();
    assert!(built.stdout.contains("the index was lost"), "{}", built.stdout);
    let built = built.built(&lab.artifact());
    built.assert_same(&clean);
    assert_eq!(built.ran, [] as [&str; 0]);
    lab.assert_sound();
}

#[test]
fn of_a_deleted_index_only_what_has_no_whole_file_is_lost() {
    let (mut ward, mut rng) = (Ward::new(), chance::rng());
    let last = ward.whole.run(&["cache", "show", "main/last", "--json"]).succeeds();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let key = last["key"].as_str().unwrap().to_owned();
    let clean = ward.clean.clone();
    for damage in DAMAGES {
        let lab = ward.admit();
        fs::remove_dir_all(lab.store_dir().join("index")).unwrap();
        let file = lab.store_dir().join("results").join(&key[..2]).join(&key[2..]);
        damage.happens_to(&file, &mut rng);
        let built = lab.build();
        built.assert_same(&clean);
        assert_eq!(built.ran, ["main/last"], "{damage:?}");
    }
}
