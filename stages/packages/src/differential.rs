//! What Debian's own programs make of versions and of indices, beside what ibuild makes of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use fastrand::Rng;

use crate::archive::candidate::{Candidate, IndexText, best};
use crate::fuzz::{seed, setting};
use ibuild_debian::{Base, Preference, version::compare};

/// Pieces of which versions are made: numbers with and without zeros, letters, and what has an order of its own.
const PIECES: [&str; 16] = [
    "0",
    "00",
    "1",
    "9",
    "10",
    "2026",
    "a",
    "b",
    "Z",
    "rc",
    ".",
    "+",
    "~",
    "~~",
    "deb",
    "18446744073709551616",
];

fn version(rng: &mut Rng) -> String {
    let part = |rng: &mut Rng, more: &str| {
        let mut text = rng.u8(..10).to_string();
        for _ in 0..rng.usize(..5) {
            let piece = rng.choice(PIECES).unwrap();
            text += if rng.u8(..8) == 0 { more } else { piece };
        }
        text
    };
    let epoch = if rng.u8(..4) == 0 { format!("{}:", rng.u8(..12)) } else { String::new() };
    match rng.bool() {
        true => format!("{epoch}{}-{}", part(rng, "-"), part(rng, ".")),
        false => epoch + &part(rng, "."),
    }
}

/// How dpkg orders pairs of versions.
fn ordered_by_dpkg(pairs: &[(String, String)]) -> Vec<Ordering> {
    let ask = |(a, b): &(String, String)| {
        let holds = |relation| {
            let status = Command::new("dpkg").args(["--compare-versions", a, relation, b]).status();
            status.unwrap().success()
        };
        if holds("lt") {
            Ordering::Less
        } else if holds("eq") {
            Ordering::Equal
        } else {
            Ordering::Greater
        }
    };
    pairs.iter().map(ask).collect()
}

#[test]
fn real_dpkg_orders_versions_alike() {
    if !Path::new("/usr/bin/dpkg").exists() {
        return println!("SKIPPED: dpkg is needed");
    }
    let count = if setting("IBUILD_NIGHTLY").is_some() { 20_000 } else { 300 };
    let mut rng = Rng::with_seed(seed());
    let pairs: Vec<_> = (0..count)
        .map(|_| {
            let first = version(&mut rng);
            // Most pairs of two that have nothing in common differ at once.
            let cut = rng.usize(first.find(':').map_or(0, |colon| colon + 1) + 1..=first.len());
            let second = match rng.u8(..3) {
                0 => version(&mut rng),
                1 => format!("{}{}", first, rng.choice(PIECES).unwrap()),
                _ => format!("{}{}{}", &first[..cut], rng.choice(PIECES).unwrap(), &first[cut..]),
            };
            (first, second)
        })
        .collect();
    for ((a, b), expected) in pairs.iter().zip(ordered_by_dpkg(&pairs)) {
        assert_eq!(compare(a, b), expected, "{a} and {b}");
    }
}

/// A paragraph in all the ways in which people and programs write one.
fn index() -> String {
    let sha = |digit: &str| digit.repeat(64);
    [
        format!("Package: plain\nVersion: 1\nArchitecture: all\nFilename: ./plain.deb\nSize: 11\nSHA256: {}\n", sha("1")),
        format!("package: lower\nversion: 2:1~rc1-1\narchitecture: all\nfilename: ./lower.deb\nsize: 22\nsha256: {}\n", sha("2")),
        format!(
            "SIZE:33\nSHA256:\t{}\nFilename:   pool/o/odd.deb  \nVersion: 3+b1\nArchitecture: amd64\nDescription: one\n Filename: two\n .\n \
             three\nPackage: odd\n",
            sha("3")
        ),
        format!("Package: twice\nVersion: 1\nArchitecture: all\nFilename: ./old.deb\nSize: 44\nSHA256: {}\n", sha("4")),
        format!("Package: twice\nVersion: 1.0~\nArchitecture: all\nFilename: ./older.deb\nSize: 55\nSHA256: {}\n", sha("5")),
    ]
    .join("\n\n")
}

/// Names, and for each the place, the size and the digest that apt would fetch.
fn seen_by_apt(dir: &Path, names: &[&str]) -> BTreeMap<String, (u64, String)> {
    for sub in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    let root = dir.display();
    fs::write(dir.join("status"), "").unwrap();
    fs::write(dir.join("etc/sources.list"), format!("deb [trusted=yes] file:{root}/flat ./\n")).unwrap();
    let configuration = format!(
        "Dir::Etc \"{root}/etc\";\nDir::State \"{root}/state\";\nDir::State::status \"{root}/status\";\n\
         Dir::Cache \"{root}/cache\";\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"\";\n"
    );
    fs::write(dir.join("apt.conf"), configuration).unwrap();
    let apt = |arguments: &[&str]| {
        let output =
            Command::new("apt-get").env("APT_CONFIG", dir.join("apt.conf")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    apt(&["-qq", "update"]);
    let said =
        apt(&[&["-qq", "-o", "Acquire::ForceHash=SHA256", "--print-uris", "download"], names].concat());
    let line = |line: &str| {
        let (address, rest) = line.strip_prefix('\'').unwrap().split_once('\'').unwrap();
        let words: Vec<_> = rest.split_whitespace().collect();
        let path = address.strip_prefix(&format!("file:{root}/flat/")).unwrap().trim_start_matches("./");
        (path.to_owned(), (words[1].parse().unwrap(), words[2].replace("SHA256:", "")))
    };
    said.lines().map(line).collect()
}

#[test]
fn real_apt_reads_an_index_alike() {
    if !Path::new("/usr/bin/apt-get").exists() {
        return println!("SKIPPED: apt-get is needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let text = index();
    fs::create_dir(dir.path().join("flat")).unwrap();
    fs::write(dir.path().join("flat/Packages"), &text).unwrap();
    let texts = [IndexText {
        base: Base::Main,
        preference: Preference::Automatic,
        path: "Packages".to_owned(),
        text,
    }];
    let debs = best(&texts, &"amd64".parse().unwrap())
        .values()
        .map(Candidate::deb)
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let read: BTreeMap<_, _> = debs.into_iter().map(|deb| (deb.path, (deb.size, deb.sha256.hex()))).collect();
    let apt = seen_by_apt(dir.path(), &["plain", "lower", "odd", "twice"]);
    assert_eq!(read, apt);
    assert_eq!(read.len(), 4);
}
