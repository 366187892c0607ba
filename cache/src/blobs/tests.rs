//! Tests of `blobs.rs`.

use super::*;
use crate::{BlobId, Sha256};

fn store<D: Digest>() -> (tempfile::TempDir, BlobStore<D>) {
    let dir = tempfile::tempdir().unwrap();
    let tmp = dir.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    let store = BlobStore::new(dir.path().join("blobs"), tmp);
    (dir, store)
}

#[test]
fn what_is_written_is_read() {
    let (_dir, store) = store::<BlobId>();
    let stored = store.put(b"hello").unwrap();
    assert_eq!(stored.size, 5);
    assert_eq!(store.read(&stored.digest).unwrap().as_deref(), Some(&b"hello"[..]));
    assert_eq!(store.list().unwrap(), [stored]);
    assert_eq!(store.put(b"hello").unwrap(), stored);
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let (dir, store) = store::<BlobId>();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn other_bytes_than_expected_are_not_published() {
    let (_dir, store) = store::<Sha256>();
    let expected = store.put(b"right").unwrap().digest;
    store.remove(&expected).unwrap();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    assert!(matches!(writer.finish_expecting(&expected), Err(CacheError::WrongDigest { .. })));
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_truncated_blob_is_replaced_by_the_next_that_is_whole() {
    let (_dir, store) = store::<BlobId>();
    let digest = store.put(b"hello").unwrap().digest;
    let path = store.path(&digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"hel").unwrap();
    store.put(b"hello").unwrap();
    assert_eq!(store.verify(&digest).unwrap(), Some(true));
}

#[test]
fn holes_count_as_zeros_and_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    let (dir, store) = store::<BlobId>();
    let islands = [(0, 0), (0, 5), (3 << 20, (3 << 20) + 7), (5 << 20, 9 << 20), (1 << 20, (1 << 20) + 4096)];
    for (island, length) in islands {
        let (path, copy) = (dir.path().join("file"), dir.path().join("copy"));
        let file = File::create(&path).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(&[7; 5][..length.min(5) as usize], island).unwrap();
        let (bytes, blocks) = (fs::read(&path).unwrap(), file.metadata().unwrap().blocks());
        let digest = store.put(&bytes).unwrap().digest;
        store.remove(&digest).unwrap();
        store.adopt(&path, &digest).unwrap();
        assert_eq!(store.verify(&digest).unwrap(), Some(true));
        File::create(&copy).unwrap();
        assert!(store.copy(&digest, &copy, &Cancel::default()).unwrap());
        assert!(fs::read(&copy).unwrap() == bytes);
        assert_eq!(fs::metadata(&copy).unwrap().blocks(), blocks);
    }
}

#[test]
fn a_blob_of_several_pieces_is_copied_as_it_is() {
    let (dir, store) = store::<BlobId>();
    let bytes: Vec<u8> = (0..13 * PIECE as u64 + 4099).map(|n| ((n * n) >> 7) as u8).collect();
    let digest = store.put(&bytes).unwrap().digest;
    let copy = dir.path().join("copy");
    File::create(&copy).unwrap();
    assert!(store.copy(&digest, &copy, &Cancel::default()).unwrap());
    assert!(fs::read(&copy).unwrap() == bytes);
}

#[test]
fn a_damaged_blob_goes_when_it_is_copied() {
    let (dir, store) = store::<BlobId>();
    let digest = store.put(b"hello").unwrap().digest;
    let (path, copy) = (store.path(&digest), dir.path().join("copy"));
    File::create(&copy).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!store.copy(&digest, &copy, &Cancel::default()).unwrap(), "it is not here");
    fs::write(&path, "hellp").unwrap();
    assert!(!store.copy(&digest, &copy, &Cancel::default()).unwrap());
    assert_eq!(store.verify(&digest).unwrap(), None);
}

#[test]
fn a_flipped_byte_is_noticed() {
    let (_dir, store) = store::<BlobId>();
    let digest = store.put(b"hello").unwrap().digest;
    let path = store.path(&digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"hellp").unwrap();
    assert_eq!(store.verify(&digest).unwrap(), Some(false));
    assert_eq!(store.read(&digest).unwrap(), None);
    let whole = store.put(b"whole").unwrap();
    let scrubbed = store.scrub().unwrap();
    assert_eq!((scrubbed.count, scrubbed.bytes), (2, 10));
    assert_eq!(scrubbed.damaged, [Stored { digest, size: 5 }]);
    assert_eq!(store.list().unwrap(), [whole]);
}
