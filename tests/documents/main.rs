//! What README and the documents show is what happens: README's recipe is built by README's commands with README's output, and
//! every command that a document names is run. Over an archive so small that a bootstrap takes a tenth of a second; the same
//! session over Debian itself is in the end-to-end tests. Needs root.

#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../differential/archive.rs"]
mod archive;
#[path = "../harness/documents.rs"]
mod documents;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../differential/elsewhere.rs"]
mod elsewhere;
mod jobs;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../harness/signer.rs"]
mod signer;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../archives/vendor.rs"]
mod vendor;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use archive::Archives;
use documents::{assert_shown, blocks, readme, sessions};

/// Commands that are not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("ibuild cache export", "writes to standard output: tests/suite/exchange.rs"),
    (
        "ibuild cache export --sign gpg:builder@example.org --to veil.ibuild",
        "needs a secret key: tests/suite/exchange.rs",
    ),
    (
        "ibuild cache export workstation.ova --to veil.ibuild",
        "is about examples/veil: tests/suite/exchange.rs",
    ),
    ("ibuild cache import", "needs an archive: tests/suite/exchange.rs"),
    ("ibuild cache import veil.ibuild", "needs an archive: tests/suite/exchange.rs"),
    (
        "ibuild cache import veil.ibuild --require-signature builder.asc",
        "needs an archive: tests/suite/exchange.rs",
    ),
    ("ibuild release", "needs a version, or a repository that has one: tests/suite/release.rs"),
    ("ibuild boot hello.ova --until 'login:'", "needs a real Debian: the end-to-end test boots it"),
    (
        "ibuild build --target workstation.ova",
        "is about the recipe of examples/veil: the appliance's test builds it",
    ),
    (
        "ibuild build --secret TOKEN=../token hello.ova",
        "no step of README's project asks for a secret: tests/suite/secrets.rs",
    ),
    ("ibuild init", "makes a project where one is: tests/suite/cli.rs"),
    ("ibuild ls hello.ova /etc/systemd/network", "is about examples/hello: the end-to-end test builds it"),
    (
        "ibuild man --output /usr/local/share/man/man1",
        "writes outside of the test's directory: tests/suite/manual.rs",
    ),
    ("ibuild mount hello.ova /mnt", "mounts outside of the test's directory: tests/suite/inside.rs"),
    ("ibuild packages why login", "there is no such package in this archive"),
    ("ibuild proxy", "serves until it is stopped: tests/proxy.rs"),
    ("ibuild proxy --listen 127.0.0.1:3142", "serves until it is stopped: tests/proxy.rs"),
    ("ibuild check-attestation workstation.json --rebuild", "is about examples/veil: tests/suite/release.rs"),
    (
        "ibuild attest workstation.ova --output workstation.json",
        "is about examples/veil: tests/suite/release.rs",
    ),
    (
        "ibuild release --check out/demo-1.2 --key release.asc",
        "needs a signed release: tests/suite/release.rs",
    ),
    (
        "ibuild release --version 1.2 --previous out/demo-1.1 --sign gpg:release@example.org",
        "needs a secret key: tests/suite/release.rs",
    ),
    ("ibuild verify --against FILE", "needs a record: tests/suite/release.rs"),
    ("ibuild test", "needs QEMU and a real Debian: the end-to-end test"),
    ("ibuild test --json", "the same"),
    ("ibuild test [NAME...]", "the same"),
    ("ibuild umount /mnt", "see `mount`"),
    ("ibuild watch", "builds until it is stopped: tests/suite/watch.rs"),
    ("ibuild watch hello.ova", "builds until it is stopped: tests/suite/watch.rs"),
    ("ibuild verify --against out", "another command has cleaned the directory: tests/suite/verify.rs"),
    ("ibuild verify --against /mnt/ci/store", "needs another store: tests/suite/verify.rs"),
    ("ibuild verify workstation.ova gateway.ova", "is about examples/veil: the appliance's test verifies it"),
    ("ibuild verify --since main", "needs a repository: tests/suite/verify.rs"),
];

/// Commands whose status is not of ibuild's making, and why.
const MAY_FAIL: &[(&str, &str)] =
    &[("ibuild doctor", "tells by its status what this machine lacks"), ("ibuild doctor --json", "the same")];

/// What stands for an argument in a document, and one that README's project has.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("sources NAME", "sources hello"),
    ("why NAME", "why apt"),
    ("import DIR", "import ."),
    ("STAGE", "hello/issue"),
    ("[NAME...]", ""),
    ("NAME...", ""),
];

/// README's recipe over an archive of its own.
struct Lab {
    dir: tempfile::TempDir,
    _archives: Archives,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let archives = Archives::new();
        for name in ["project/keys", "bin", "home"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_ibuild"), dir.path().join("bin/ibuild")).unwrap();
        fs::write(dir.path().join("project/keys/mini.asc"), archives.armoured_key()).unwrap();
        let readme = readme();
        let recipe = blocks(&readme, "toml")[0];
        let (before, rest) = recipe.split_once("[archive.debian]\n").expect("README's archive");
        let (_, after) = rest.split_once("\n\n").expect("README's archive ends");
        let archive =
            format!("url = \"{}\"\nsuites = [\"mini\"]\nkey = \"keys/mini.asc\"", archives.url("a"));
        fs::write(
            dir.path().join("project/ibuild.toml"),
            format!("{before}[archive.debian]\n{archive}\n\n{after}\n"),
        )
        .unwrap();
        Self { dir, _archives: archives }
    }

    /// A shell in the project, to be run.
    fn shell(&self, script: &str) -> Command {
        let dir = self.dir.path();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.join("bin").display());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-euc", script]).current_dir(dir.join("project")).env_clear();
        shell.env("PATH", path).env("HOME", dir.join("home")).env("IBUILD_CACHE_DIR", dir.join("cache"));
        shell.stdin(Stdio::null());
        shell
    }

    /// What a shell does with a command, all of what it prints in one text.
    fn run(&self, command: &str) -> (Output, String) {
        let dir = self.dir.path();
        let output = self.shell(&format!("exec 2>&1; {command}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.replace(dir.join("cache").to_str().unwrap(), "/var/cache/ibuild");
        (output, said)
    }
}

fn is_run(command: &str) -> bool {
    !NOT_RUN.iter().any(|(known, _)| *known == command)
}

#[test]
fn readmes_recipe_is_built_as_readme_shows() {
    let (lab, readme) = (Lab::new(), readme());
    let picture = blocks(&readme, "mermaid")[0];
    let (_, drawn) = lab.run("ibuild graph --format mermaid");
    assert_eq!(drawn.trim_end(), picture);
    let typed = sessions(&readme);
    assert!(typed.len() > 8, "the sessions are not where this test looks");
    let (typed, left_out): (Vec<_>, Vec<_>) = typed.iter().partition(|shown| is_run(&shown.command));
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    for shown in typed {
        let (_, said) = lab.run(&shown.command);
        assert_shown(shown, &said);
    }
}

/// Each cause that `ibuild verify` names has its row, in the program's own words.
#[test]
fn causes_of_differences_are_in_the_document() {
    let document = include_str!("../../docs/reproducible.md");
    let (_, causes) = document.split_once("## Causes and cures").expect("the causes have a section");
    let rows: Vec<_> = causes.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = ibuild::stages::compare::Cause::ALL
        .iter()
        .map(|cause| {
            let cell = |text: &str| text.replace('|', "\\|");
            format!("| `{}` | {} | {} |", cause.word(), cell(cause.sentence()), cell(cause.cure()))
        })
        .collect();
    assert_eq!(rows, expected);
}

/// Texts between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Which fields a document has; of one with further fields in some cases, those too.
#[test]
fn json_documents_have_the_fields_of_their_table() {
    let lab = Lab::new();
    for command in ["build --target hello", "build --target hello --from hello/issue"] {
        lab.run(&format!("ibuild {command}"));
    }
    let documents = documents::all();
    let reference = documents.iter().find(|document| document.name == "docs/cli.md").expect("docs/cli.md");
    let (_, section) = reference.text.split_once("\n## JSON documents\n").expect("the table of documents");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("| `ibuild ")).collect();
    assert!(rows.len() > 10, "the rows are not where this test looks");
    for row in rows {
        let (command, fields) = row.split_once("` | ").expect("a command and its fields");
        let (_, said) = lab.run(&format!("ibuild {command} 2> /dev/null"));
        let document: serde_json::Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(document["v"], 1, "{command}");
        let object = document.as_object().expect("a document is an object");
        let mut groups = fields.split("; each of `");
        let top = quoted(groups.next().unwrap_or_default());
        let found: BTreeSet<_> = object.keys().map(String::as_str).filter(|key| *key != "v").collect();
        let only_sometimes = BTreeSet::from(["appliance"]);
        assert_eq!(&top - &only_sometimes, found, "{command}");
        let groups: Vec<_> = groups.map(|group| group.split_once('`').expect("a field ends")).collect();
        for (field, value) in object {
            let Some(first) = value.as_array().and_then(|list| list.first()?.as_object()) else { continue };
            let of_it = groups.iter().find(|(name, _)| name == field);
            let (_, told) = of_it.unwrap_or_else(|| panic!("{command}: what is in `{field}`?"));
            let told = quoted(told);
            let lacks: Vec<_> = first.keys().filter(|key| !told.contains(key.as_str())).collect();
            assert!(lacks.is_empty(), "{command}: each of `{field}` also has {lacks:?}");
        }
    }
}

/// The command with arguments that README's project has.
fn filled_in(command: &str) -> String {
    let fill =
        |command: String, (placeholder, argument): &(&str, &str)| command.replace(placeholder, argument);
    PLACEHOLDERS.iter().fold(command.to_owned(), fill)
}

#[test]
fn commands_that_documents_name_are_run() {
    let lab = Lab::new();
    for command in ["build --target hello", "build --target hello --from hello/issue"] {
        let (output, said) = lab.run(&format!("ibuild {command}"));
        assert!(output.status.success(), "{said}");
    }
    // The others are run in their order by the test of README.
    let typed: BTreeSet<_> = sessions(&readme()).into_iter().map(|shown| shown.command).collect();
    let named: BTreeSet<_> =
        documents::all().iter().flat_map(|document| documents::commands(&document.text)).collect();
    for (command, _) in NOT_RUN {
        assert!(named.contains(*command), "no document names `{command}` any more");
    }
    // One removes all results, so it comes last.
    let (mut run, last): (Vec<_>, Vec<_>) = named
        .iter()
        .filter(|command| is_run(command) && !typed.contains(*command))
        .partition(|command| !command.contains(" rm "));
    run.extend(last);
    assert!(run.len() > 20, "the commands are not where this test looks");
    let mut wrong = Vec::new();
    for command in run {
        let (output, said) = lab.run(&filled_in(command));
        let may_fail = MAY_FAIL.iter().any(|(known, _)| known == command);
        if !output.status.success() && !may_fail && !documents::is_name_only(&said) {
            wrong.push(format!("`{command}` ended with {}:\n{said}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
