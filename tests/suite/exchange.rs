//! `ibuild cache export` and `ibuild cache import` over a root file system of one busybox. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Outcome, Sandbox};

const STEPS: &str = r#"
  { name = "words", run = "echo one > /srv/words; ln /srv/words /srv/other; mkfifo /srv/pipe; chown 7:8 /srv/other" },
  { name = "less", run = "rm /srv/pipe; mkdir /srv/deep; echo 2 > /srv/deep/file; chmod 2750 /srv/deep" },
  { name = "sane", check = "test -e /srv/words" },
  { name = "hole", run = "dd if=/dev/zero of=/srv/hole bs=1 count=1 seek=9999999 2>/dev/null" },
"#;

const IMAGE: &str = "ws.rootfs.tar.zst";

fn project() -> Sandbox {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab
}

/// The same project and a store that knows nothing.
fn elsewhere() -> Sandbox {
    let lab = project();
    fs::remove_dir_all(lab.path("../cache")).unwrap();
    lab
}

fn built() -> Sandbox {
    let lab = project();
    lab.run(&["build"]).succeeds();
    lab
}

/// All files of a store that facts or content are in, with their bytes.
fn content(lab: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let (root, mut found) = (lab.path("../cache"), BTreeMap::new());
    let mut open: Vec<_> = ["blobs", "packages", "results"].map(|dir| root.join(dir)).into();
    while let Some(path) = open.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => open.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => drop(found.insert(path.display().to_string(), fs::read(&path).unwrap_or_default())),
        }
    }
    found.retain(|_, bytes| !bytes.is_empty());
    found
}

#[track_caller]
fn refused(lab: &Sandbox, outcome: &Outcome, text: &str, before: &BTreeMap<String, Vec<u8>>) {
    assert!([1, 2, 3].contains(&outcome.status), "{text}: {outcome:?}");
    assert!(outcome.stderr.contains(text), "{text}: {outcome:?}");
    assert!(content(lab) == *before, "{text}: the store is another one");
    assert_eq!(fs::read_dir(lab.path("../cache/runs")).map_or(0, Iterator::count), 0, "{text}");
}

#[test]
fn a_build_elsewhere_runs_nothing() {
    let (one, two) = (built(), elsewhere());
    one.run(&["cache", "export", "--to", "a.tar"]).succeeds();
    one.run(&["cache", "export", "--to", "b.tar"]).succeeds();
    assert!(fs::read(one.path("a.tar")).unwrap() == fs::read(one.path("b.tar")).unwrap());
    fs::copy(one.path("a.tar"), two.path("a.tar")).unwrap();
    let said = two.run(&["cache", "import", "a.tar"]).succeeds();
    assert_eq!(said, "imported 6 results; 0 were there; 0 packages and indices\n");
    let plan = two.run(&["plan", "--json"]).json();
    assert_eq!(plan["run"], 0, "{plan:#}");
    let outcome = two.run(&["build", "--offline"]);
    assert!(outcome.stderr.contains("0 run") || outcome.stdout.contains("0 run"), "{outcome:?}");
    outcome.succeeds();
    let image = |lab: &Sandbox| fs::read(lab.path("out").join(IMAGE)).unwrap();
    assert!(image(&one) == image(&two));
    assert_eq!(two.run(&["cat", "words", "/srv/words"]).succeeds(), "one\n");
    let said = two.run(&["cache", "import", "a.tar", "--json"]).json();
    assert_eq!((&said["new"], &said["known"]), (&0.into(), &6.into()));
    let fsck = two.run(&["cache", "fsck"]).succeeds();
    assert!(fsck.contains("6 results and 4 layers are whole"), "{fsck}");
    two.run(&["verify", "--against", one.path("../cache").to_str().unwrap()]).succeeds();
    // What came so goes on in the same way.
    two.run(&["cache", "export", "--to", "again.tar"]).succeeds();
    assert!(fs::read(two.path("again.tar")).unwrap() == fs::read(one.path("a.tar")).unwrap());
}

#[test]
fn a_pipe_and_a_directory_do_the_same() {
    let (one, two, three) = (built(), elsewhere(), elsewhere());
    let mut export = one.command(&["cache", "export", "words"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut import = two.command(&["cache", "import", "-"]);
    let output = import.stdin(export.stdout.take().unwrap()).output().unwrap();
    assert!(export.wait().unwrap().success());
    assert!(two.finish(output).succeeds().starts_with("imported 2 results"));
    one.run(&["cache", "export", "--to", "dir/"]).succeeds();
    let dir = one.path("dir");
    let said = three.run(&["cache", "import", dir.to_str().unwrap()]).succeeds();
    assert!(said.starts_with("imported 6 results"), "{said}");
    // A second export into it writes what is new.
    one.run(&["cache", "export", "--to", "dir"]).succeeds();
    two.run(&["cache", "export"]).fails_with(2, "is not built");
}

#[test]
fn a_store_of_a_newer_state_takes_the_older_results() {
    let (one, two) = (built(), built());
    one.run(&["cache", "export", "--to", "a.tar"]).succeeds();
    two.edit("ibuild.toml", "echo one", "echo two");
    two.run(&["build"]).succeeds();
    two.run(&["cache", "rm", "--stages"]).succeeds();
    let archive = one.path("a.tar");
    let said = two.run(&["cache", "import", archive.to_str().unwrap()]).succeeds();
    assert!(said.starts_with("imported 6 results"), "{said}");
    two.edit("ibuild.toml", "echo two", "echo one");
    let plan = two.run(&["plan", "--json"]).json();
    assert_eq!(plan["run"], 0, "{plan:#}");
}

/// An archive in pieces: name and bytes of each entry.
type Entries = Vec<(String, Vec<u8>)>;

fn entries(tar: &[u8]) -> Entries {
    let (mut rest, mut found) = (tar, Vec::new());
    while rest.len() >= 512 && rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8(rest[range].iter().copied().take_while(|byte| *byte != 0).collect()).unwrap()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        found.push((text(0..100), rest[512..512 + size].to_vec()));
        rest = &rest[512 + size.div_ceil(512) * 512..];
    }
    found
}

/// A tar of entries, as GNU tar would be asked for one.
fn packed(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in entries {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        header[263..265].copy_from_slice(b"00");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().div_ceil(512) * 512, 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn import(lab: &Sandbox, archive: &[u8]) -> Outcome {
    let mut import = lab.command(&["cache", "import", "-"]);
    let mut child =
        import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who refuses does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(archive);
    lab.finish(child.wait_with_output().unwrap())
}

fn archive() -> Vec<u8> {
    let lab = built();
    lab.run(&["cache", "export", "--to", "a.tar"]).succeeds();
    fs::read(lab.path("a.tar")).unwrap()
}

#[test]
fn a_damaged_archive_changes_nothing() {
    let (archive, lab) = (archive(), elsewhere());
    assert_eq!(packed(&entries(&archive)).len(), archive.len(), "the test packs as the program does");
    lab.run(&["cache", "ls"]).succeeds();
    let before = content(&lab);
    let mut random = fastrand::Rng::with_seed(24);
    for _ in 0..12 {
        let cut = random.usize(..archive.len() - 1024);
        let outcome = import(&lab, &archive[..cut]);
        refused(&lab, &outcome, "error:", &before);
        let mut flipped = archive.clone();
        let at = random.usize(..archive.len() - 2048);
        flipped[at] ^= 1 << random.u8(..8);
        if entries_differ(&flipped, &archive) {
            refused(&lab, &import(&lab, &flipped), "error:", &before);
        }
    }
    for empty in [&b""[..], &[0; 10240]] {
        refused(&lab, &import(&lab, empty), "`manifest.json` is not in the archive", &before);
    }
    let text = b"not a tar at all, but long enough to be taken for one. ".repeat(20);
    refused(&lab, &import(&lab, &text), "it is not an archive of `ibuild cache export`", &before);
    let last = archive.len() - 1024 - 600;
    refused(&lab, &import(&lab, &archive[..last]), "the archive ends within `blobs/", &before);
    assert!(import(&lab, &archive).succeeds().starts_with("imported 6"));
}

/// A flip in the padding of a tar changes nothing that anybody reads.
fn entries_differ(one: &[u8], other: &[u8]) -> bool {
    std::panic::catch_unwind(|| entries(one)).map_or(true, |one| one != entries(other))
}

/// Changes the manifest of an archive.
fn with_manifest(archive: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut entries = entries(archive);
    let mut manifest: Value = serde_json::from_slice(&entries[0].1).unwrap();
    change(&mut manifest);
    entries[0].1 = serde_json::to_vec(&manifest).unwrap();
    packed(&entries)
}

#[test]
fn an_archive_that_lies_about_itself_changes_nothing() {
    let (archive, lab) = (archive(), elsewhere());
    lab.run(&["cache", "ls"]).succeeds();
    let before = content(&lab);
    let check = |archive: &[u8], text: &str| refused(&lab, &import(&lab, archive), text, &before);
    let lie = |text: &str, change: &dyn Fn(&mut Value)| check(&with_manifest(&archive, change), text);
    let zeros = "b3:".to_owned() + &"0".repeat(64);

    lie("makes another root file system", &|it| it["results"][1]["output"]["tree"] = zeros.as_str().into());
    lie("no stage would have made", &|it| {
        it["results"][2]["output"]["layer"] = it["results"][1]["output"]["layer"].clone();
    });
    lie("no stage would have made", &|it| {
        it["results"][2]["output"]["parent"] = it["results"][0]["key"].clone()
    });
    lie("is damaged", &|it| it["layers"][0]["raw_size"] = 7.into());
    lie("is damaged", &|it| {
        let other = it["layers"][1]["tarball"].clone();
        it["layers"][0]["tarball"] = other;
    });
    lie("contradicts itself", &|it| it["layers"][1]["layer"] = it["layers"][0]["layer"].clone());
    lie("contradicts itself", &|it| it["layers"].as_array_mut().unwrap().clear());
    lie("contradicts itself", &|it| it["entries"].as_array_mut().unwrap().truncate(1));
    lie("contradicts itself", &|it| it["results"].as_array_mut().unwrap().swap(0, 1));
    lie("contradicts itself", &|it| it["results"][0]["output"]["layer"] = Value::Null);
    lie("took longer than a year", &|it| it["results"][1]["millis"] = u64::MAX.into());
    lie("has format 2", &|it| it["format"] = 2.into());
    lie("are free", &|it| {
        it["entries"].as_array_mut().unwrap().push(serde_json::json!({
            "kind": "package", "sha256": "0".repeat(64), "size": 1_u64 << 60
        }))
    });
    let image = |it: &Value| it["results"].as_array().unwrap().len() - 1;
    lie("", &|it| {
        let at = image(it);
        it["results"][at]["output"]["file"]["blob"] = zeros.as_str().into();
        it["results"][at]["output"]["blob"] = zeros.as_str().into();
    });
}

#[test]
fn other_entries_than_the_manifest_names_change_nothing() {
    let (archive, lab) = (archive(), elsewhere());
    lab.run(&["cache", "ls"]).succeeds();
    let before = content(&lab);
    let check = |change: &dyn Fn(&mut Entries), text: &str| {
        let mut all = entries(&archive);
        change(&mut all);
        refused(&lab, &import(&lab, &packed(&all)), text, &before);
    };
    check(&|all| all.swap(1, 2), "should be");
    check(&|all| all[1].0 = "../../etc/passwd".to_owned(), "the archive has `../../etc/passwd` where");
    check(&|all| all.push(("blobs/more".to_owned(), Vec::new())), "where it should end");
    check(&|all| drop(all.pop()), "is not in the archive");
    check(&|all| all[1].1.push(0), "has another size");
    check(&|all| all[1].1[100] ^= 1, "does not match the digest in its name");
    assert!(import(&lab, &archive).succeeds().starts_with("imported 6"));
}

/// What no program can compute is who made what. A result of a kind that the stage does not make is none, and is made again.
#[test]
fn a_result_of_the_wrong_kind_is_made_again() {
    let (archive, lab) = (archive(), elsewhere());
    let lie = with_manifest(&archive, |it| {
        let last = it["results"].as_array().unwrap().len() - 1;
        let image = it["results"][last]["output"].clone();
        it["results"][last]["output"] = it["results"][0]["output"].clone();
        it["results"][2]["output"] = image;
        it["results"].as_array_mut().unwrap().drain(3..last);
    });
    let outcome = import(&lab, &lie);
    assert!(outcome.status == 0 || outcome.stderr.contains("error:"), "{outcome:?}");
    lab.run(&["build"]).succeeds();
    let clean = built();
    let image = |lab: &Sandbox| fs::read(lab.path("out").join(IMAGE)).unwrap();
    assert!(image(&lab) == image(&clean));
}

/// A layer that says other things than its tree, which the capture of what stages leave would have put right.
#[test]
fn a_layer_that_no_stage_would_have_made_is_refused() {
    let (archive, lab) = (archive(), elsewhere());
    lab.run(&["cache", "ls"]).succeeds();
    let before = content(&lab);
    let all = entries(&archive);
    let manifest: Value = serde_json::from_slice(&all[0].1).unwrap();
    let blob = manifest["layers"][0]["tarball"]["blob"].as_str().unwrap().trim_start_matches("b3:");
    let (_, tarball) = all.iter().find(|(name, _)| name.ends_with(blob)).unwrap();
    let mut lying = zstd::decode_all(tarball.as_slice()).unwrap();
    // A file that is younger than everything may be.
    let file = (0..lying.len())
        .step_by(512)
        .find(|at| lying[at + 257..].starts_with(b"ustar") && lying[at + 156] == b'0');
    let header = &mut lying[file.expect("a file")..][..512];
    header[136..147].copy_from_slice(b"16717112577");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let outcome = import(&lab, &with_layer(&archive, &lying, lying.len() as u64));
    refused(&lab, &outcome, "no stage would have made", &before);
}

#[test]
fn a_second_export_into_a_directory_mends_it() {
    let (one, two) = (built(), elsewhere());
    one.run(&["cache", "export", "--to", "dir/"]).succeeds();
    let blobs = one.path("dir/blobs");
    let blob = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let length = fs::metadata(&blob).unwrap().len();
    fs::write(&blob, vec![0; usize::try_from(length).unwrap()]).unwrap();
    let dir = one.path("dir");
    two.run(&["cache", "import", dir.to_str().unwrap()])
        .fails_with(1, "does not match the digest in its name");
    one.run(&["cache", "export", "--to", "dir/"]).succeeds();
    two.run(&["cache", "import", dir.to_str().unwrap()]).succeeds();
    fs::remove_file(&blob).unwrap();
    assert!(Command::new("mkfifo").arg(&blob).status().unwrap().success());
    two.run(&["cache", "import", dir.to_str().unwrap()]).fails_with(1, "has another size");
}

#[test]
fn only_who_is_trusted_is_believed() {
    let (one, two) = (built(), elsewhere());
    let gpg = crate::gpg::Gpg::new();
    let mut command = one.command(&["cache", "export", "--to", "signed.tar", "--sign", "gpg:me@example.org"]);
    one.finish(command.env("GNUPGHOME", gpg.home()).output().unwrap()).succeeds();
    one.run(&["cache", "export", "--to", "plain.tar"]).succeeds();
    let other = crate::gpg::Gpg::new();
    fs::write(two.path("me.asc"), gpg.run(&["--armor", "--export"])).unwrap();
    fs::write(two.path("other.asc"), other.run(&["--armor", "--export"])).unwrap();
    two.run(&["cache", "ls"]).succeeds();
    let before = content(&two);
    let import = |archive: &str, key: &str| {
        let archive = one.path(archive);
        two.run(&["cache", "import", archive.to_str().unwrap(), "--require-signature", key])
    };
    refused(&two, &import("plain.tar", "me.asc"), "it is not signed", &before);
    refused(&two, &import("signed.tar", "other.asc"), "another key has signed it", &before);
    let lie = |it: &mut Value| it["results"][0]["millis"] = 8.into();
    fs::write(one.path("changed.tar"), with_manifest(&fs::read(one.path("signed.tar")).unwrap(), lie))
        .unwrap();
    refused(&two, &import("changed.tar", "me.asc"), "is of another text", &before);
    assert!(import("signed.tar", "me.asc").succeeds().starts_with("imported 6"));
}

/// A layer whose tarball is named truly and leads out of its directory, and one of ten gigabytes of zeros.
#[test]
fn a_hostile_layer_stays_inside() {
    let (archive, lab) = (archive(), elsewhere());
    lab.run(&["cache", "ls"]).succeeds();
    let before = content(&lab);
    let file = |name: &str| packed(&[(name.to_owned(), b"evil".to_vec())]);
    let target = lab.path("evil");
    let absolute = target.to_str().unwrap().to_owned();
    for raw in [file("../../../../evil"), file(&absolute), file("srv/../../evil")] {
        let outcome = import(&lab, &with_layer(&archive, &raw, raw.len() as u64));
        refused(&lab, &outcome, "error:", &before);
    }
    assert!(!target.exists() && !Path::new("/evil").exists() && !lab.path("../cache/evil").exists());
    // Much from little: what is said of it is the most that is unpacked.
    let outcome = import(&lab, &with_layer(&archive, &vec![0; 64 << 20], 1024));
    refused(&lab, &outcome, "is damaged", &before);
}

/// The archive with another first layer, of these bytes, all digests of which are right.
fn with_layer(archive: &[u8], raw: &[u8], raw_size: u64) -> Vec<u8> {
    let tarball = zstd::encode_all(raw, 3).unwrap();
    let name = |bytes: &[u8]| format!("b3:{}", blake3::hash(bytes).to_hex());
    let mut all = entries(archive);
    let mut manifest: Value = serde_json::from_slice(&all[0].1).unwrap();
    let old = manifest["layers"][0]["tarball"]["blob"].clone();
    let (layer, blob) = (Value::from(name(raw)), Value::from(name(&tarball)));
    let at = manifest["entries"].as_array().unwrap().iter().position(|it| it["blob"] == old).unwrap();
    let file = serde_json::json!({ "blob": blob, "size": tarball.len() });
    manifest["entries"][at]["blob"] = blob;
    manifest["entries"][at]["size"] = tarball.len().into();
    let before = manifest["layers"][0]["layer"].clone();
    manifest["layers"][0] = serde_json::json!({ "layer": layer, "raw_size": raw_size, "tarball": file });
    for result in manifest["results"].as_array_mut().unwrap() {
        if result["output"]["layer"] == before {
            result["output"]["layer"] = layer.clone();
        }
    }
    all[0].1 = serde_json::to_vec(&manifest).unwrap();
    all[1 + at] = (format!("blobs/{}", blake3::hash(&tarball).to_hex()), tarball);
    packed(&all)
}
