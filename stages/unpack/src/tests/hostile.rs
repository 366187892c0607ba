//! Archives that are made to do harm.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

use tar::{EntryType, Header};

use super::{Lab, Written, gzip};
use crate::{Limits, UnpackError};

#[test]
fn names_that_lead_out() {
    let check = |name: &str, expected: &str| {
        for kind in [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link] {
            let archive =
                Written::default().file("file", "x").member(kind, name.as_bytes(), b"file", b"").end();
            let refusal = Lab::new().refusal(&archive);
            assert!(refusal.contains(expected), "{kind:?} {name}: {refusal}");
        }
    };
    check("../beside/new", "its name contains `..`");
    check("a/../../beside/new", "its name contains `..`");
    check("a/..", "its name contains `..`");
    check("..", "its name contains `..`");
    check("/beside/new", "its name is an absolute path");
    check("//etc/passwd", "its name is an absolute path");
    let long = format!("{}../../beside/new", "a/".repeat(100));
    check(&long, "its name contains `..`");
    let nul = Written::default().member(EntryType::GNULongName, b"x", b"", b"a\0b").file("x", "").end();
    assert!(Lab::new().refusal(&nul).contains("contains a NUL"));
}

#[test]
fn links_that_lead_out_are_not_followed() {
    let lab = Lab::new();
    let beside = lab.root.path().join("beside");
    let beside = beside.to_str().unwrap();
    for target in ["../beside", beside, "/", "..", "sub/../../beside"] {
        for inner in ["link/secret", "link/new", "link/new/deeper"] {
            let archive = || Written::default().directory("sub/").symlink("link", target);
            for archive in [
                archive().file(inner, "overwritten").end(),
                archive().directory(&format!("{inner}/")).end(),
                archive().symlink(inner, "x").end(),
                archive().file("file", "x").hard_link(inner, "file").end(),
            ] {
                let refusal = Lab::new().refusal(&archive);
                assert!(refusal.contains("leads out"), "{target} {inner}: {refusal}");
            }
        }
        // The link itself is a file like another one, and a file of its name takes its place.
        let lab = Lab::new();
        lab.unpack(&Written::default().symlink("link", target).end()).unwrap();
        assert_eq!(fs::read_link(lab.to("link")).unwrap().to_str(), Some(target));
        lab.unpack(&Written::default().file("link", "a file now").end()).unwrap();
        assert_eq!(fs::read(lab.to("link")).unwrap(), b"a file now");
    }
    // Links in a chain, each of which stays inside.
    let chain =
        Written::default().directory("a/").directory("a/b/").symlink("x", "a/b").symlink("y", "x/../..");
    let refusal =
        Lab::new().refusal(&chain.symlink("z", "y/../beside").file("z/secret", "overwritten").end());
    assert!(refusal.contains("leads out"), "{refusal}");
    let circle = Written::default().symlink("a", "b").symlink("b", "a").file("a/file", "x").end();
    assert!(Lab::new().refusal(&circle).contains("leads out"));
}

/// The image may have such links before the archive comes.
#[test]
fn links_of_the_image_that_lead_out_are_not_followed() {
    for target in ["../beside", "/"] {
        let lab = Lab::new();
        symlink(target, lab.to("link")).unwrap();
        for archive in
            [Written::default().file("link/secret", "x").end(), Written::default().directory("link/").end()]
        {
            assert!(lab.refusal(&archive).contains("leads out"), "{target}");
        }
    }
}

#[test]
fn hard_links_to_what_the_archive_has_not() {
    let lab = Lab::new();
    fs::write(lab.to("of-image"), "root:x:0:0").unwrap();
    fs::create_dir(lab.to("dir")).unwrap();
    let beside = lab.root.path().join("beside/secret");
    for target in [beside.to_str().unwrap(), "../beside/secret", "of-image", "later", "dir", "", "."] {
        let archive = Written::default().hard_link("stolen", target).file("later", "x").end();
        let refusal = lab.refusal(&archive);
        assert!(refusal.contains("which the archive does not have before it"), "{target}: {refusal}");
        assert!(fs::symlink_metadata(lab.to("stolen")).is_err());
    }
    // Through a link that leads out.
    let archive = Written::default().symlink("out", "../beside").hard_link("stolen", "out/secret").end();
    assert!(lab.refusal(&archive).contains("leads out"));
    // A link to a link is one more name of the link, which leads nowhere by itself.
    let lab = Lab::new();
    let archive = Written::default().symlink("out", "../beside/secret").hard_link("b", "out").end();
    lab.unpack(&archive).unwrap();
    assert!(fs::symlink_metadata(lab.to("b")).unwrap().is_symlink());
    let refusal = lab.refusal(&Written::default().file("b/file", "x").end());
    assert!(refusal.contains("leads out"), "{refusal}");
}

#[test]
fn kinds_that_are_no_files() {
    for (kind, name) in [
        (EntryType::Char, "a device node"),
        (EntryType::Block, "a device node"),
        (EntryType::Fifo, "a named pipe"),
        (EntryType::new(b'V'), "of an unknown type"),
        (EntryType::new(b'M'), "of an unknown type"),
    ] {
        let refusal = Lab::new().refusal(&Written::default().member(kind, b"null", b"", b"").end());
        assert_eq!(refusal, format!("member `null`: it is {name}"));
    }
}

#[test]
fn names_that_no_file_system_takes() {
    let long = "x".repeat(300);
    let refusal = Lab::new().refusal(&Written::default().file(&long, "").end());
    assert!(refusal.contains("File name too long") && refusal.len() < 250, "{refusal}");
    let deep = "x/".repeat(4000);
    let refusal = Lab::new().refusal(&Written::default().file(&format!("{deep}file"), "").end());
    assert!(refusal.contains("File name too long"), "{refusal}");
    let refusal = Lab::new().refusal(&Written::default().file("../\u{1b}[2Jred", "").end());
    assert!(!refusal.contains('\u{1b}'), "{refusal}");
    let bytes = b"\xff\xfe/caf\xe9";
    let lab = Lab::new();
    lab.unpack(&Written::default().member(EntryType::Regular, bytes, b"", b"x").end()).unwrap();
    assert_eq!(fs::read(lab.to("").join(std::ffi::OsStr::from_bytes(bytes))).unwrap(), b"x");
}

#[test]
fn files_and_directories_in_the_way_of_each_other() {
    let refusal = Lab::new().refusal(&Written::default().file("a", "x").file("a/b", "x").end());
    assert_eq!(refusal, "member `a/b`: there is a file in its way");
    let refusal = Lab::new().refusal(&Written::default().file("a/b", "x").file("a", "x").end());
    assert_eq!(refusal, "member `a`: there is a directory with something in it in its way");
}

/// A header that says how much comes, before anything of it is there.
fn huge(size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    Written::default().raw(&header, b"").0
}

#[test]
fn a_file_without_end_is_refused_before_it_is_written() {
    let lab = Lab::new();
    let error = lab.unpack(&gzip(&huge(10 << 30))).unwrap_err();
    assert!(matches!(error, UnpackError::Bytes(_)), "{error}");
    assert!(fs::symlink_metadata(lab.to("zeros")).is_err());
    assert!(matches!(
        Lab::new().unpack(&huge(u64::MAX)),
        Err(UnpackError::Bytes(_) | UnpackError::Damaged(_))
    ));
}

/// Ten times a little, which together is too much.
#[test]
fn files_are_counted_together() {
    let part = "\0".repeat(10 << 20);
    let many = |count: usize| (0..count).fold(Written::default(), |all, n| all.file(&format!("f{n}"), &part));
    Lab::new().unpack(&gzip(&many(6).end())).unwrap();
    let error = Lab::new().unpack(&gzip(&many(7).end())).unwrap_err();
    assert!(matches!(error, UnpackError::Bytes(limit) if limit == 64 << 20), "{error}");
    // The same file again and again, and what is left out by `strip`.
    let again = (0..7).fold(Written::default(), |all, _| all.file("f", &part)).end();
    assert!(matches!(Lab::new().unpack(&gzip(&again)), Err(UnpackError::Bytes(_))));
    assert!(matches!(Lab::strip(1).unpack(&gzip(&again)), Err(UnpackError::Bytes(_))));
}

#[test]
fn members_are_counted() {
    let many =
        |count: usize| (0..count).fold(Written::default(), |all, n| all.directory(&format!("d{n}/"))).end();
    Lab::new().unpack(&many(1000)).unwrap();
    let error = Lab::new().unpack(&many(1001)).unwrap_err();
    assert!(matches!(error, UnpackError::Members(1000)), "{error}");
    assert_eq!(Limits::default().members, 500_000);
}

/// Names and records are read into memory.
#[test]
fn headers_have_an_end() {
    let large = "x".repeat(5 << 20);
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let archive = Written::default().member(kind, b"x", b"", large.as_bytes()).file("x", "").end();
        let error = Lab::new().unpack(&gzip(&archive)).unwrap_err();
        assert!(matches!(error, UnpackError::Headers(_)), "{kind:?}: {error}");
    }
    let global =
        Written::default().member(EntryType::XGlobalHeader, b"x", b"", large.as_bytes()).file("x", "").end();
    assert!(Lab::new().refusal(&gzip(&global)).contains("global header"));
}

#[test]
fn records_that_are_not_understood_are_not_passed_over() {
    let check = |kind: EntryType, record: &[u8], expected: Option<&str>| {
        let lab = Lab::new();
        let archive = Written::default().member(kind, b"header", b"", record).file("x", "").end();
        match (lab.unpack(&archive), expected) {
            (Ok(()), None) => assert!(lab.to("x").exists()),
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            other => panic!("{other:?}"),
        }
    };
    check(EntryType::XGlobalHeader, b"18 comment=abcdef\n", None);
    check(EntryType::XGlobalHeader, b"10 path=x\n", Some("something about all files"));
    check(EntryType::XHeader, b"22 GNU.sparse.major=1\n", Some("sparse"));
    check(EntryType::XHeader, b"13 path=../x\n", Some("`..`"));
    check(EntryType::XHeader, b"999 path=x\n", Some("malformed"));
}

/// Whatever an archive that is put together by chance does, it does it inside; twice the same.
#[test]
fn generated_archives_stay_inside() {
    const NAMES: [&str; 12] = [
        "a",
        "b",
        "a/b",
        "a/b/c",
        "b/a",
        "./a",
        "a/../b",
        "../beside/x",
        "/beside",
        "a/",
        "b/a/secret",
        "c/secret",
    ];
    const TARGETS: [&str; 10] =
        ["a", "b", "..", "../beside", ".", "a/..", "/", "b/a", "../beside/secret", "../to/../beside"];
    let mut rng = fastrand::Rng::with_seed(6);
    let mut done = 0;
    for _ in 0..4000 {
        let mut written = Written::default();
        for _ in 0..rng.usize(1..8) {
            let (name, target) = (NAMES[rng.usize(..NAMES.len())], TARGETS[rng.usize(..TARGETS.len())]);
            written = match rng.u8(..5) {
                0 => written.directory(name),
                1 => written.symlink(name, target),
                2 => written.hard_link(name, target),
                _ => written.file(name, "content"),
            };
        }
        let archive = written.end();
        // `Lab::unpack` looks beside.
        let (one, other) = (Lab::new(), Lab::new());
        let outcomes = [one.unpack(&archive), other.unpack(&archive)].map(|it| it.map_err(|e| e.to_string()));
        assert_eq!(outcomes[0], outcomes[1]);
        done += usize::from(outcomes[0].is_ok());
        let count = |lab: &Lab| fs::metadata(lab.to("")).unwrap().nlink();
        assert_eq!(count(&one), count(&other));
    }
    assert!(done > 400, "only {done} were unpacked");
}
