//! `ibuild release`, `attest` and `check-attestation` over a root file system of one busybox. Needs root, gpg and gpgv.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ibuild::cache::{BlobId, Digest};
use serde_json::Value;

use crate::gpg::Gpg;
use crate::harness::{Outcome, Sandbox};

const STEPS: &str = r#"
  { name = "words", run = "printf 'one\ntwo\n' > /srv/words; echo x > /srv/gone; ln -s words /srv/link" },
  { name = "status", run = "mkdir -p /var/lib/dpkg/info; cp /run/ibuild/in/dpkg/* /var/lib/dpkg/info; mv /var/lib/dpkg/info/status /var/lib/dpkg", inputs = ["dpkg"] },
"#;

const IMAGE: &str = "ws.rootfs.tar.zst";

fn status(packages: &[(&str, &str)]) -> String {
    let paragraph = |(name, version): &(&str, &str)| {
        format!(
            "Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: all\nSource: src-{name} (9)\n\n"
        )
    };
    packages.iter().map(paragraph).collect()
}

fn lab() -> Sandbox {
    let lab = Sandbox::empty();
    lab.write("dpkg/status", &status(&[("a", "1.0"), ("b", "2.0")]));
    lab.write("dpkg/b.list", "/.\n/srv\n/srv/words\n");
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab
}

fn release(lab: &Sandbox, version: &str, more: &[&str]) -> String {
    lab.run(&[&["release", "--version", version], more].concat()).succeeds()
}

/// The unsigned files of a release with their bytes.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| !name.ends_with(".gpg") && !name.ends_with(".jsonl"))
        .collect();
    files.sort();
    files
}

fn coreutils(dir: &Path, program: &str, list: &str) -> bool {
    Command::new(program)
        .args(["--quiet", "--strict", "--check", list])
        .current_dir(dir)
        .status()
        .unwrap()
        .success()
}

#[test]
fn a_release_has_everything_and_the_ordinary_tools_accept_it() {
    let lab = lab();
    let outcome = lab.run(&["release", "--version", "1.0"]);
    assert!(outcome.stderr.contains("it is not signed"), "{outcome:?}");
    let said = outcome.succeeds();
    assert_eq!(said, "released [ROOT]/project/out/seeded-1.0\n");
    let dir = lab.path("out/seeded-1.0");
    let names: Vec<_> = files(&dir).into_iter().map(|(name, _)| name).collect();
    let endings =
        ["", ".cdx.json", ".files", ".intoto.json", ".manifest.json", ".packages", ".sources", ".spdx.json"];
    for ending in endings {
        assert!(names.contains(&format!("{IMAGE}{ending}")), "{ending}: {names:?}");
    }
    assert!(coreutils(&dir, "sha256sum", "SHA256SUMS") && coreutils(&dir, "sha512sum", "SHA512SUMS"));
    let packages = fs::read_to_string(dir.join(format!("{IMAGE}.packages"))).unwrap();
    assert_eq!(packages, "a\t1.0\tall\tsrc-a\t9\nb\t2.0\tall\tsrc-b\t9\n");
    let listed = fs::read_to_string(dir.join(format!("{IMAGE}.files"))).unwrap();
    let line =
        |path: &str| listed.lines().find(|line| line.ends_with(&format!("\t{path}"))).unwrap().to_owned();
    assert!(line("/srv/words").contains("\t8\tb3:") && line("/srv/words").contains("\tb\t"), "{listed}");
    assert!(line("/srv/link").starts_with("l0777\t0:0\t0\t-> words\t-\t"), "{listed}");
    let said = lab.run(&["release", "--check", "out/seeded-1.0"]).succeeds();
    assert!(said.contains("unchecked  who made it: it is not signed"), "{said}");
    assert_eq!(release(&lab, "1.0", &[]), "unchanged [ROOT]/project/out/seeded-1.0\n");
    assert!(
        !dir.parent()
            .unwrap()
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with(".ibuild") })
    );
}

#[test]
fn changes_are_exactly_what_differs() {
    let lab = lab();
    release(&lab, "1.0", &[]);
    lab.edit("ibuild.toml", "two", "TWO");
    lab.edit("ibuild.toml", "echo x > /srv/gone", "echo n > /srv/new; chmod 600 /srv/new");
    lab.write("dpkg/status", &status(&[("a", "1.1"), ("c", "3")]));
    fs::rename(lab.path("dpkg/b.list"), lab.path("dpkg/a.list")).unwrap();
    release(&lab, "1.1", &["--previous", "out/seeded-1.0"]);
    let text = fs::read_to_string(lab.path("out/seeded-1.1/CHANGES-from-1.0.md")).unwrap();
    let items: Vec<_> = text.lines().filter(|line| line.starts_with("- ")).collect();
    let expected = [
        "- upgraded a:all 1.0 -> 1.1",
        "- removed b:all 2.0",
        "- added c:all 3",
        "- gone `/srv/gone`",
        "- new `/srv/new` (-0600 0:0, 2 bytes)",
    ];
    // A file that an upgraded package has now is the package's change.
    assert_eq!(items, expected, "{text}");
    assert!(text.contains("-  { name = \"words\"") || text.contains("two"), "{text}");
    lab.run(&["release", "--version", "1.2", "--previous", "out"]).fails_with(2, "is not a release folder");
    lab.run(&["release", "--version", "1.2", "--previous", "nowhere"]).fails_with(2, "there is no `nowhere`");
    lab.run(&["release", "--version", "../x"]).fails_with(2, "is not a version");
    lab.run(&["release"]).fails_with(2, "the release has no version");
    lab.edit("ibuild.toml", "TWO", "three");
    lab.run(&["release", "--version", "1.1"]).fails_with(2, "has another release 1.1");
}

/// A release that somebody has signed.
struct Signed {
    lab: Sandbox,
    dir: PathBuf,
    /// Goes with its agent.
    _gpg: Gpg,
}

impl Signed {
    fn new() -> Self {
        let (lab, gpg) = (lab(), Gpg::new());
        gpg.sign(&lab, &["release", "--version", "1.0", "--sign", "gpg:me@example.org"]);
        fs::write(lab.path("me.asc"), gpg.run(&["--armor", "--export"])).unwrap();
        fs::write(lab.path("me.gpg"), gpg.run(&["--export"])).unwrap();
        let dir = lab.path("out/seeded-1.0");
        Self { lab, dir, _gpg: gpg }
    }

    fn check(&self, key: &str) -> Outcome {
        self.lab.run(&["release", "--check", "out/seeded-1.0", "--key", key])
    }

    fn gpgv(&self, key: &str) -> bool {
        let key = self.lab.path(key);
        let arguments = ["--keyring", key.to_str().unwrap(), "SHA256SUMS.gpg", "SHA256SUMS"];
        Command::new("gpgv").args(arguments).current_dir(&self.dir).output().unwrap().status.success()
    }

    /// What is said of the folder with one other file; afterwards it is as it was.
    #[track_caller]
    fn refuses(&self, name: &str, change: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let path = self.dir.join(name);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        self.check("me.asc").fails_with(1, expected);
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_signature_counts_with_its_key_alone() {
    let (signed, other) = (Signed::new(), Gpg::new());
    fs::write(signed.lab.path("other.gpg"), other.run(&["--export"])).unwrap();
    assert!(signed.gpgv("me.gpg") && !signed.gpgv("other.gpg"));
    let said = signed.check("me.asc").succeeds();
    assert!(said.contains("`SHA256SUMS.gpg` is by") && said.contains(".intoto.jsonl` is by"), "{said}");
    signed.check("other.gpg").fails_with(1, "2 things are wrong");
    signed.check("other.gpg").fails_with(1, "another key has signed it");
    signed.check("ibuild.toml").fails_with(2, "it is not an OpenPGP public key");
    fs::remove_file(signed.dir.join("SHA256SUMS.gpg")).unwrap();
    signed.check("me.asc").fails_with(1, "it is not signed: there is no `SHA256SUMS.gpg`");
}

#[test]
fn whoever_changes_a_signed_release_is_found_out() {
    let signed = Signed::new();
    for name in files(&signed.dir).into_iter().map(|(name, _)| name) {
        let expected = match name.as_str() {
            "SHA256SUMS" => "the signature is of another text",
            // Without an index there is no release to look at.
            "release.json" => continue,
            _ => "is not what `SHA256SUMS` says",
        };
        signed.refuses(&name, |bytes| bytes[20] ^= 1, expected);
    }
    signed.refuses("SHA256SUMS.gpg", |bytes| bytes.truncate(9), "it is not a detached OpenPGP signature");
    let record = format!("{IMAGE}.intoto.jsonl");
    signed.refuses(&record, |bytes| *bytes = b"{}\n".to_vec(), "it is not a signed build record");
    fs::write(signed.dir.join("extra"), "").unwrap();
    signed.check("me.asc").fails_with(1, "`extra` is not in `SHA256SUMS`");
    fs::remove_file(signed.dir.join("extra")).unwrap();
    fs::rename(signed.dir.join("ibuild.lock"), signed.lab.path("aside")).unwrap();
    signed.check("me.asc").fails_with(1, "`ibuild.lock` is missing");
    fs::rename(signed.lab.path("aside"), signed.dir.join("ibuild.lock")).unwrap();
    signed.check("me.asc").succeeds();
}

#[test]
fn an_expired_key_and_a_record_of_another_build_are_told_by_name() {
    let (lab, gpg) = (lab(), Gpg::of_2020());
    gpg.sign(&lab, &["release", "--version", "1.0", "--sign", "gpg:me@example.org"]);
    fs::write(lab.path("me.gpg"), gpg.run(&["--export"])).unwrap();
    let outcome = lab.run(&["release", "--check", "out/seeded-1.0", "--key", "me.gpg"]);
    assert!(outcome.status == 1 && outcome.stdout.contains("has expired"), "{outcome:?}");

    lab.edit("ibuild.toml", "two", "TWO");
    release(&lab, "2.0", &[]);
    let record = format!("{IMAGE}.intoto.json");
    fs::copy(lab.path("out/seeded-1.0").join(&record), lab.path("out/seeded-2.0").join(&record)).unwrap();
    let outcome = lab.run(&["release", "--check", "out/seeded-2.0"]);
    assert!(outcome.status == 1 && outcome.stdout.contains("tells of another build"), "{outcome:?}");
}

#[test]
fn signing_later_adds_signatures_and_failing_to_sign_leaves_nothing() {
    let lab = lab();
    let outcome = lab.run(&["release", "--version", "1.0", "--sign", "gpg:nobody@example.org"]);
    outcome.fails_with(3, "`gpg` did not sign");
    assert!(!lab.exists("out/seeded-1.0"));
    lab.run(&["release", "--version", "1.0", "--sign", "pgp:x"]).fails_with(2, "is not a way to sign");
    release(&lab, "1.0", &[]);
    let before = files(&lab.path("out/seeded-1.0"));
    assert_eq!(
        release(&lab, "1.0", &["--sign", "command:sha256sum"]),
        "signed [ROOT]/project/out/seeded-1.0\n"
    );
    assert!(lab.exists("out/seeded-1.0/SHA256SUMS.sig"));
    let mut after = files(&lab.path("out/seeded-1.0"));
    after.retain(|(name, _)| !name.ends_with(".sig"));
    assert_eq!(after, before);
}

#[test]
fn two_people_release_the_same_bytes() {
    let (one, two) = (lab(), lab());
    release(&one, "1.0", &[]);
    two.run(&["release", "--version", "1.0", "--output", "elsewhere/r"]).succeeds();
    let (one, two) = (files(&one.path("out/seeded-1.0")), files(&two.path("elsewhere/r")));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&one), names(&two));
    for ((name, one), (_, two)) in one.iter().zip(&two) {
        assert!(one == two, "{name} differs");
    }
}

#[test]
fn a_record_tells_the_first_stage_that_differs() {
    let (one, two) = (lab(), lab());
    one.run(&["build"]).succeeds();
    let record = one.run(&["attest"]).succeeds();
    let json: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(json["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(json["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(json["subject"][0]["name"], IMAGE);
    two.write("record.json", &record);
    let outcome = two.run(&["check-attestation", "record.json"]);
    assert!(outcome.status == 3 && outcome.stderr.contains("the rest is not known"), "{outcome:?}");
    let outcome = two.run(&["check-attestation", "record.json", "--rebuild"]);
    assert!(outcome.stdout.ends_with("4 stages: 4 same\n"), "{outcome:?}");
    outcome.succeeds();
    let said = two.run(&["verify", "--against", "record.json", IMAGE]).succeeds();
    assert!(said.contains("4 same"), "{said}");

    two.edit("ibuild.toml", "two", "TWO");
    two.run(&["build"]).succeeds();
    let outcome = two.run(&["check-attestation", "record.json"]);
    assert!(outcome.stdout.contains("there it was made of something else"), "{outcome:?}");
    outcome.fails_with(1, "the first stage that differs is `ws/words`");
    two.write("record.json", &record.replace("\"seeded\"", "\"other\""));
    two.run(&["check-attestation", "record.json"]).fails_with(2, "is of the project `other`");
    two.write("record.json", "{}");
    two.run(&["check-attestation", "record.json"]).fails_with(2, "it is not a build record");
}

/// Files of the project are in a record by what they were when they were built.
#[test]
fn a_record_names_the_files_that_a_build_was_made_of() {
    let lab = Sandbox::empty();
    lab.write("in/data", "1\n");
    lab.write("files/one", "one\n");
    lab.write("tree/etc/x", "x\n");
    lab.write("10-script", "#!/bin/sh\ntrue\n");
    let steps = r#"
  { name = "files", copy = [{ from = "files/one", to = "/srv/" }, { from = "tree", to = "/" }] },
  { name = "ten", script = "10-script", inputs = ["./in", "files//one"] },
"#;
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), steps);
    let digests = || {
        lab.run(&["build"]).succeeds();
        let record: Value = serde_json::from_str(&lab.run(&["attest"]).succeeds()).unwrap();
        let all = record.pointer("/predicate/buildDefinition/resolvedDependencies").unwrap().clone();
        let pairs = all
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["name"].as_str().unwrap().to_owned(), it["digest"].clone()));
        pairs.collect::<Vec<_>>()
    };
    let before = digests();
    let names: Vec<_> = before.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["recipe.toml", "ibuild.lock", "debian trixie", "files/one", "tree", "10-script", "in"]
    );
    let blake3 = BlobId::of(b"one\n").to_hex();
    assert_eq!(before[3].1["blake3"], blake3);
    assert_eq!(before[5].1["sha256"].as_str().unwrap().len(), 64);
    for (file, place) in [("files/one", 3), ("tree/etc/x", 4), ("10-script", 5), ("in/data", 6)] {
        let before = digests();
        lab.write(file, &format!("{}# {place}\n", fs::read_to_string(lab.path(file)).unwrap()));
        let after = digests();
        let differs: Vec<_> = (0..7).filter(|at| before[*at] != after[*at]).collect();
        assert_eq!(differs, [place], "{file}");
    }
}

/// What people look images up by has to be true as well.
#[test]
fn a_record_that_names_other_images_is_not_equal() {
    let lab = lab();
    lab.run(&["build"]).succeeds();
    let record: Value = serde_json::from_str(&lab.run(&["attest"]).succeeds()).unwrap();
    let check = |change: &dyn Fn(&mut Value)| {
        let mut other = record.clone();
        change(&mut other);
        lab.write("record.json", &other.to_string());
        lab.run(&["check-attestation", "record.json"])
    };
    check(&|_| {}).succeeds();
    let zeros = Value::from("0".repeat(64));
    for algorithm in ["sha256", "blake3"] {
        check(&|it| it["subject"][0]["digest"][algorithm] = zeros.clone())
            .fails_with(1, "as the record's subject");
    }
    check(&|it| it["subject"].as_array_mut().unwrap().clear()).fails_with(2, "it has no image, or no stage");
    for list in ["/subject", "/predicate/runDetails/byproducts"] {
        let twice = |it: &mut Value| {
            let list = it.pointer_mut(list).unwrap().as_array_mut().unwrap();
            list.push(list[0].clone());
        };
        check(&twice).fails_with(2, "twice");
    }
}

#[test]
fn a_second_signature_leaves_the_first_one() {
    let (lab, one, two) = (lab(), Gpg::new(), Gpg::new());
    one.sign(&lab, &["release", "--version", "1.0", "--sign", "gpg:me@example.org"]);
    two.sign(&lab, &["release", "--version", "1.0", "--sign", "command:sha256sum"]);
    fs::write(lab.path("one.gpg"), one.run(&["--export"])).unwrap();
    let said = lab.run(&["release", "--check", "out/seeded-1.0", "--key", "one.gpg"]).succeeds();
    assert!(said.contains("`SHA256SUMS.sig`: it is of another kind than the key"), "{said}");
    let dir = lab.path("out/seeded-1.0");
    for stranger in ["INSTALL.sig", "release.gpg", "other.ova.intoto.jsonl"] {
        fs::write(dir.join(stranger), "").unwrap();
        lab.run(&["release", "--check", "out/seeded-1.0"]).fails_with(1, stranger);
        fs::remove_file(dir.join(stranger)).unwrap();
    }
    fs::rename(dir.join("SHA256SUMS"), lab.path("sums")).unwrap();
    std::os::unix::fs::symlink(lab.path("sums"), dir.join("SHA256SUMS")).unwrap();
    lab.run(&["release", "--check", "out/seeded-1.0"]).fails_with(1, "is no plain file");
}

#[test]
fn a_signed_record_is_believed_only_with_its_key() {
    let (lab, gpg, other) = (lab(), Gpg::new(), Gpg::new());
    lab.run(&["build"]).succeeds();
    gpg.sign(&lab, &["attest", "--sign", "gpg:me@example.org", "--output", "record.jsonl"]);
    fs::write(lab.path("me.gpg"), gpg.run(&["--export"])).unwrap();
    fs::write(lab.path("other.gpg"), other.run(&["--export"])).unwrap();
    lab.run(&["check-attestation", "record.jsonl"]).succeeds();
    lab.run(&["check-attestation", "record.jsonl", "--key", "me.gpg"]).succeeds();
    lab.run(&["check-attestation", "record.jsonl", "--key", "other.gpg"])
        .fails_with(2, "another key has signed it");
    let plain = lab.run(&["attest"]).succeeds();
    lab.write("plain.json", &plain);
    lab.run(&["check-attestation", "plain.json", "--key", "me.gpg"]).fails_with(2, "it is not signed");
    lab.edit("ibuild.toml", "two", "TWO");
    lab.run(&["attest"]).fails_with(2, "is not built");
}
