//! Pins what writers make of fixed inputs, together with their versions.
//!
//! The version of a writer stands for its bytes in the key of everything that it is used for. Where the bytes change and the
//! version does not, what an older program made is taken for what this one would make. So a digest and the version that it
//! belongs to are written down in one place: whoever changes one has to look at the other.

use std::fs;
use std::path::{Path, PathBuf};

/// Compares what a writer made with what it made when its version was raised.
///
/// `constant` says which constant is the version, and where it is. `pinned` is a version and the digest that belongs to it.
#[track_caller]
pub fn pin(constant: &str, version: impl AsRef<str>, pinned: (&str, &str), bytes: impl AsRef<[u8]>) {
    let (version, made) = (version.as_ref(), blake3::hash(bytes.as_ref()).to_hex());
    let (known, digest) = pinned;
    if version != known {
        panic!("the version is another one, {constant}: put (\"{version}\", \"{made}\") here");
    }
    if made.as_str() != digest {
        panic!(
            "the bytes changed and their version did not: raise {constant}, because results with other bytes are known by \
             \"{version}\", and put this digest here: {made}"
        );
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

/// The name of a constant that is a writer's version, if the line declares one.
fn version_constant(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("const ")?;
    let (name, _) = rest.split_once(": ")?;
    let is_one = name.ends_with("_WRITER") || ["CODEC", "RESOLVER"].contains(&name);
    is_one.then_some(name)
}

#[test]
fn every_writer_that_has_a_version_is_pinned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let texts: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            (name, fs::read_to_string(file).unwrap())
        })
        .collect();
    let mut count = 0;
    for (file, text) in &texts {
        for name in text.lines().filter_map(version_constant) {
            let pinned = format!("\"{name} in {file}\"");
            assert!(texts.iter().any(|(_, text)| text.contains(&pinned)), "no test pins {pinned}");
            count += 1;
        }
    }
    assert!(count > 15, "the constants are not where this test looks");
}

#[test]
fn other_bytes_with_the_same_version_say_what_to_raise() {
    let failed = |version: &'static str, bytes: &'static str| {
        let digest = blake3::hash(b"bytes").to_hex().to_string();
        let pinning = move || pin("A_WRITER in a.rs", version, ("a 1", &digest), bytes);
        let panic = std::panic::catch_unwind(pinning).err()?;
        Some(panic.downcast_ref::<String>().unwrap().clone())
    };
    assert_eq!(failed("a 1", "bytes"), None);
    let said = failed("a 1", "others").unwrap();
    assert!(said.contains("raise A_WRITER in a.rs"), "{said}");
    assert!(said.contains(blake3::hash(b"others").to_hex().as_str()), "{said}");
    let said = failed("a 2", "bytes").unwrap();
    assert!(said.contains("put (\"a 2\", "), "{said}");
}
