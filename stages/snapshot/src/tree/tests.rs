//! Tests of `tree.rs`.

use super::*;
use ibuild_cache::MemoryIndex;

fn file(bytes: &[u8]) -> Entry {
    let content = BlobId::from_bytes(*blake3::hash(bytes).as_bytes());
    let meta = Metadata { mode: 0o644, ..Metadata::default() };
    Entry { meta, kind: Kind::File { content, size: bytes.len() as u64, link: None } }
}

fn listing(entries: &[(&str, Entry)]) -> Listing {
    Listing { entries: entries.iter().map(|(n, e)| (n.as_bytes().to_vec(), e.clone())).collect() }
}

fn every_kind() -> Listing {
    let meta = Metadata {
        mode: 0o4755,
        uid: 7,
        gid: 70_000,
        mtime: -3,
        xattrs: [(b"user.x".to_vec(), vec![0, 255])].into(),
    };
    let with = |kind| Entry { meta: meta.clone(), kind };
    let link = Some(b"a/b".to_vec());
    listing(&[
        ("char", with(Kind::Char(1, 3))),
        ("block", with(Kind::Block(8, 0))),
        ("dir", with(Kind::Directory(TreeId::from_bytes([9; 32])))),
        ("fifo", with(Kind::Fifo)),
        ("file", with(Kind::File { content: BlobId::from_bytes([1; 32]), size: 5, link })),
        ("symlink", with(Kind::Symlink(b"\xff/x".to_vec()))),
    ])
}

#[test]
fn what_is_encoded_is_decoded() {
    let listing = every_kind();
    assert_eq!(Listing::decode(&listing.encoded().finish()), Ok(listing));
}

/// A changed value here renames every tree that anybody has in a cache.
#[test]
fn pinned_vector() {
    let digest = TreeId::from_bytes(every_kind().encoded().hash());
    assert_eq!(digest.hex(), "78bbbab7b753049dabd0590b52543110ded614a2fd2efc9ea3b09e8eba2f2b42");
}

#[test]
fn every_field_counts() {
    let base = file(b"x");
    let mut others = vec![file(b"y")];
    let edits: [fn(&mut Metadata); 5] = [
        |m| m.mode = 0o600,
        |m| m.uid = 1,
        |m| m.gid = 1,
        |m| m.mtime = 1,
        |m| drop(m.xattrs.insert(b"user.a".to_vec(), vec![])),
    ];
    for edit in edits {
        let mut other = base.clone();
        edit(&mut other.meta);
        others.push(other);
    }
    for kind in [Kind::Fifo, Kind::Char(0, 1), Kind::Block(0, 1), Kind::Symlink(b"x".to_vec())] {
        others.push(Entry { kind, ..base.clone() });
    }
    let mut seen = std::collections::HashSet::from([listing(&[("f", base)]).encoded().hash()]);
    for other in others {
        assert!(seen.insert(listing(&[("f", other.clone())]).encoded().hash()), "{other:?}");
    }
}

#[test]
fn a_damaged_row_is_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
    let trees = TreeStore::new(&store);
    let id = trees.add_listing(&every_kind());
    let mut batch = Batch::default();
    trees.flush(&mut batch);
    store.index().commit(batch).unwrap();
    assert_eq!(trees.listing(id).unwrap(), every_kind());
    let mut batch = Batch::default();
    batch.put(Table::Trees, id.as_bytes(), listing(&[]).encoded().finish());
    store.index().commit(batch).unwrap();
    assert!(matches!(trees.listing(id), Err(SnapshotError::UnknownTree(_))));
}
