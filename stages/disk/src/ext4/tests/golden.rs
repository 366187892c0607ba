//! Pins the bytes of the file system, with the version that stands for them in keys.

use super::*;
use ibuild_golden::pin;

/// The same bytes on every machine, in which nothing repeats.
fn fixed(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Every type of file, names and targets of all lengths, times before and long after 1970, owners of more than 16 bits, holes.
fn files(dir: &Path) {
    put(dir, "etc/hosts", b"127.0.0.1 localhost\n");
    put(dir, "etc/empty", b"");
    put(dir, "usr/bin/large", &fixed(1, 300_001));
    put(dir, "usr/bin/exact", &fixed(2, 65_536));
    fs::hard_link(dir.join("etc/hosts"), at(dir, "usr/hosts")).unwrap();
    for (name, target) in [("short", 5), ("fits", 59), ("long", 60), ("longest", 3000)] {
        let link = at(dir, &format!("etc/{name}"));
        symlink(&"t/".repeat(target)[..target], &link).unwrap();
        set_mtime(&link, EPOCH - 2000);
    }
    for (name, node) in [("null", &["c", "1", "3"][..]), ("large", &["b", "259", "70000"]), ("pipe", &["p"])]
    {
        let path = at(dir, &format!("dev/{name}"));
        run(Command::new("mknod").arg("-m").arg("640").arg(&path).args(node));
        set_mtime(&path, EPOCH - 3000);
    }
    let sparse = put(dir, "var/sparse", b"first");
    let file = File::options().write(true).open(&sparse).unwrap();
    file.set_len(9 << 20).unwrap();
    (1..9).for_each(|n| file.write_all_at(b"island", (n << 20) + 4096 * 5).unwrap());
    set_mtime(&sparse, EPOCH - 1000);
    put(dir, &format!("etc/{}", "n".repeat(255)), b"longest name");
    set_mtime(&put(dir, "etc/old", b"old"), -86_400 * 365 * 60);
    let owned = put(dir, "etc/owned", b"o");
    chown(&owned, Some(1_000_000), Some(70_000)).unwrap();
    fs::set_permissions(&owned, fs::Permissions::from_mode(0o6755)).unwrap();
    with_attributes(dir);
    (0..300).for_each(|n| drop(put(dir, &format!("usr/share/many/file with a rather long name {n}"), b"x")));
}

/// What was there is replaced, removed, and gets neighbours.
fn changes(dir: &Path) {
    put(dir, "etc/hosts", b"other\n");
    put(dir, "usr/bin/large", &fixed(9, 100_000));
    make_whiteout(&at(dir, "usr/bin/exact")).unwrap();
    put(dir, "usr/bin/new", &fixed(10, 5000));
    (0..100).for_each(|n| drop(put(dir, &format!("usr/share/many/{n:0200}"), b"")));
}

#[test]
fn bytes_of_the_file_system_have_a_version() {
    let mut lab = Lab::new();
    lab.layer(files).layer(changes);
    // Of one block group, and of more than one.
    let made = [48, 160].map(|mib| lab.map(mib * MIB).bytes());
    pin(
        "EXT4_WRITER in disk/ext4/mod.rs",
        EXT4_WRITER,
        ("ibuild-ext4 2", "a147b921101234af9899e4a5e7d841db66022d20ed965478feb69d34ce369b19"),
        made.concat(),
    );
}
