//! Forms of archives, and what is left of names.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tar::{EntryType, Header};

use super::{Lab, Written, gzip, small};

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    liblzma::read::XzEncoder::new(plain, 6).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_form_is_told_by_its_content() {
    let halves = small();
    let (first, second) = halves.split_at(700);
    let zstd = |plain: &[u8]| zstd::encode_all(plain, 3).unwrap();
    let several = [gzip(first), gzip(second)].concat();
    for archive in [small(), gzip(&small()), xz(&small()), zstd(&small()), several] {
        let lab = Lab::new();
        lab.unpack(&archive).unwrap();
        assert_eq!(fs::read(lab.to("top/file")).unwrap(), b"hello");
    }
}

#[test]
fn what_is_no_tar_archive_is_called_what_it_is() {
    let check = |bytes: &[u8], expected: &str| {
        let refusal = Lab::new().refusal(bytes);
        assert!(refusal.contains(expected), "{refusal}");
    };
    check(b"PK\x03\x04 and so on", "it is a zip file, and not a tar archive");
    check(b"BZh91AY", "compressed by bzip2");
    check(b"!<arch>\ndebian-binary", "a Debian package");
    check(b" <!DOCTYPE html><html>404", "a web page");
    check(b"", "an empty file");
    check(b"hello", "a file of another kind");
    check(&gzip(b"hello"), "a compressed file of another kind");
    check(&gzip(b""), "the archive is empty");
    check(&vec![0; 10240], "a file of zeros");
    check(&gzip(&[0; 10240]), "the archive is empty");
}

/// Cut at any place, an archive is refused or has all of its files: the end of an archive may be missing.
#[test]
fn damage_is_found() {
    for archive in [gzip(&small()), xz(&small()), small()] {
        for length in (0..archive.len()).step_by(3) {
            let lab = Lab::new();
            if lab.unpack(&archive[..length]).is_ok() {
                assert_eq!(fs::read(lab.to("top/file")).unwrap(), b"hello", "{length}");
            }
        }
    }
    let mut rng = fastrand::Rng::with_seed(24);
    for _ in 0..1000 {
        let mut archive = [small(), gzip(&small()), xz(&small())][rng.usize(..3)].clone();
        let at = rng.usize(..archive.len());
        archive[at] ^= 1 << rng.u8(..8);
        // No panic, and nothing beside: what it says is in the hands of chance.
        let _ = Lab::new().unpack(&archive);
    }
}

#[test]
fn directories_in_front_are_left_out() {
    let archive = Written::default()
        .directory("a/")
        .file("a/b/file", "1")
        .file("a/short", "2")
        .hard_link("a/b/other", "a/b/file")
        .symlink("a/b/link", "../b/file")
        .end();
    let lab = Lab::strip(2);
    lab.unpack(&archive).unwrap();
    assert_eq!(fs::read(lab.to("file")).unwrap(), b"1");
    assert_eq!(fs::metadata(lab.to("other")).unwrap().nlink(), 2);
    assert_eq!(fs::read_link(lab.to("link")).unwrap().to_str(), Some("../b/file"));
    assert_eq!(fs::read_dir(lab.to("")).unwrap().count(), 3);
    assert!(Lab::strip(3).refusal(&archive).contains("`strip = 3` leaves nothing of it"));
    // A link whose target is left out has none.
    let archive = Written::default().file("file", "1").hard_link("a/other", "file").end();
    assert!(Lab::strip(1).refusal(&archive).contains("hard link to `file`"));
}

#[test]
fn what_was_there_keeps_its_looks_and_what_comes_later_wins() {
    let lab = Lab::new();
    fs::create_dir(lab.to("kept")).unwrap();
    fs::set_permissions(lab.to("kept"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(lab.to("usr")).unwrap();
    symlink("usr", lab.to("lib")).unwrap();
    fs::write(lab.to("file"), "old").unwrap();
    let archive = Written::default()
        .directory("kept/")
        .directory("lib/")
        .file("lib/inside", "1")
        .file("file", "first")
        .file("file", "second")
        .file("new/implied", "2")
        .directory("new/")
        .symlink("link", "nowhere")
        .directory("link/")
        .file("link/inside", "3")
        .file("kept/self", "4")
        .hard_link("kept/self", "kept/self")
        .end();
    lab.unpack(&archive).unwrap();
    let mode = |path: &str| fs::metadata(lab.to(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("kept"), mode("new"), mode("link")), (0o700, 0o644, 0o644));
    assert_eq!(fs::read(lab.to("usr/inside")).unwrap(), b"1");
    assert_eq!(fs::read(lab.to("file")).unwrap(), b"second");
    assert_eq!(fs::read(lab.to("kept/self")).unwrap(), b"4");
    assert!(fs::symlink_metadata(lab.to("link")).unwrap().is_dir());
}

#[test]
fn only_permissions_and_times_are_taken() {
    let mut header = Header::new_gnu();
    header.set_path("suid").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o6755);
    header.set_uid(4711);
    header.set_mtime(3_000_000_000);
    header.set_size(0);
    header.set_cksum();
    let lab = Lab::new();
    lab.unpack(&Written::default().raw(&header, b"").file("file", "x").end()).unwrap();
    let meta = fs::metadata(lab.to("suid")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o755, lab.rules.uid, 2_000_000_000));
    assert_eq!(fs::metadata(lab.to("file")).unwrap().mtime(), 1_000_000_000);
}
