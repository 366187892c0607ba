//! Each thing that can change a result changes the keys of exactly the stages that it can reach, and nothing else changes any.
//!
//! Stages are described as in a build, but what their inputs made is pinned by name: so an edit shows only where it goes in,
//! and not what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use ibuild::cache::{ActionKey, LayerId, MemoryIndex, Store, TreeId};
use ibuild::graph::Executor;
use ibuild::stages::packages::NullFetchObserver;
use ibuild::stages::recipe::{Overrides, Recipe};
use ibuild::stages::sandbox::{Cancel, InitProgram, Supervisor};
use ibuild::stages::snapshot::Snapshot;
use ibuild::stages::{ArchiveOptions, ExecutorOptions, NullObserver, Project, StageExecutor, StageOutput};

const RECIPE: &str = r#"
schema = 1
[project]
name = "keys"
epoch = 1767225600
[vars]
greeting = "hello"
[archive.debian]
suites = ["trixie", "trixie-updates"]
security = "trixie-security"
components = ["main"]
[rootfs.base]
steps = [{ name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } }]
[rootfs.ws]
from = "base"
env = { LANG = "C.UTF-8" }
steps = [
  { name = "tools", packages = ["sudo", "nftables"], recommends = false },
  { name = "files", copy = [{ from = "files", to = "/" }] },
  { name = "chroot", scripts = "scripts" },
  { name = "motd", run = "echo {vars.greeting} > /etc/motd", timeout = "60 s", volatile = ["/var/x"] },
  { name = "reads", run = "cat /run/ibuild/in/data", inputs = ["data"] },
  { name = "sane", check = "true" },
]
[image.ws]
rootfs = "ws"
formats = ["ova", "raw"]
disk = { size = "2 GiB" }
vm = { cpus = 1, memory = "512 MiB" }
"#;

const LOCK: &str = "format 1
release debian main trixie sha256:1111111111111111111111111111111111111111111111111111111111111111 10 2026-01-01T00:00:00Z
release debian main trixie-updates sha256:2222222222222222222222222222222222222222222222222222222222222222 10 2026-01-01T00:00:00Z
release debian security trixie-security sha256:3333333333333333333333333333333333333333333333333333333333333333 10 2026-01-01T00:00:00Z
";

struct Lab {
    root: tempfile::TempDir,
    dir: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("project");
        fs::create_dir_all(dir.join("files/etc")).unwrap();
        fs::create_dir(dir.join("scripts")).unwrap();
        let lab = Self { root, dir };
        lab.write("ibuild.toml", RECIPE);
        lab.write("ibuild.lock", LOCK);
        lab.write("files/etc/a", "a");
        lab.write("files/etc/b", "b");
        symlink("a", lab.dir.join("files/etc/link")).unwrap();
        lab.write("scripts/10-one", "#!/bin/sh\necho one\n");
        lab.write("scripts/20-two", "#!/bin/sh\napt-get install -y two\n");
        lab.write("data", "data");
        lab
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.dir.join(name)).unwrap();
        assert!(text.contains(from), "`{name}` has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The key of every stage, as if each of its inputs had made what its name says.
    fn keys(&self) -> BTreeMap<String, ActionKey> {
        self.keys_with_layers(|_| Vec::new())
    }

    /// The same, with the layers that make the tree of each stage.
    fn keys_with_layers(&self, layers: impl Fn(&str) -> Vec<LayerId>) -> BTreeMap<String, ActionKey> {
        let recipe = Recipe::load(&self.dir, &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
        let project = Project::new(&recipe);
        let store = Store::open(&self.root.path().join("store"), |_| MemoryIndex::default()).unwrap();
        let archives = ArchiveOptions { lock: self.dir.join("ibuild.lock"), ..ArchiveOptions::default() };
        let init = InitProgram { program: "/nonexistent".into(), arguments: Vec::new() };
        let supervisor = Supervisor::new(init, Cancel::default());
        let options = ExecutorOptions { archives, ..ExecutorOptions::default() };
        let executor = StageExecutor::new(
            &project,
            &store,
            supervisor,
            options,
            Arc::new(NullObserver),
            Arc::new(NullFetchObserver),
        );
        let name = |stage| project.graph.name(stage).to_string();
        let made = |stage| {
            let tree = TreeId::from_bytes(*blake3::hash(name(stage).as_bytes()).as_bytes());
            StageOutput::Snapshot(Snapshot::of(tree, layers(&name(stage))))
        };
        let mut keys = BTreeMap::new();
        for stage in project.graph.in_build_order() {
            let inputs: Vec<_> = project.graph.inputs(stage).into_iter().map(made).collect();
            let description = executor.describe(stage, &inputs.iter().collect::<Vec<_>>()).unwrap();
            keys.insert(name(stage), description.key());
        }
        keys
    }
}

/// Makes an edit, and expects other keys for `expected` and for no other stage.
#[track_caller]
fn check(edit: impl FnOnce(&Lab), expected: &[&str]) {
    let lab = Lab::new();
    let before = lab.keys();
    edit(&lab);
    let after = lab.keys();
    let names: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let changed: Vec<_> = names.iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert_eq!(changed, expected);
}

const RUN_A_PROGRAM: &[&str] = &["ws/10-one", "ws/20-two", "ws/motd", "ws/reads", "ws/sane", "ws/tools"];
const DISKS: [&str; 6] = ["ws.ova", "ws.qcow2", "ws.raw", "ws.raw.zst", "ws.vdi", "ws.vmdk"];

#[test]
fn script_bytes_but_not_their_executable_bit() {
    check(|lab| lab.edit("scripts/10-one", "one", "1"), &["ws/10-one"]);
    check(|lab| lab.edit("scripts/10-one", "#!/bin/sh", "#!/bin/dash"), &["ws/10-one"]);
    // A script is run by its interpreter, whatever its mode in the checkout.
    check(|lab| lab.chmod("scripts/10-one", 0o755), &[]);
}

#[test]
fn order_is_part_of_the_keys() {
    check(
        |lab| fs::rename(lab.dir.join("scripts/10-one"), lab.dir.join("scripts/30-one")).unwrap(),
        &["ws/10-one", "ws/20-two", "ws/30-one", "ws/motd"],
    );
}

/// A script sees its name as `$0`, and the name of a file that is copied into a directory is that of the copy.
#[test]
fn names_that_a_stage_can_see() {
    let rename = |lab: &Lab, from: &str, to: &str| fs::rename(lab.dir.join(from), lab.dir.join(to)).unwrap();
    let lab = Lab::new();
    let keys = lab.keys();
    rename(&lab, "scripts/10-one", "scripts/15-one");
    assert_ne!(lab.keys()["ws/15-one"], keys["ws/10-one"]);
    let lab = Lab::new();
    lab.edit("ibuild.toml", "{ from = \"files\", to = \"/\" }", "{ from = \"files/etc/a\", to = \"/srv/\" }");
    let before = lab.keys();
    rename(&lab, "files/etc/a", "files/etc/other");
    lab.edit("ibuild.toml", "files/etc/a", "files/etc/other");
    let after = lab.keys();
    let changed: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(changed, ["ws/files"]);
}

#[test]
fn the_order_of_suites_and_components() {
    let may_install = &["base/bootstrap", "ws/20-two", "ws/tools"];
    check(
        |lab| lab.edit("ibuild.toml", "\"trixie\", \"trixie-updates\"", "\"trixie-updates\", \"trixie\""),
        may_install,
    );
    let components = |lab: &Lab, list: &str| lab.edit("ibuild.toml", "[\"main\"]", list);
    let (one, two) = (Lab::new(), Lab::new());
    components(&one, "[\"main\", \"contrib\"]");
    components(&two, "[\"contrib\", \"main\"]");
    let (one, two) = (one.keys(), two.keys());
    let changed: Vec<_> = one.keys().filter(|name| one[*name] != two[*name]).collect();
    assert_eq!(changed, may_install);
}

#[test]
fn copied_trees_by_content_bit_name_target_and_absence() {
    let files = &["ws/files"];
    check(|lab| lab.write("files/etc/a", "other"), files);
    check(|lab| lab.chmod("files/etc/a", 0o755), files);
    check(|lab| fs::remove_file(lab.dir.join("files/etc/a")).unwrap(), files);
    check(|lab| lab.write("files/etc/new", ""), files);
    check(|lab| fs::create_dir(lab.dir.join("files/empty")).unwrap(), files);
    check(|lab| fs::rename(lab.dir.join("files/etc/b"), lab.dir.join("files/etc/c")).unwrap(), files);
    check(
        |lab| {
            fs::remove_file(lab.dir.join("files/etc/link")).unwrap();
            symlink("b", lab.dir.join("files/etc/link")).unwrap();
        },
        files,
    );
}

#[test]
fn what_a_copy_is_to_look_like() {
    let rule = "to = \"/\" }";
    for with in ["owner = \"x\" }", "group = \"x\" }", "mode = \"0600\" }", "dirs = \"0700\" }"] {
        check(|lab| lab.edit("ibuild.toml", rule, &format!("to = \"/\", {with}")), &["ws/files"]);
    }
    check(|lab| lab.edit("ibuild.toml", rule, "to = \"/srv\" }"), &["ws/files"]);
}

#[test]
fn the_checkouts_times_and_umask_do_not_count() {
    check(
        |lab| {
            lab.chmod("files/etc/a", 0o660);
            lab.chmod("files/etc", 0o700);
            lab.chmod("data", 0o600);
            lab.write("files/etc/a", "a");
        },
        &[],
    );
}

#[test]
fn the_environment_of_what_runs() {
    check(|lab| lab.edit("ibuild.toml", "LANG = \"C.UTF-8\"", "LANG = \"C\""), RUN_A_PROGRAM);
    check(|lab| lab.edit("ibuild.toml", "env = { LANG", "env = { A = \"\", LANG"), RUN_A_PROGRAM);
}

#[test]
fn variables_go_where_they_are_used() {
    check(|lab| lab.edit("ibuild.toml", "greeting = \"hello\"", "greeting = \"bye\""), &["ws/motd"]);
}

#[test]
fn the_machine_that_a_step_sees() {
    let see = |machine: &str| {
        let with = format!("timeout = \"60 s\", machine = {{ {machine} }}");
        check(|lab| lab.edit("ibuild.toml", "timeout = \"60 s\"", &with), &["ws/motd"]);
    };
    see("cpus = 2");
    see("memory = \"1 GiB\"");
    see("readdir = \"sorted\"");
    see("clock = \"epoch\"");
    let with =
        |lab: &Lab, machine: &str| lab.edit("ibuild.toml", "timeout =", &format!("{machine}, timeout ="));
    check(|lab| with(lab, "machine = { readdir = \"stored\" }"), &[]);
    let keys = |machine: &str| {
        let lab = Lab::new();
        with(&lab, machine);
        lab.keys()["ws/motd"]
    };
    assert_ne!(keys("machine = { cpus = 2 }"), keys("machine = { cpus = 3 }"));
    assert_ne!(keys("machine = { memory = \"2 GiB\" }"), keys("machine = { memory = \"3 GiB\" }"));
}

#[test]
fn inputs_and_volatile_paths_of_a_step() {
    check(|lab| lab.write("data", "other"), &["ws/reads"]);
    check(|lab| lab.edit("ibuild.toml", "/var/x", "/var/y"), &["ws/motd"]);
}

#[test]
fn the_state_of_every_pocket_reaches_what_may_install() {
    let may_install = &["base/bootstrap", "ws/20-two", "ws/tools"];
    for digit in ["1", "2", "3"] {
        check(|lab| lab.edit("ibuild.lock", &digit.repeat(64), &"4".repeat(64)), may_install);
    }
    check(|lab| lab.edit("ibuild.toml", "[\"main\"]", "[\"main\", \"contrib\"]"), may_install);
    check(|lab| lab.edit("ibuild.toml", ", \"trixie-updates\"", ""), may_install);
    check(|lab| lab.edit("ibuild.lock", "2026-01-01", "2026-01-02"), &[]);
}

#[test]
fn packages_and_recommends() {
    check(|lab| lab.edit("ibuild.toml", "\"sudo\", ", ""), &["ws/tools"]);
    check(|lab| lab.edit("ibuild.toml", "recommends = false", "recommends = true"), &["ws/tools"]);
}

#[test]
fn the_epoch_reaches_everything() {
    let all: Vec<String> = Lab::new().keys().into_keys().collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    check(|lab| lab.edit("ibuild.toml", "epoch = 1767225600", "epoch = 1767225601"), &all);
}

#[test]
fn disks_and_machines() {
    check(|lab| lab.edit("ibuild.toml", "size = \"2 GiB\"", "size = \"3 GiB\""), &DISKS);
    check(|lab| lab.edit("ibuild.toml", "size = \"2 GiB\"", "size = \"2 GiB\", cmdline = \"quiet\""), &DISKS);
    check(
        |lab| lab.edit("ibuild.toml", "size = \"2 GiB\"", "size = \"2 GiB\", firmware = [\"bios\"]"),
        &DISKS,
    );
    check(|lab| lab.edit("ibuild.toml", "memory = \"512 MiB\"", "memory = \"1 GiB\""), &["ws.ova"]);
    check(|lab| lab.edit("ibuild.toml", "cpus = 1", "cpus = 2"), &["ws.ova"]);
}

#[test]
fn layers_make_the_layout_of_disks_and_an_oci_image_and_what_programs_see_and_nothing_else() {
    let lab = Lab::new();
    let programs = ["ws/10-one", "ws/20-two", "ws/motd", "ws/reads", "ws/sane", "ws/tools"];
    let mut layered = [&["ws.oci"][..], &DISKS, &programs].concat();
    layered.sort_unstable();
    let layers = |bytes: &[u8]| bytes.iter().map(|byte| LayerId::from_bytes([*byte; 32])).collect::<Vec<_>>();
    let before = lab.keys_with_layers(|_| layers(&[1, 2]));
    for other in [&[2, 1][..], &[1], &[1, 2, 3], &[1, 4]] {
        let after = lab.keys_with_layers(|_| layers(other));
        let changed: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
        assert_eq!(changed, layered, "{other:?}");
    }
}

#[test]
fn what_makes_no_difference_is_in_no_key() {
    check(|lab| lab.edit("ibuild.toml", "timeout = \"60 s\"", "timeout = \"61 s\""), &[]);
    check(|lab| lab.edit("ibuild.toml", "timeout =", "limits = { memory = \"1 GiB\" }, timeout ="), &[]);
    check(|lab| lab.edit("ibuild.toml", "env = { LANG", "limits = { processes = 99 }\nenv = { LANG"), &[]);
    check(|lab| lab.edit("ibuild.toml", "schema = 1", "# a comment\nschema   =   1"), &[]);
    check(
        |lab| {
            let mirror = "components = [\"main\"]\nmirror = \"http://mirror.invalid/debian\"";
            lab.edit("ibuild.toml", "components = [\"main\"]", mirror);
        },
        &[],
    );
    check(|lab| lab.write("scripts-unused", "x"), &[]);
}

#[test]
fn the_projects_place_is_in_no_key() {
    let lab = Lab::new();
    let before = lab.keys();
    let elsewhere = lab.root.path().join("some/where/else");
    fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    fs::rename(&lab.dir, &elsewhere).unwrap();
    let moved = Lab { dir: elsewhere, ..lab };
    assert_eq!(moved.keys(), before);
}

/// What is fetched counts by its digest; where it comes from does not.
#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn what_a_fetch_makes_and_not_where_it_is() {
    const STEP: &str = "  { name = \"got\", fetch = [{ url = \"https://example.org/f\", sha256 = \
        \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", to = \"/opt/f\", unpack = true, signature = { url = \
        \"https://example.org/f.asc\", key = \"keys/a.gpg\" } }] },\n";
    let lab = || {
        let lab = Lab::new();
        lab.edit("ibuild.toml", "  { name = \"motd\"", &format!("{STEP}  {{ name = \"motd\""));
        fs::create_dir(lab.dir.join("keys")).unwrap();
        fs::write(lab.dir.join("keys/a.gpg"), [0x98, 3, 4, 5, 6]).unwrap();
        fs::write(lab.dir.join("keys/b.gpg"), [0x98, 3, 4, 5, 7]).unwrap();
        fs::write(lab.dir.join("keys/c.gpg"), [0x98, 3, 4, 5, 6]).unwrap();
        lab
    };
    let before = lab().keys();
    let changes = |from: &str, to: &str| {
        let lab = lab();
        lab.edit("ibuild.toml", from, to);
        let after = lab.keys();
        let changed: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).cloned().collect();
        assert!(changed.iter().all(|name| name == "ws/got"), "{changed:?}");
        !changed.is_empty()
    };
    for (from, to) in [
        ("https://example.org/f\"", "http://elsewhere.example/g?x=1\""),
        ("url = \"https://example.org/f\"", "url = [\"https://a.example/f\", \"https://b.example/f\"]"),
        ("https://example.org/f.asc", "https://example.org/g.asc"),
        // The same keys, in another file.
        ("keys/a.gpg", "keys/c.gpg"),
        ("unpack = true", "unpack = true, strip = 0"),
        ("\"/opt/f\"", "\"/opt/f/\""),
        ("9f86d0", "9F86D0"),
        ("fetch = [{", "fetch = [ {"),
    ] {
        assert!(!changes(from, to), "{from} -> {to}");
    }
    for (from, to) in [
        ("9f86d0", "9f86d1"),
        ("/opt/f", "/opt/g"),
        ("unpack = true", "unpack = false"),
        ("unpack = true", "unpack = true, strip = 1"),
        ("unpack = true", "mode = \"0755\""),
        ("unpack = true", "unpack = true, owner = 7"),
        ("unpack = true", "unpack = true, group = 7"),
        ("keys/a.gpg", "keys/b.gpg"),
        (", signature = { url = \"https://example.org/f.asc\", key = \"keys/a.gpg\" }", ""),
    ] {
        assert!(changes(from, to), "{from} -> {to}");
    }
}
