//! What a right recipe becomes.

use super::{BASE, Project};
use crate::{
    Account, CopyRule, ImageFormat, ImageName, Limits, Network, Nic, Overrides, Recipe, RecipeErrors,
    RootfsName, Step, StepKind,
};
use ibuild_spec::ByteSize;
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing};

/// The example of the documentation.
pub(super) const EXAMPLE: &str = r#"schema = 1
[project]
name  = "demo"
epoch = 1767225600

[vars]
suite = "trixie"

[archive.debian]
suites     = ["{vars.suite}", "{vars.suite}-updates"]
security   = "{vars.suite}-security"
components = ["main"]

[rootfs.base]
limits = { disk = "9 GiB", memory = "1 GiB" }
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } },
  { name = "kernel",    packages  = ["linux-image-amd64", "systemd-sysv", "grub-pc-bin"] },
]

[rootfs.tools]
from  = "base"
steps = [{ name = "make", run = "mkdir -p /opt/tool" }]

[rootfs.workstation]
from  = "base"
env   = { LANG = "C.UTF-8" }
limits = { memory = "2 GiB", processes = 100 }
steps = [
  { name = "tools",  packages = ["sudo", "nftables"], recommends = false },
  { name = "files",  copy     = [{ from = "files/shared", to = "/" }, { from = "files", to = "/srv", owner = "www-data", group = 33, mode = "0640", dirs = 0o750 }] },
  { name = "chroot", scripts  = "scripts/ws" },
  { name = "motd",   run      = "echo welcome > /etc/motd" },
  { name = "dist",   copy-from = { rootfs = "tools", paths = ["/opt/tool"] } },
  { name = "sane",   check    = "dpkg --audit && visudo -c", timeout = "5 min", limits = { processes = 7 }, env = { LANG = "C" } },
]

[image.workstation]
rootfs  = "workstation"
formats = ["ova", "qcow2"]
disk    = { size = "100 GiB", firmware = ["bios", "uefi"], fs-uuid = "26ada0c0-1165-4098-884d-aafd2220c2c6" }
vm      = { cpus = 3, memory = "2 GiB", nics = ["internal:Veil"] }

[image.gateway]
rootfs  = "tools"
formats = ["ova"]
disk    = { size = "8 GiB" }

[image.gateway.vm]
memory        = "768 MiB"
vram          = "128 MiB"
firmware      = "uefi"
disk-bus      = "ide"
nics          = ["nat", "internal:Veil", "none"]
audio         = "hda"
clipboard     = "host-to-guest"
drag-and-drop = "guest-to-host"
rtc           = "local"
boot-order    = ["disk", "network"]
description   = """
routes everything
through "Veil"
"""
product       = "Veil"
product-url   = "https://example.org/veil"
vendor        = "Veil makers"
vendor-url    = "https://example.org"
version       = "1.0"
eula          = "Free for all."

[image.pair]
machines = ["gateway", "workstation"]
formats  = ["ova"]

[test.boots]
machines = { ws = "workstation" }
expect   = "login:"
login    = { user = "user", password = "it's" }
files    = ["files"]
steps    = [
  { on = "ws", run = "echo 'a'\ntrue" },
  { on = "ws", expect = "a$" },
  { on = "ws", power = "freeze" },
]
silent   = ["ws/0"]
timeout  = "240 s"
"#;

fn name(text: &str) -> RootfsName {
    text.parse().expect("a name")
}

fn chain(recipe: &Recipe, rootfs: &str) -> Vec<String> {
    recipe.chain(&name(rootfs)).iter().map(|stage| stage.name.to_string()).collect()
}

fn step<'r>(recipe: &'r Recipe, stage: &str) -> &'r Step {
    recipe.step(&recipe.find_stage(stage).expect("it is there")).expect("it has a step")
}

#[test]
fn the_example_has_the_chain_it_says() {
    let recipe = Project::new(EXAMPLE).recipe();
    let expected = [
        "base/bootstrap",
        "base/kernel",
        "workstation/tools",
        "workstation/files",
        "workstation/10-tools",
        "workstation/30-user",
        "workstation/motd",
        "workstation/dist",
        "workstation/sane",
    ];
    assert_eq!(chain(&recipe, "workstation"), expected);
    assert_eq!(chain(&recipe, "tools")[..2], expected[..2]);
    assert_eq!(recipe.last_stage(&name("base")).expect("it has steps").name.to_string(), "base/kernel");
    assert!(recipe.chain(&name("nothing")).is_empty());
}

#[test]
fn the_example_has_the_values_it_says() {
    let recipe = Project::new(EXAMPLE).recipe();
    let archive = &recipe.archives["debian"];
    assert_eq!(archive.suites, ["trixie", "trixie-updates"]);
    assert_eq!(archive.security.as_deref(), Some("trixie-security"));
    assert_eq!(archive.architecture.as_str(), "amd64");
    let image = &recipe.images["workstation"];
    assert_eq!(image.formats, [ImageFormat::Ova, ImageFormat::Qcow2]);
    assert_eq!(image.disk.as_ref().map(|disk| disk.size), Some(ByteSize(100 << 30)));
    assert_eq!(image.vm.nics, [Nic::Internal("Veil".to_owned()).into()]);
    let StepKind::Copy(rules) = &step(&recipe, "workstation/files").kind else { panic!("it copies") };
    let expected = CopyRule {
        from: "files".into(),
        to: "/srv".to_owned(),
        owner: Some(Account::Name("www-data".to_owned())),
        group: Some(Account::Id(33)),
        mode: Some(0o640),
        dirs: Some(0o750),
        exclude: Vec::new(),
    };
    assert_eq!(rules[1], expected);
    assert_eq!(recipe.tests["boots"].timeout.map(|time| time.as_secs()), Some(240));
}

#[test]
fn several_machines_are_an_appliance_in_their_order() {
    let recipe = Project::new(EXAMPLE).recipe();
    let names = |machines: &[ImageName]| machines.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&recipe.appliances["pair"].machines), ["gateway", "workstation"]);
    assert!(!recipe.images.contains_key("pair"));
}

#[test]
fn a_machine_has_what_it_is_given_and_nothing_of_its_host() {
    let recipe = Project::new(EXAMPLE).recipe();
    let gateway = &recipe.images["gateway"].vm;
    assert_eq!((gateway.firmware, gateway.disk_bus), (Some(Firmware::Uefi), DiskBus::Ide));
    assert_eq!(gateway.boot_order, [BootDevice::Disk, BootDevice::Network]);
    assert_eq!(gateway.texts.description.as_deref(), Some("routes everything\nthrough \"Veil\"\n"));
    let plain = &recipe.images["workstation"].vm;
    assert_eq!((plain.audio, plain.clipboard), (Audio::None, Sharing::Disabled));
    assert_eq!((plain.drag_and_drop, plain.rtc), (Sharing::Disabled, Clock::Utc));
}

#[test]
fn an_archive_of_files_needs_no_disk() {
    let text = EXAMPLE.replace("formats = [\"ova\", \"qcow2\"]", "formats = [\"rootfs.tar.zst\"]");
    let text = text.replace("machines = [\"gateway\", \"workstation\"]", "machines = [\"gateway\"]");
    let lines = text.lines().filter(|line| !line.starts_with("disk    = { size = \"100"));
    let recipe = Project::new(&lines.collect::<Vec<_>>().join("\n")).recipe();
    assert_eq!(recipe.images["workstation"].disk, None);
}

#[test]
fn networks_follow_what_steps_do_unless_told() {
    let recipe = Project::new(
        &EXAMPLE
            .replace("from  = \"base\"\nsteps = [{", "from  = \"base\"\nsteps = [{ network = \"packages\","),
    );
    let recipe = recipe.recipe();
    let network = |stage: &str| step(&recipe, stage).network;
    assert_eq!(network("base/bootstrap"), Network::Packages);
    assert_eq!(network("base/kernel"), Network::Packages);
    assert_eq!(network("workstation/10-tools"), Network::Packages);
    assert_eq!(network("workstation/30-user"), Network::None);
    assert_eq!(network("workstation/files"), Network::None);
    assert_eq!(network("tools/make"), Network::Packages);
    let quiet = Project::with_step("name = \"a\", run = \"apt-get update\", network = \"none\"").recipe();
    assert_eq!(step(&quiet, "ws/a").network, Network::None);
}

#[test]
fn environments_come_from_the_whole_chain() {
    let text = r#"
[rootfs.a]
from = "base"
env = { A = "a", B = "a", C = "a" }
steps = [{ name = "s", run = "true" }]
[rootfs.b]
from = "a"
env = { B = "b", C = "b" }
steps = [{ name = "s", run = "true", env = { C = "step" } }, { name = "copy", copy = [{ from = "files", to = "/" }] }]
"#;
    let recipe = Project::with(text).recipe();
    let env = step(&recipe, "b/s").env.iter().map(|(name, value)| format!("{name}={value}"));
    assert_eq!(env.collect::<Vec<_>>(), ["A=a", "B=b", "C=step"]);
    assert!(step(&recipe, "base/bootstrap").env.is_empty());
    assert!(step(&recipe, "b/copy").env.is_empty(), "a copy cannot observe its environment");
}

#[test]
fn limits_come_from_the_whole_chain_key_by_key() {
    let recipe = Project::new(EXAMPLE).recipe();
    let limits = |memory: u64, processes, disk: u64| Limits {
        memory: Some(ByteSize(memory << 30)),
        processes,
        disk: Some(ByteSize(disk << 30)),
    };
    assert_eq!(step(&recipe, "base/kernel").limits, limits(1, None, 9));
    assert_eq!(step(&recipe, "workstation/30-user").limits, limits(2, Some(100), 9));
    assert_eq!(step(&recipe, "workstation/sane").limits, limits(2, Some(7), 9));
    assert!(step(&recipe, "workstation/files").limits.is_empty());
}

#[test]
fn stages_are_found_by_name() {
    let recipe = Project::new(EXAMPLE).recipe();
    assert_eq!(recipe.find_stage("workstation").expect("found").to_string(), "workstation/sane");
    assert_eq!(recipe.find_stage("base/kernel").expect("found").to_string(), "base/kernel");
    let missing = |text: &str| recipe.find_stage(text).expect_err("it is not there");
    assert_eq!(missing("base/kernle").to_string(), "there is no stage `base/kernle`");
    assert_eq!(missing("base/kernle").hint(), Some("did you mean `base/kernel`?"));
    assert_eq!(missing("workstaton/x").to_string(), "there is no rootfs `workstaton`");
    assert_eq!(missing("workstaton").hint(), Some("did you mean `workstation`?"));
}

#[test]
fn only_the_exact_form_is_a_var() {
    let run = "echo ${HOME} {x} {vars} {vars.} {vars.a b} ${vars.n}{vars.{vars.n}} | awk '{print}'";
    let text = format!(
        "[vars]\nn = 7\n[rootfs.ws]\nfrom = \"base\"\nsteps = [{{ name = \"a\", run = \"\"\"{run}\"\"\" }}]"
    );
    let recipe = Project::with(&text).recipe();
    let expected = "echo ${HOME} {x} {vars} {vars.} {vars.a b} $7{vars.7} | awk '{print}'";
    assert_eq!(step(&recipe, "ws/a").kind, StepKind::Run { command: expected.to_owned() });
}

fn load_with(project: &Project, name: &str, value: &str) -> Result<Recipe, RecipeErrors> {
    let mut overrides = Overrides::default();
    overrides.set(name.parse().expect("a name"), value);
    Recipe::load(project.path(), &overrides)
}

#[test]
fn vars_can_be_overridden() {
    let project = Project::new(EXAMPLE);
    let recipe = load_with(&project, "suite", "sid").expect("it is right");
    assert_eq!(recipe.archives["debian"].suites, ["sid", "sid-updates"]);
    assert_eq!(recipe.vars.values().collect::<Vec<_>>(), ["sid"]);
    let errors = load_with(&project, "suit", "sid").expect_err("there is no such var");
    assert_eq!(errors.to_string(), "there is no variable `suit` to override");
    assert_eq!(errors.diagnostics()[0].hint(), Some("did you mean `suite`?"));
}

#[test]
fn an_override_breaks_a_cycle() {
    let project = Project::with("[vars]\na = \"{vars.b}\"\nb = \"{vars.a}\"\n");
    assert_eq!(
        load_with(&project, "a", "x").expect("it is right").vars.values().collect::<Vec<_>>(),
        ["x", "x"]
    );
}

/// Places differ between a recipe and its canonical text.
fn without_places(mut recipe: Recipe) -> Recipe {
    for step in recipe.rootfses.values_mut().flat_map(|rootfs| &mut rootfs.steps) {
        (step.position.line, step.position.column) = (0, 0);
    }
    recipe
}

#[test]
fn what_is_shown_is_a_recipe_for_the_same() {
    let project = Project::new(EXAMPLE);
    let recipe = project.recipe();
    let shown = recipe.show().to_string();
    project.file("ibuild.toml", &shown);
    let again = project.recipe();
    assert_eq!(again.show().to_string(), shown);
    assert_eq!(without_places(again), without_places(recipe));
}

#[test]
fn json_has_the_words_of_the_recipe() {
    let recipe = Project::new(BASE).recipe();
    let json = serde_json::to_value(&recipe).expect("it can be written");
    let expected = serde_json::json!({
        "project": { "name": "demo", "epoch": 1767225600 },
        "vars": {},
        "archive": { "debian": {
            "name": "debian", "suites": ["trixie"], "security": null, "components": ["main"],
            "architecture": "amd64", "mirror": null, "security-mirror": null,
        } },
        "rootfs": { "base": {
            "name": "base", "from": null, "env": {},
            "steps": [{
                "name": "bootstrap",
                "bootstrap": { "archive": "debian", "variant": "minbase", "include": [] },
                "env": {}, "network": "packages", "inputs": [], "volatile": [],
                "position": { "file": "ibuild.toml", "line": 8, "column": 10 },
            }],
        } },
        "image": {},
        "test": {},
    });
    assert_eq!(json, expected);
}

#[test]
fn archives_of_others_are_told_with_their_words() {
    let project = Project::with(
        "[archive.tor]\nurl = \"https://deb.example.org/tor/\"\nsuites = [\"./\"]\nkey = \"keys/tor.asc\"\nforeign = [\"i386\"]\n\
         [rootfs.both]\nsteps = [{ name = \"b\", bootstrap = { archive = [\"debian\", \"tor\"] } }]\n",
    );
    project.file(
        "keys/tor.asc",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmAMEBQbN\nAm1liQABBw==\n-----END PGP PUBLIC KEY BLOCK-----\n",
    );
    let recipe = project.recipe();
    let json = serde_json::to_value(&recipe).expect("it can be written");
    let expected = serde_json::json!({
        "name": "tor", "url": "https://deb.example.org/tor", "key": "keys/tor.asc", "suites": ["./"], "security": null,
        "components": [], "architecture": "amd64", "foreign": ["i386"], "mirror": null, "security-mirror": null,
    });
    assert_eq!(json["archive"]["tor"], expected);
    assert_eq!(
        json["rootfs"]["both"]["steps"][0]["bootstrap"]["archive"],
        serde_json::json!(["debian", "tor"])
    );
    let shown = recipe.show().to_string();
    project.file("ibuild.toml", &shown);
    let again = project.recipe();
    assert_eq!(again.show().to_string(), shown);
    assert_eq!(without_places(again), without_places(recipe));
}
