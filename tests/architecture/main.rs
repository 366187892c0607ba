//! What ARCHITECTURE.md promises and a program can check, from the sources themselves: the one direction between the
//! crates, the one file that names a library, and what no file may have.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A crate, its folder, and the crates of the workspace that it may use. A new arrow is a decision: it is drawn in
/// ARCHITECTURE.md first.
struct Crate {
    name: &'static str,
    folder: &'static str,
    uses: &'static [&'static str],
    /// Those that only its tests use.
    tests_use: &'static [&'static str],
}

const fn member(name: &'static str, folder: &'static str, uses: &'static [&'static str]) -> Crate {
    Crate { name, folder, uses, tests_use: &[] }
}

impl Crate {
    const fn with_tests_of(self, tests_use: &'static [&'static str]) -> Self {
        Self { tests_use, ..self }
    }
}

/// From the top down: each uses only what stands below it.
const CRATES: [Crate; 17] = [
    member("ibuild", ".", &["stages", "graph", "cache"]).with_tests_of(&["packages", "debian"]),
    member(
        "ibuild-stages",
        "stages",
        &[
            "machine", "sandbox", "disk", "snapshot", "packages", "recipe", "release", "compare", "host",
            "debian", "spec", "graph", "cache",
        ],
    ),
    member("ibuild-machine", "stages/machine", &["disk", "recipe", "host", "spec", "cache"]),
    member("ibuild-sandbox", "stages/sandbox", &["snapshot", "unpack", "host", "spec", "graph", "cache"])
        .with_tests_of(&["golden"]),
    member("ibuild-disk", "stages/disk", &["snapshot", "host", "spec", "cache"]).with_tests_of(&["golden"]),
    member("ibuild-snapshot", "stages/snapshot", &["host", "cache"]).with_tests_of(&["golden"]),
    member("ibuild-unpack", "stages/unpack", &["host"]),
    member("ibuild-packages", "stages/packages", &["host", "debian", "cache"]).with_tests_of(&["golden"]),
    member("ibuild-recipe", "stages/recipe", &["host", "debian", "spec", "cache"]),
    member("ibuild-release", "stages/release", &["debian"]),
    member("ibuild-compare", "stages/compare", &[]),
    member("ibuild-host", "stages/host", &[]),
    member("ibuild-debian", "stages/debian", &["cache"]),
    member("ibuild-spec", "stages/spec", &[]),
    member("ibuild-golden", "stages/golden", &[]),
    member("ibuild-graph", "graph", &["cache"]),
    member("ibuild-cache", "cache", &[]),
];

/// More than one idea fits into more lines.
const LONGEST_FILE: usize = 400;
/// Of tests, which are many small ideas.
const LONGEST_TESTS: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
}

fn files_under(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", dir.display()))
    {
        let path = entry.expect("entry of a directory").path();
        if path.is_dir() {
            files_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All Rust files of a crate by their path in the repository; this one, which names everything it forbids, is not
/// among them.
fn sources_of(folder: &str) -> BTreeMap<String, String> {
    let mut files = Vec::new();
    for part in ["src", "tests", "benches"] {
        let dir = root().join(folder).join(part);
        if dir.is_dir() {
            files_under(&dir, &mut files);
        }
    }
    let this = root().join("tests/architecture/main.rs");
    let name = |path: &Path| path.strip_prefix(root()).expect("under the root").display().to_string();
    let name = |path: &Path| name(path).trim_start_matches("./").to_owned();
    files.retain(|path| name(path) != name(&this));
    files.iter().map(|path| (name(path), read(path))).collect()
}

fn all_sources() -> BTreeMap<String, String> {
    let sources: BTreeMap<_, _> = CRATES.iter().flat_map(|known| sources_of(known.folder)).collect();
    assert!(sources.len() > 20, "the sources are not where this test looks");
    sources
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `word` stands in `text` as a whole identifier.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        !text[..start].chars().next_back().is_some_and(part)
            && !text[start + word.len()..].chars().next().is_some_and(part)
    })
}

/// Whether a line of code uses a crate: `name::` or `use name`. A feature or a variable of that name is no use.
fn uses(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code(line).match_indices(&path).any(|(start, _)| has_word(&code(line)[..start + name.len()], name))
        || has_word(code(line), &format!("use {name}"))
}

/// `file:line` of every line for which `wrong` holds.
fn lines_where(wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in all_sources() {
        for (number, line) in text.lines().enumerate() {
            if wrong(line) {
                found.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}, but:\n{}", found.join("\n"));
}

fn manifest(folder: &str) -> toml::Table {
    read(&root().join(folder).join("Cargo.toml")).parse().expect("a manifest")
}

/// The crates of the workspace that a section of a manifest names, without `ibuild-`.
fn members_in(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    let names = table.into_iter().flat_map(|table| table.keys());
    names.filter_map(|name| name.strip_prefix("ibuild-").map(str::to_owned)).collect()
}

#[test]
fn crates_use_what_they_may() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for (place, Crate { name, folder, uses, tests_use }) in CRATES.iter().enumerate() {
        let manifest = manifest(folder);
        assert_eq!(members_in(&manifest, "dependencies"), set(uses), "{name}");
        assert_eq!(members_in(&manifest, "dev-dependencies"), set(tests_use), "tests of {name}");
        assert_eq!(members_in(&manifest, "build-dependencies"), set(&[]), "build script of {name}");
        let below: BTreeSet<_> = CRATES[place + 1..].iter().map(|below| below.name.to_owned()).collect();
        for used in uses.iter().chain(*tests_use) {
            assert!(below.contains(&format!("ibuild-{used}")), "{name} uses {used}, which stands above it");
        }
    }
}

/// The folders of a crate, from the top down: each uses only those below it.
const FOLDERS: [(&str, &[&str]); 1] = [("stages/packages/src", &["apt", "proxy", "archive", "fetch"])];

#[test]
fn folders_of_a_crate_have_one_direction() {
    let sources = all_sources();
    let mut wrong = Vec::new();
    for (crate_dir, folders) in FOLDERS {
        for (place, folder) in folders.iter().enumerate() {
            let inside = format!("{crate_dir}/{folder}/");
            let files: Vec<_> = sources.iter().filter(|(file, _)| file.starts_with(&inside)).collect();
            assert!(!files.is_empty(), "there is no {inside}");
            for above in &folders[..place] {
                let path = format!("crate::{above}::");
                let using =
                    files.iter().filter(|(_, text)| text.lines().any(|line| code(line).contains(&path)));
                wrong.extend(using.map(|(file, _)| format!("{file} uses {above}")));
            }
        }
    }
    assert_none(&wrong, "a folder uses those below it");
}

#[test]
fn the_table_has_every_crate() {
    let manifest = manifest(".");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    let members: BTreeSet<_> = members.iter().filter_map(toml::Value::as_str).collect();
    let known: BTreeSet<_> =
        CRATES.iter().map(|known| known.folder).filter(|folder| *folder != ".").collect();
    assert_eq!(known, members);
}

#[track_caller]
fn assert_used_only_in(library: &str, file: &str) {
    let files: Vec<_> = all_sources()
        .into_iter()
        .filter(|(file, text)| !is_of_tests(file) && text.lines().any(|line| uses(line, library)))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(files, [file], "{library} is to be named in one file");
}

#[test]
fn rocksdb_is_named_in_one_file() {
    assert_used_only_in("rocksdb", "cache/src/rocks.rs");
}

#[test]
fn petgraph_is_named_in_one_file() {
    assert_used_only_in("petgraph", "graph/src/stage.rs");
}

fn is_of_tests(file: &str) -> bool {
    file.split('/').any(|part| part == "tests") || file.ends_with("/tests.rs")
}

#[test]
fn no_file_holds_more_than_one_idea() {
    let long: Vec<_> = all_sources()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, file)| *lines > if is_of_tests(file) { LONGEST_TESTS } else { LONGEST_FILE })
        .map(|(lines, file)| format!("{file} has {lines} lines"))
        .collect();
    assert_none(&long, "a file has at most 400 lines, one of tests 700");
}

#[test]
fn nothing_is_left_to_do() {
    let found = lines_where(|line| {
        ["todo!", "unimplemented!"].iter().any(|word| code(line).contains(word))
            || ["TODO", "FIXME", "XXX"].iter().any(|word| has_word(line, word))
    });
    assert_none(&found, "what is left to do is an issue, not a line");
}

#[test]
fn no_source_knows_whose_machine_it_was_written_on() {
    // `/root` alone is a home in every Debian; something under it is somebody's.
    let found = lines_where(|line| ["/home/", "/root/"].iter().any(|home| starts_path(line, home)));
    assert_none(&found, "a source names no home directory");
}

/// Whether a path that begins with `home` stands in `line`; `snapshot/root/x` and `ROOT/home/x` are others.
fn starts_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(start, _)| {
        !line[..start]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '/'))
    })
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for Crate { name, folder, .. } in CRATES {
        let manifest = manifest(folder);
        let obeys =
            manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(obeys, Some(true), "{name} has no `lints.workspace = true`");
    }
}

#[test]
fn the_rules_see_what_they_are_for() {
    assert!(uses("use rocksdb;", "rocksdb"));
    assert!(uses("    pub use rocksdb::{DB, Options};", "rocksdb"));
    assert!(uses("let db = rocksdb::DB::open(path);", "rocksdb"));
    assert!(!uses("let db = my_rocksdb::DB::open(path); // not rocksdb::DB", "rocksdb"));
    assert!(!uses("#[cfg(feature = \"rocksdb\")]", "rocksdb"));
    assert!(!uses("use ibuild_graph::Plan;", "ibuild"));
    assert!(starts_path("open(\"/home/somebody\")", "/home/"));
    assert!(!starts_path("layer/root/file and ROOT/home/x", "/home/"));
}

/// The name of a constant that is a writer's version, if the line declares one.
fn version_constant(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("const ")?;
    let (name, _) = rest.split_once(": ")?;
    let is_one = name.ends_with("_WRITER") || ["CODEC", "RESOLVER"].contains(&name);
    is_one.then_some(name)
}

/// See `stages/golden`.
#[test]
fn every_writer_that_has_a_version_is_pinned() {
    let sources = all_sources();
    let mut count = 0;
    for (file, text) in &sources {
        let Some(place) = file.strip_prefix("stages/") else { continue };
        let place = place.replacen("src/", "", 1);
        for name in text.lines().filter_map(version_constant) {
            let pinned = format!("\"{name} in {place}\"");
            assert!(sources.values().any(|text| text.contains(&pinned)), "no test pins {pinned}");
            count += 1;
        }
    }
    assert!(count > 15, "the constants are not where this test looks");
}

/// What stands between backticks in a document and is a Rust file.
fn files_named_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.ends_with(".rs") && !name.contains(char::is_whitespace))
}

/// Whether a document that says `snapshot/chain.rs` means a file that is there. A name alone stands in a table of its crate.
fn is_there(name: &str, sources: &BTreeMap<String, String>) -> bool {
    let Some((first, rest)) = name.split_once('/') else {
        return sources.keys().any(|file| file.rsplit('/').next() == Some(name));
    };
    let meant = [
        name.to_owned(),
        format!("src/{name}"),
        format!("stages/src/{name}"),
        format!("stages/{first}/src/{rest}"),
        format!("stages/{first}/{rest}"),
        format!("{first}/src/{rest}"),
    ];
    meant.iter().any(|file| root().join(file).is_file())
}

#[test]
fn documents_name_files_that_are_there() {
    let sources = all_sources();
    let mut documents = vec![root().join("README.md"), root().join("ARCHITECTURE.md")];
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    documents.extend(docs.map(|entry| entry.expect("entry of a directory").path()));
    let (mut count, mut lost) = (0, Vec::new());
    for document in documents {
        let text = read(&document);
        for name in files_named_in(&text) {
            count += 1;
            if !is_there(name, &sources) {
                lost.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(count > 50, "the documents are not where this test looks");
    assert_none(&lost, "a document names files that are there");
}
