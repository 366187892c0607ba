//! Pins what writers make of fixed inputs, together with their versions.
//!
//! The version of a writer stands for its bytes in the key of everything that it is used for. Where the bytes change and the
//! version does not, what an older program made is taken for what this one would make. So a digest and the version that it
//! belongs to are written down in one place: whoever changes one has to look at the other.

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
