//! Images of every format: one that takes over parts of earlier files is the one of a clean build, and a full disk harms none.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::chance;
use crate::edits::Draft;
use crate::lab::{Lab, copy_tree, events, finished};
use crate::mounts::{MemoryDisk, fill, keep_to_ourselves};

const FORMATS: [&str; 8] = [
    "main.ova",
    "main.vmdk",
    "main.qcow2",
    "main.vdi",
    "main.raw",
    "main.raw.zst",
    "main.rootfs.tar.zst",
    "main.oci",
];

/// How much of an image had to be made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Work {
    grains: u64,
    compressed: u64,
    boot_loaders: usize,
}

/// Builds all formats. Tells their digests, which those of the files in `out` have to be, and what was to do.
fn build_all(lab: &Lab, env: &[(&str, &str)]) -> (BTreeMap<String, String>, Work) {
    let mut command = lab.ibuild(&["build", "--json", "--target"]);
    let output = command.args(FORMATS).envs(env.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events = events(&String::from_utf8(output.stdout).unwrap());
    let of = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    let number = |name: &str| of("packed").map(|event| event[name].as_u64().unwrap()).sum();
    let work = Work {
        grains: number("grains"),
        compressed: number("compressed"),
        boot_loaders: of("boot-loader").filter(|event| event["outcome"] == "made").count(),
    };
    let digest = |target: &str| {
        let bytes = fs::read(lab.path("project/out").join(target)).unwrap();
        blake3::hash(&bytes).to_hex().to_string()
    };
    let made: BTreeMap<String, String> =
        FORMATS.iter().map(|target| ((*target).to_owned(), digest(target))).collect();
    let said = of("built").map(|event| event["blake3"].as_str().unwrap().to_owned());
    assert_eq!(said.count(), FORMATS.len());
    assert!(of("built").all(|event| made.values().any(|digest| event["blake3"] == digest.as_str())));
    (made, work)
}

#[test]
fn images_made_with_earlier_ones_are_those_of_a_clean_build() {
    let (seeded, mut rng) = (Lab::new(), chance::rng());
    for sequence in 0..chance::rounds(2, 20) {
        let (mut lab, mut project) = (Lab::new(), Draft::by_chance(&mut rng));
        let mut last = BTreeMap::new();
        for round in 0..chance::rounds(3, 10) {
            for _ in 0..rng.usize(1..3) {
                project.edit(&mut rng);
            }
            project.write(&lab);
            let (images, work) = build_all(&lab, &[]);
            // GRUB comes from the lowest layer, which nothing edits.
            assert_eq!(work.boot_loaders, usize::from(round == 0), "{work:?}");
            assert!(round == 0 || work.compressed * 4 <= work.grains, "{work:?}");
            last = images;
        }
        let clean = lab.path("clean");
        copy_tree(seeded.store_dir(), &clean);
        lab.use_store(&clean);
        lab.clean();
        assert_eq!(build_all(&lab, &[]).0, last, "in sequence {sequence}");
    }
}

#[test]
fn the_number_of_threads_and_the_directory_do_not_show() {
    let built = ["1", "2", "7"].map(|threads| build_all(&Lab::new(), &[("RAYON_NUM_THREADS", threads)]).0);
    assert_eq!(built[0], built[1]);
    assert_eq!(built[0], built[2]);
}

/// Builds an OVA, and tells its digest and what ran.
fn build_ova(lab: &Lab) -> (String, Vec<String>) {
    let said = lab.run(&["build", "--target", "main.ova", "--json"]).succeeds();
    let events = events(&said);
    let built = events.iter().find(|event| event["event"] == "built").unwrap();
    let digest = built["blake3"].as_str().unwrap().to_owned();
    assert_eq!(blake3::hash(&fs::read(ova(lab)).unwrap()).to_hex().as_str(), digest, "wrong bytes in `out`");
    (digest, finished(&events, "ran"))
}

/// What it is made of: a list, and packs.
fn parts_of_ova(lab: &Lab) -> Vec<PathBuf> {
    let shown = lab.run(&["cache", "show", "main.ova", "--json"]).succeeds();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let blobs = shown["blobs"].as_array().unwrap().iter().map(|blob| blob.as_str().unwrap());
    blobs.map(|blob| lab.store_dir().join("blobs").join(&blob[..2]).join(&blob[2..])).collect()
}

fn ova(lab: &Lab) -> PathBuf {
    lab.path("project/out/main.ova")
}

/// A project that makes every format.
fn lab_of_images(rng: &mut fastrand::Rng) -> Lab {
    let lab = Lab::new();
    Draft::by_chance(rng).write(&lab);
    lab
}

/// What an image is made of is in the store alone; what is wrong there is found when it is used, and made again.
#[test]
fn damaged_parts_of_an_image_are_made_again() {
    let mut rng = chance::rng();
    let lab = lab_of_images(&mut rng);
    let clean = build_ova(&lab).0;
    assert_eq!(parts_of_ova(&lab).len(), 2, "a list and a pack");
    for (part, is_edited) in [(0, false), (0, true), (1, false), (1, true)] {
        let path = parts_of_ova(&lab).swap_remove(part);
        let mut bytes = fs::read(&path).unwrap();
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        lab.clean();
        if is_edited {
            lab.write("files/etc/new", "new\n");
            build_ova(&lab);
            fs::remove_file(lab.path("project/files/etc/new")).unwrap();
            lab.clean();
        }
        let (digest, ran) = build_ova(&lab);
        assert_eq!(digest, clean);
        assert!(is_edited || ran == ["main.ova"], "{ran:?}");
        // The edited one may have lost a part, too, and nobody has asked for it again.
        lab.run(&["cache", "fsck"]);
        lab.assert_sound();
    }
}

/// What is unpacked is believed until it is read. A file that is not what it was is told then, and `cache fsck` mends it.
#[test]
fn an_unpacked_layer_that_was_changed_is_told_and_mended() {
    let lab = lab_of_images(&mut chance::rng());
    let clean = build_ova(&lab).0;
    for damage in [b"other".as_slice(), b""] {
        // Whenever nothing is known of the grains, every file is unpacked and read.
        let forget = || parts_of_ova(&lab).iter().for_each(|path| fs::remove_file(path).unwrap());
        forget();
        lab.clean();
        build_ova(&lab);
        forget();
        lab.clean();
        let busybox = large_file(&lab.store_dir().join("layers")).expect("the bootstrap's own is unpacked");
        let bytes = [damage, &fs::read(&busybox).unwrap()[damage.len()..]].concat();
        fs::write(&busybox, &bytes[..bytes.len() - usize::from(damage.is_empty())]).unwrap();
        let failed = lab.run(&["build", "--target", "main.ova"]);
        assert!(failed.status != 0 && failed.stderr.contains("hint: "), "{}", failed.stderr);
        assert!(failed.stderr.contains("ibuild cache fsck"), "{}", failed.stderr);
        lab.run(&["cache", "fsck"]);
        assert_eq!(build_ova(&lab).0, clean);
        lab.assert_sound();
    }
}

/// A file below a directory that is as large as busybox.
fn large_file(dir: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.find_map(|entry| match entry.metadata().unwrap() {
        meta if meta.is_dir() => large_file(&entry.path()),
        meta => (meta.is_file() && meta.len() > 500_000).then(|| entry.path()),
    })
}

#[test]
fn an_image_that_is_not_there_is_made_of_its_parts() {
    let lab = lab_of_images(&mut chance::rng());
    let clean = build_ova(&lab).0;
    lab.clean();
    assert_eq!(build_ova(&lab), (clean, Vec::new()));
}

/// Two files take turns, unless somebody else has the one whose turn it is.
#[test]
fn nobody_loses_an_image_that_was_replaced() {
    let lab = lab_of_images(&mut chance::rng());
    let edit = |round: u32| {
        lab.write("files/etc/round", &format!("{round}\n"));
        build_ova(&lab);
        fs::metadata(ova(&lab)).unwrap().ino()
    };
    let (first, second) = (edit(1), edit(2));
    assert_eq!((edit(3), edit(4)), (first, second));
    let (reader, read) = (fs::File::open(ova(&lab)).unwrap(), fs::read(ova(&lab)).unwrap());
    assert_eq!(edit(5), first);
    fs::hard_link(ova(&lab), lab.path("kept.ova")).unwrap();
    let kept = fs::read(lab.path("kept.ova")).unwrap();
    assert_ne!(edit(6), second, "somebody reads it");
    assert_ne!(edit(7), first, "it has another name");
    assert!(read == bytes_of(reader) && kept == fs::read(lab.path("kept.ova")).unwrap());
}

/// The first edit has something to write over, and it does not matter what became of that.
#[test]
fn an_image_that_is_made_for_the_first_time_has_a_spare_file() {
    for damage in [b"".as_slice(), b"damage"] {
        let lab = lab_of_images(&mut chance::rng());
        build_ova(&lab);
        let spares = fs::read_dir(lab.store_dir().join("spares")).unwrap();
        let spares: Vec<PathBuf> = spares.map(|entry| entry.unwrap().path()).collect();
        let [spare] = &spares[..] else { panic!("{spares:?}") };
        let mut bytes = fs::read(spare).unwrap();
        assert!(bytes == fs::read(ova(&lab)).unwrap());
        let middle = bytes.len() / 2;
        bytes[middle..middle + damage.len()].copy_from_slice(damage);
        fs::write(spare, bytes).unwrap();
        let inode = fs::metadata(spare).unwrap().ino();
        lab.write("files/etc/round", "1\n");
        let edited = build_ova(&lab).0;
        assert_eq!(fs::metadata(ova(&lab)).unwrap().ino(), inode, "it was not written over");
        parts_of_ova(&lab).iter().for_each(|path| fs::remove_file(path).unwrap());
        lab.clean();
        assert_eq!(build_ova(&lab).0, edited, "made from nothing");
    }
}

/// What an edit had made is wanted again: the two files go on taking turns, and it does not matter what became of the other one.
#[test]
fn an_earlier_image_comes_back_over_the_spare_file() {
    for damage in [b"".as_slice(), b"damage"] {
        let lab = lab_of_images(&mut chance::rng());
        let edit = |round: u32| {
            lab.write("files/etc/round", &format!("{round}\n"));
            let (digest, ran) = build_ova(&lab);
            (digest, ran, fs::metadata(ova(&lab)).unwrap().ino())
        };
        let ((first, _, first_file), (_, _, second_file)) = (edit(1), edit(2));
        let spares = fs::read_dir(lab.store_dir().join("spares")).unwrap();
        let spare = spares.last().unwrap().unwrap().path();
        let mut bytes = fs::read(&spare).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + damage.len()].copy_from_slice(damage);
        fs::write(&spare, bytes).unwrap();
        assert_eq!(edit(1), (first, Vec::new(), first_file));
        assert_eq!(edit(3).2, second_file);
    }
}

fn bytes_of(mut file: fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_image_goes_to_another_file_system() {
    keep_to_ourselves();
    let lab = lab_of_images(&mut chance::rng());
    let disk = MemoryDisk::new(lab.path("elsewhere"), "size=64M");
    let dir = disk.dir.to_str().unwrap();
    for round in 0..3 {
        lab.write("files/etc/round", &format!("{round}\n"));
        lab.run(&["build", "--target", "main.ova", "--output", dir]).succeeds();
        let there = fs::read(disk.dir.join("main.ova")).unwrap();
        build_ova(&lab);
        assert!(there == fs::read(ova(&lab)).unwrap());
        assert_eq!(outputs(&disk.dir).len(), 2);
    }
}

/// The image with its manifest; nothing else may be in `dir` but what the test has put there.
fn outputs(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name() != "ballast");
    let mut files: Vec<_> = files
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn outputs_of_every_format_outlive_a_full_disk() {
    keep_to_ourselves();
    let lab = Lab::new();
    let disk = MemoryDisk::new(lab.path("outputs"), "size=64M");
    let (dir, ballast) = (disk.dir.to_str().unwrap().to_owned(), disk.dir.join("ballast"));
    for (round, target) in FORMATS.iter().enumerate() {
        let build = || lab.run(&["build", "--target", target, "--output", &dir]);
        build().succeeds();
        let before = outputs(&disk.dir);
        assert_eq!(before.len(), 2, "{target}");
        fill(&ballast);
        lab.write("files/etc/a", &format!("round {round}\n"));
        build().fails_outside(&["hint: make room", &dir]);
        assert!(outputs(&disk.dir) == before, "{target} has changed");
        fs::remove_file(&ballast).unwrap();
        build().succeeds();
        assert!(outputs(&disk.dir) != before, "{target} has not changed");
        before.iter().for_each(|(name, _)| fs::remove_file(disk.dir.join(name)).unwrap());
    }
}

/// The stages are there, and there is no room for the image that is made of them.
#[test]
fn no_format_is_half_made_when_the_store_gets_full() {
    keep_to_ourselves();
    let mut lab = Lab::new();
    let disk = MemoryDisk::new(lab.path("disk"), "size=256M");
    let (store, ballast) = (disk.dir.join("store"), disk.dir.join("ballast"));
    copy_tree(lab.store_dir(), &store);
    lab.use_store(&store);
    lab.run(&["build", "--until", "main"]).succeeds();
    for target in FORMATS {
        let file = lab.path("project/out").join(target);
        fill(&ballast);
        let length = fs::metadata(&ballast).unwrap().len();
        // Enough to begin with.
        fs::File::options().write(true).open(&ballast).unwrap().set_len(length - (512 << 10)).unwrap();
        lab.run(&["build", "--target", target]).fails_outside(&["hint: ", "ibuild cache gc"]);
        assert!(!file.exists(), "{target} is half made");
        fs::remove_file(&ballast).unwrap();
        lab.run(&["build", "--target", target]).succeeds();
        assert!(file.exists());
        assert_eq!(fs::read_dir(store.join("runs")).unwrap().count(), 0, "{target} left its scratch files");
    }
    lab.assert_sound();
}
