//! Tests of `rocks.rs`.

use rocksdb::statistics::Ticker;

use super::*;

#[test]
fn behaves_like_the_one_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    crate::index::suite::run(&RocksIndex::new(&Layout::new(dir.path())));
}

#[test]
fn another_handle_sees_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let (writer, reader) = (RocksIndex::new(&layout), RocksIndex::new(&layout));
    assert_eq!(reader.get(Table::Actions, b"k").unwrap(), None);
    for n in 0..20_u8 {
        let mut batch = Batch::default();
        batch.put(Table::Actions, b"k", vec![n]);
        writer.commit(batch).unwrap();
        reader.refresh();
        assert_eq!(reader.get(Table::Actions, b"k").unwrap(), Some(vec![n]));
    }
}

#[test]
fn hints_become_durable_with_the_next_commit_or_when_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let (writer, reader) = (RocksIndex::new(&layout), RocksIndex::new(&layout));
    let seen = |key: &[u8]| {
        reader.refresh();
        reader.get(Table::Memo, key).unwrap()
    };
    writer.hint(Table::Memo, b"a", vec![1]);
    writer.commit(Batch::default()).unwrap();
    assert_eq!(seen(b"a"), None);
    let mut batch = Batch::default();
    batch.put(Table::Actions, b"k", vec![2]);
    writer.commit(batch).unwrap();
    assert_eq!(seen(b"a"), Some(vec![1]));
    writer.hint(Table::Memo, b"b", vec![3]);
    assert_eq!(seen(b"b"), None);
    writer.commit_hints().unwrap();
    assert_eq!(seen(b"b"), Some(vec![3]));
    assert!(writer.hints().is_empty());
}

#[test]
fn an_index_without_its_beginning_is_broken_and_not_empty() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let index = RocksIndex::new(&layout);
    let commit = || {
        let mut batch = Batch::default();
        batch.put(Table::Actions, b"k", vec![1]);
        index.commit(batch)
    };
    commit().unwrap();
    let current = layout.index().join("CURRENT");
    let beginning = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    let is_broken = |e: CacheError| matches!(e, CacheError::Index { .. });
    assert!(is_broken(index.get(Table::Actions, b"k").unwrap_err()));
    assert!(is_broken(commit().unwrap_err()));
    assert!(is_broken(index.compact().unwrap_err()));
    fs::write(current, beginning).unwrap();
    assert_eq!(index.get(Table::Actions, b"k").unwrap(), Some(vec![1]));
}

#[test]
fn a_full_disk_is_no_broken_index() {
    let kind = |reason| refusal(reason).map(|error| error.kind());
    let full = "IO error: No space left on device: While appending to file: /x/000012.log";
    assert_eq!(kind(full), Some(io::ErrorKind::StorageFull));
    assert_eq!(kind("Corruption: block checksum mismatch"), None);
    assert_eq!(kind("IO error: No such file or directory: /x/000012.sst"), None);
}

#[test]
fn forgotten_facts_take_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let index = RocksIndex::new(&layout);
    index.compact().unwrap();
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let (mut puts, mut deletes) = (Batch::default(), Batch::default());
    for n in 0..200_u8 {
        puts.put(Table::Trees, &[n], (0..10_000).map(|_| noise()).collect());
        deletes.delete(Table::Trees, &[n]);
    }
    takes_little_after(&index, puts, deletes);
    assert_eq!(index.scan(Table::Trees, &[]).unwrap(), []);
}

/// What is deleted of what is put must be nearly all of it.
fn takes_little_after(index: &RocksIndex, puts: Batch, deletes: Batch) {
    let size = || crate::Usage::of(&index.path).unwrap().bytes;
    index.commit(puts).unwrap();
    let full = size();
    index.commit(deletes).unwrap();
    index.compact().unwrap();
    assert!(size() < full / 4, "{full} became {}", size());
}

/// Tables are merged now and then while a build waits. Long rows must not be in them.
#[test]
fn long_rows_are_not_in_tables() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let index = RocksIndex::new(&layout);
    let long = vec![7; 1 << 20];
    for n in 0..10_u8 {
        let mut batch = Batch::default();
        batch.put(Table::Actions, &[n], long.clone());
        index.commit(batch).unwrap();
    }
    let files = fs::read_dir(layout.index()).unwrap().map(|entry| entry.unwrap());
    let tables = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "sst"));
    let size: u64 = tables.map(|table| table.metadata().unwrap().len()).sum();
    assert!(size < 200 << 10, "{size}");
    assert_eq!(index.get(Table::Actions, &[0]).unwrap(), Some(long));
}

#[test]
fn forgotten_long_rows_take_no_space_beside_others() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let index = RocksIndex::new(&layout);
    let (mut puts, mut deletes) = (Batch::default(), Batch::default());
    let long = vec![7; LONG_ROW as usize];
    for n in 0..8_u8 {
        puts.put(Table::Trees, &[n], long.clone());
        if n > 0 {
            deletes.delete(Table::Trees, &[n]);
        }
    }
    takes_little_after(&index, puts, deletes);
    assert_eq!(index.scan(Table::Trees, &[]).unwrap(), [(vec![0], long)]);
}

#[test]
fn a_table_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut writing = options();
    writing.set_disable_auto_compactions(true);
    let db = DB::open(&writing, dir.path()).unwrap();
    let tables = 40;
    for n in 0..tables {
        // Each table may have any key between the first and the last.
        for key in [[0, n], [9, n]] {
            db.put(key, b"row").unwrap();
        }
        db.flush().unwrap();
    }
    drop(db);
    let mut reading = options();
    reading.enable_statistics();
    let db = DB::open_for_read_only(&reading, dir.path(), false).unwrap();
    for key in 1..9 {
        assert_eq!(db.get([key]).unwrap(), None);
    }
    assert_eq!(reading.get_ticker_count(Ticker::NoFileOpens), tables.into());
}

#[test]
fn log_files_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let index = RocksIndex::new(&layout);
    for n in 0..30_u8 {
        let mut batch = Batch::default();
        batch.put(Table::Actions, b"k", vec![n]);
        index.commit(batch).unwrap();
    }
    let logs = fs::read_dir(layout.index())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("LOG"));
    assert!(logs.count() <= 2);
}
