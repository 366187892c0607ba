//! Tests of project files by content.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use ibuild_cache::MemoryIndex;
use ibuild_graph::Value;

use super::*;

struct Lab {
    root: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/a"), "a").unwrap();
        symlink("a", tree.join("etc/link")).unwrap();
        Self { root, store }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("tree").join(name)
    }

    fn describe(&self) -> Value {
        self.inputs().resolve(Path::new("tree"), &[]).unwrap().content.value()
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs::new(&self.store, TreeStore::new(&self.store), self.root.path())
    }
}

#[track_caller]
fn check(edit: impl FnOnce(&Lab), expect_change: bool) {
    let lab = Lab::new();
    let before = lab.describe();
    edit(&lab);
    assert_eq!(lab.describe() != before, expect_change);
}

#[test]
fn every_change_that_a_copy_would_show_counts() {
    check(|lab| fs::write(lab.path("etc/a"), "b").unwrap(), true);
    check(|lab| fs::set_permissions(lab.path("etc/a"), fs::Permissions::from_mode(0o755)).unwrap(), true);
    check(|lab| fs::remove_file(lab.path("etc/a")).unwrap(), true);
    check(|lab| fs::rename(lab.path("etc/a"), lab.path("etc/b")).unwrap(), true);
    check(|lab| fs::create_dir(lab.path("empty")).unwrap(), true);
    check(
        |lab| {
            fs::remove_file(lab.path("etc/link")).unwrap();
            symlink("b", lab.path("etc/link")).unwrap();
        },
        true,
    );
    check(
        |lab| {
            fs::remove_file(lab.path("etc/link")).unwrap();
            fs::write(lab.path("etc/link"), "a").unwrap();
        },
        true,
    );
}

#[test]
fn what_a_copy_would_not_show_does_not() {
    check(|lab| fs::set_permissions(lab.path("etc/a"), fs::Permissions::from_mode(0o600)).unwrap(), false);
    check(|lab| fs::set_permissions(lab.path("etc"), fs::Permissions::from_mode(0o700)).unwrap(), false);
    check(|lab| fs::write(lab.path("etc/a"), "a").unwrap(), false);
}

/// Makes a file look as if nobody had touched it for an hour, as far as a file can.
fn settle(path: &Path) -> FileStamp {
    let old = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    FileStamp::of(&fs::metadata(path).unwrap())
}

fn remember(lab: &Lab, key: &[u8; 16], record: &impl ibuild_cache::Record) {
    let mut batch = Batch::default();
    batch.put_record(Table::Memo, key, record);
    lab.store.index().commit(batch).unwrap();
}

const WRONG: BlobId = BlobId::from_bytes([7; 32]);

#[test]
fn a_remembered_digest_is_used_only_for_the_same_file() {
    let lab = Lab::new();
    let path = lab.path("etc/a");
    let stamp = settle(&path);
    remember(&lab, &stamp.key(), &MemoEntry { stamp, digest: WRONG });
    let digest = || lab.inputs().digest(&path, &fs::metadata(&path).unwrap()).unwrap();
    assert_eq!(digest(), WRONG, "the memo was not asked");
    fs::write(&path, "b").unwrap();
    assert_ne!(digest(), WRONG, "the memo was believed for another file");
}

#[test]
fn remembered_digests_of_a_directory_are_used_only_for_the_same_files() {
    let lab = Lab::new();
    let (path, before) = (lab.path("etc/a"), lab.describe());
    let memo = MemoEntry { stamp: settle(&path), digest: WRONG };
    let dir = FileStamp::of(&fs::metadata(lab.path("etc")).unwrap()).key();
    remember(&lab, &dir, &DirectoryMemo::new(vec![(b"a".to_vec(), memo)]));
    let believed = lab.describe();
    assert_ne!(believed, before, "the memo was not asked");
    fs::write(&path, "a").unwrap();
    assert_eq!(lab.describe(), before, "the memo was believed for another file");
}

#[test]
fn a_file_that_was_just_written_is_not_remembered() {
    let lab = Lab::new();
    let inputs = lab.inputs();
    inputs.resolve(Path::new("tree"), &[]).unwrap();
    inputs.flush().unwrap();
    let rows = lab.store.index().scan(Table::Memo, &[]).unwrap();
    assert_eq!(rows, [], "a stamp that may be racy was kept");
}

#[test]
fn what_is_ignored_is_told_and_does_not_count() {
    let lab = Lab::new();
    let before = lab.describe();
    fs::write(lab.path(".ibuildignore"), "*.log\n/out/\n").unwrap();
    fs::create_dir_all(lab.path("out/deep")).unwrap();
    for name in ["etc/a~", "etc/x.log", "out/deep/f"] {
        fs::write(lab.path(name), "").unwrap();
    }
    let ResolvedInput { content, ignored } = lab.inputs().resolve(Path::new("tree"), &[]).unwrap();
    assert_eq!(content.value(), before);
    assert_eq!(ignored, ["etc/a~", "etc/x.log", "out/"]);
    let inputs = lab.inputs();
    let list = inputs.list(&inputs.resolve(Path::new("tree"), &[]).unwrap().content).unwrap();
    let paths = list.files.iter().map(|file| file.path.as_slice());
    assert!(paths.eq([&b"etc"[..], b"etc/a", b"etc/link"]));
}

fn patterns(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn what_the_recipe_excludes_does_not_count() {
    let lab = Lab::new();
    let of = |exclude: &[&str]| {
        let content = lab.inputs().resolve(Path::new("tree"), &patterns(exclude)).unwrap().content;
        content.value()
    };
    let before = of(&[]);
    fs::create_dir(lab.path("docs")).unwrap();
    fs::write(lab.path("docs/a.md"), "").unwrap();
    assert_ne!(of(&[]), before);
    assert_eq!(of(&["/docs/"]), before);
    assert_ne!(of(&["*.md"]), before, "the directory is there");
    assert_ne!(of(&["a"]), of(&[]));
    fs::write(lab.path(".ibuildignore"), "docs\n").unwrap();
    assert_eq!(of(&[]), before);
    assert_ne!(of(&["!docs"]), before, "the recipe wins");
}

/// One copy of a directory without a file, and one with it: what is known of the file is not forgotten and learnt in turns.
#[test]
fn a_file_that_one_copy_leaves_out_stays_known() {
    let lab = Lab::new();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for name in ["etc/a", "etc/b"] {
        fs::write(lab.path(name), "").unwrap();
        fs::File::options().write(true).open(lab.path(name)).unwrap().set_modified(long_ago).unwrap();
    }
    let dir = FileStamp::of(&fs::metadata(lab.path("etc")).unwrap()).key();
    let stamp = |name: &str| FileStamp::of(&fs::metadata(lab.path(name)).unwrap());
    let memo = |name: &str| MemoEntry { stamp: stamp(name), digest: BlobId::from_bytes([7; 32]) };
    let known = DirectoryMemo::new(["a", "b"].map(|name| (name.into(), memo(&format!("etc/{name}")))));
    remember(&lab, &dir, &known);
    let inputs = lab.inputs();
    for exclude in [&["a"][..], &["b"], &[]] {
        inputs.resolve(Path::new("tree"), &patterns(exclude)).unwrap();
    }
    inputs.flush().unwrap();
    let kept: Option<DirectoryMemo> = lab.store.index().record(Table::Memo, &dir).unwrap();
    assert_eq!(kept, Some(known));
}

#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    let lab = Lab::new();
    nix::unistd::mkfifo(&lab.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = lab.inputs().resolve(Path::new("tree"), &[]).err().unwrap();
    assert!(matches!(&error, StageError::Special(path) if path.ends_with("tree/pipe")), "{error}");
    assert!(!error.is_environment(), "it is the project's fault");
}

/// Both by files, not by digests of directories.
#[test]
fn changes_name_files() {
    let lab = Lab::new();
    let inputs = lab.inputs();
    let described = || {
        let mut description = Description::new("copy", 1);
        description.set("files", inputs.resolve(Path::new("tree"), &[]).unwrap().content.value());
        description
    };
    let before = described();
    inputs.flush().unwrap();
    fs::write(lab.path("etc/a"), "b").unwrap();
    fs::create_dir(lab.path("new")).unwrap();
    let changes = inputs.changes(&before, &described());
    let paths: Vec<_> = changes.iter().map(|change| change.path.join(" ")).collect();
    assert_eq!(paths, ["files etc/a content", "files new"]);
    assert_eq!((&changes[1].old, &changes[1].new), (&None, &Some("directory".into())));
}

#[test]
fn a_listing_that_is_gone_is_one_change() {
    let lab = Lab::new();
    let mut descriptions = [1, 2].map(|number| {
        let mut description = Description::new("copy", 1);
        description.set("files", Value::Tree([number; 32]));
        description
    });
    let changes = lab.inputs().changes(&descriptions[0], &descriptions[1]);
    assert_eq!(changes.len(), 1);
    descriptions[1] = descriptions[0].clone();
    assert_eq!(lab.inputs().changes(&descriptions[0], &descriptions[1]), []);
}

/// What a stage is shown of a checkout is the same whatever its owners, modes, times and ignored files are.
#[test]
fn a_private_copy_has_the_look_of_its_digest() {
    use std::os::unix::fs::MetadataExt;

    let lab = Lab::new();
    fs::write(lab.path("etc/tool"), "tool").unwrap();
    fs::set_permissions(lab.path("etc/tool"), fs::Permissions::from_mode(0o4710)).unwrap();
    fs::write(lab.path("etc/a~"), "an editor's").unwrap();
    std::os::unix::fs::chown(lab.path("etc/a"), Some(1234), Some(77)).unwrap();
    fs::set_permissions(lab.path("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    let (inputs, to) = (lab.inputs(), lab.root.path().join("copy"));
    let content = inputs.resolve(Path::new("tree"), &[]).unwrap().content;
    inputs.lay_out(&content, &to, 1_700_000_000).unwrap();
    let look = |name: &str| {
        let meta = fs::symlink_metadata(to.join(name)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime(), meta.nlink())
    };
    assert_eq!(look("etc/tool"), (0o755, 0, 0, 1_700_000_000, 1));
    assert_eq!(look("etc/a"), (0o644, 0, 0, 1_700_000_000, 1));
    assert_eq!((look("etc").0, look("etc").3), (0o755, 1_700_000_000));
    assert_eq!(look("").3, 1_700_000_000);
    assert_eq!(fs::read_link(to.join("etc/link")).unwrap(), Path::new("a"));
    assert!(!to.join("etc/a~").exists());
}

#[test]
fn a_private_copy_is_of_what_was_hashed_or_not_made() {
    let lab = Lab::new();
    let inputs = lab.inputs();
    let content = inputs.resolve(Path::new("tree"), &[]).unwrap().content;
    fs::write(lab.path("etc/a"), "b").unwrap();
    let error = inputs.lay_out(&content, &lab.root.path().join("copy"), 0).unwrap_err();
    assert!(matches!(&error, StageError::InputsChanged(path) if path.ends_with("tree/etc/a")), "{error}");
}

#[test]
fn a_tree_may_be_as_deep_as_a_path_can_be_long() {
    let lab = Lab::new();
    let mut deep = lab.path("deep");
    while deep.as_os_str().len() < 4000 {
        fs::create_dir(&deep).unwrap();
        deep.push("d");
    }
    fs::write(&deep, "deep").unwrap();
    let inputs = lab.inputs();
    let content = inputs.resolve(Path::new("tree"), &[]).unwrap().content;
    let list = inputs.list(&content).unwrap();
    assert!(list.files.len() > 1_900, "{}", list.files.len());
    inputs.lay_out(&content, &lab.root.path().join("c"), 0).unwrap();
}
