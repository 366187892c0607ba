//! A resolved recipe as text, in one canonical form.
//!
//! The text is itself a recipe that resolves to the same stages: vars are substituted, includes joined,
//! directories of scripts listed, environments merged, defaults written out.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use toml::Value;

use super::account::Account;
use super::fetch::{FetchForm, FetchRule, Signature};
use super::image::{Appliance, Disk, Image};
use super::limits::Limits;
use super::machine_test::{Login, MachineTest, TestStep};
use super::model::{Archive, Recipe, Rootfs};
use super::names::EnvName;
use super::step::{CopyRule, Input, Recommends, SecretEffect, Step, StepKind, StepSecret};
use super::step_machine::StepMachine;
use super::vm::{NetworkCard, Vm};

/// The canonical text of a recipe, see [`Recipe::show`].
pub struct Shown<'r>(&'r Recipe);

impl Recipe {
    /// The recipe as ibuild understands it, as a recipe.
    pub fn show(&self) -> Shown<'_> {
        Shown(self)
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipe = self.0;
        writeln!(f, "schema = 1")?;
        let project = &recipe.project;
        table(f, "project", [pair("name", text(&project.name)), pair("epoch", project.epoch)])?;
        if !recipe.vars.is_empty() {
            table(f, "vars", recipe.vars.iter().map(|(name, value)| pair(name.as_str(), text(value))))?;
        }
        recipe
            .archives
            .values()
            .try_for_each(|it| table(f, &format!("archive.{}", key(&it.name)), archive(it)))?;
        recipe.rootfses.values().try_for_each(|it| rootfs(f, it))?;
        recipe.images.values().try_for_each(|it| table(f, &format!("image.{}", key(&it.name)), image(it)))?;
        let appliances = &mut recipe.appliances.values();
        appliances.try_for_each(|it| table(f, &format!("image.{}", key(&it.name)), appliance(it)))?;
        recipe.tests.values().try_for_each(|it| table(f, &format!("test.{}", key(&it.name)), test(it)))
    }
}

/// `key = value`.
type Pair = Option<String>;

fn pair(name: &str, value: impl Display) -> Pair {
    Some(format!("{name} = {value}"))
}

fn pair_if<T>(name: &str, value: Option<T>, show: impl Fn(T) -> String) -> Pair {
    value.and_then(|value| pair(name, show(value)))
}

fn table(f: &mut fmt::Formatter<'_>, name: &str, pairs: impl IntoIterator<Item = Pair>) -> fmt::Result {
    writeln!(f, "\n[{name}]")?;
    pairs.into_iter().flatten().try_for_each(|pair| writeln!(f, "{pair}"))
}

/// A TOML string.
fn text(value: impl Display) -> String {
    Value::String(value.to_string()).to_string()
}

fn texts(values: impl IntoIterator<Item: Display>) -> String {
    array(values.into_iter().map(text))
}

fn array(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(", "))
}

fn inline(pairs: impl IntoIterator<Item = Pair>) -> String {
    format!("{{ {} }}", pairs.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Names may contain `.` and `+`, which a bare key may not.
fn key(name: impl Display) -> String {
    let name = name.to_string();
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name } else { text(name) }
}

fn archive(archive: &Archive) -> [Pair; 9] {
    let vendor = archive.vendor.as_ref();
    [
        pair_if("url", vendor.map(|vendor| &vendor.url), text),
        pair_if("key", vendor.map(|vendor| vendor.key.display()), text),
        pair("suites", texts(&archive.suites)),
        pair_if("security", archive.security.as_ref(), text),
        pair_if("components", filled(&archive.components), texts),
        pair("architecture", text(&archive.architecture)),
        pair_if("foreign", filled(&archive.foreign), texts),
        pair_if("mirror", archive.mirror.as_ref(), text),
        pair_if("security-mirror", archive.security_mirror.as_ref(), text),
    ]
}

fn rootfs(f: &mut fmt::Formatter<'_>, rootfs: &Rootfs) -> fmt::Result {
    let env = (!rootfs.env.is_empty()).then_some(&rootfs.env);
    let pairs = [
        pair_if("from", rootfs.from.as_ref(), text),
        pair_if("env", env, environment),
        pair_if("limits", said(&rootfs.limits), limits),
    ];
    table(f, &format!("rootfs.{}", key(&rootfs.name)), pairs)?;
    writeln!(f, "steps = [")?;
    rootfs.steps.iter().try_for_each(|it| writeln!(f, "  {},", inline(step(it))))?;
    writeln!(f, "]")
}

fn environment(env: &BTreeMap<EnvName, String>) -> String {
    inline(env.iter().map(|(name, value)| pair(name.as_str(), text(value))))
}

fn said(limits: &Limits) -> Option<&Limits> {
    Some(limits).filter(|limits| !limits.is_empty())
}

fn limits(limits: &Limits) -> String {
    inline([
        pair_if("memory", limits.memory, text),
        pair_if("processes", limits.processes, |count| count.to_string()),
        pair_if("disk", limits.disk, text),
    ])
}

fn machine(machine: &StepMachine) -> String {
    inline([
        pair_if("cpus", machine.cpus, |count| count.to_string()),
        pair_if("memory", machine.memory, text),
        pair("readdir", text(machine.readdir.word())),
        pair("clock", text(machine.clock.word())),
    ])
}

fn step(step: &Step) -> Vec<Pair> {
    let mut pairs = vec![pair("name", text(&step.name))];
    pairs.extend(kind(&step.kind));
    let chooses =
        matches!(step.kind, StepKind::Script { .. } | StepKind::Run { .. } | StepKind::Check { .. });
    pairs.extend([
        pair_if("env", Some(&step.env).filter(|env| !env.is_empty()), environment),
        pair("network", text(step.network.word())).filter(|_| chooses),
        pair_if("machine", Some(&step.machine).filter(|machine| !machine.is_default()), machine),
        pair_if("timeout", step.timeout.as_ref(), |time| text(format!("{} s", time.as_secs()))),
        pair_if("limits", said(&step.limits), limits),
        pair_if("inputs", filled(&step.inputs), |inputs| array(inputs.iter().map(input))),
        pair_if("secrets", filled(&step.secrets), |secrets| array(secrets.iter().map(secret))),
        pair_if("reproducible", Some(&step.reproducible).filter(|it| !it.is_expected()), |_| {
            "false".to_owned()
        }),
        pair_if("volatile", Some(&step.volatile).filter(|paths| !paths.is_empty()), texts),
    ]);
    pairs
}

fn input(Input { path, exclude }: &Input) -> String {
    let path = text(path.display());
    match exclude.as_slice() {
        [] => path,
        exclude => inline([pair("path", path), pair("exclude", texts(exclude))]),
    }
}

fn secret(StepSecret { name, effect }: &StepSecret) -> String {
    match effect {
        SecretEffect::AccessOnly => text(name),
        SecretEffect::Output => inline([pair("name", text(name)), pair("affects-output", true)]),
    }
}

fn kind(kind: &StepKind) -> Vec<Pair> {
    let own = |value: String| pair(kind.key(), value);
    match kind {
        StepKind::Bootstrap { archive, variant, include } => {
            let include = Some(include).filter(|include| !include.is_empty());
            let archive = match archive.all() {
                [single] => pair("archive", text(single)),
                several => pair("archive", texts(several)),
            };
            vec![own(inline([
                archive,
                pair("variant", text(variant.word())),
                pair_if("include", include, texts),
            ]))]
        }
        StepKind::Packages { names, recommends } => {
            vec![own(texts(names)), pair("recommends", *recommends == Recommends::Install)]
        }
        StepKind::Copy(rules) => vec![own(array(rules.iter().map(copy_rule)))],
        StepKind::Script { path } => vec![own(text(path.display()))],
        StepKind::Run { command } | StepKind::Check { command } => vec![own(text(command))],
        StepKind::CopyFrom { rootfs, paths } => {
            vec![own(inline([pair("rootfs", text(rootfs)), pair("paths", texts(paths))]))]
        }
        StepKind::Fetch(rules) => vec![own(array(rules.iter().map(fetch_rule)))],
    }
}

fn account(account: &Account) -> String {
    match account {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => text(name),
    }
}

fn fetch_rule(rule: &FetchRule) -> String {
    let FetchRule { urls, sha256, to, form, owner, group, signature } = rule;
    let (mode, strip) = match form {
        FetchForm::File { mode } => (Some(mode), None),
        FetchForm::Archive { strip } => (None, Some(strip)),
    };
    let signed = |Signature { urls, key, keyring: _ }: &Signature| {
        inline([pair("url", texts(urls)), pair("key", text(key.display()))])
    };
    inline([
        pair("url", texts(urls)),
        pair("sha256", text(sha256.hex())),
        pair("to", text(to)),
        pair_if("mode", mode, |mode| text(format!("{mode:04o}"))),
        pair_if("owner", owner.as_ref(), account),
        pair_if("group", group.as_ref(), account),
        pair_if("unpack", strip, |_| "true".to_owned()),
        pair_if("strip", strip, u32::to_string),
        pair_if("signature", signature.as_ref(), signed),
    ])
}

fn copy_rule(rule: &CopyRule) -> String {
    let mode = |mode: &u32| text(format!("{mode:04o}"));
    inline([
        pair("from", text(rule.from.display())),
        pair("to", text(&rule.to)),
        pair_if("owner", rule.owner.as_ref(), account),
        pair_if("group", rule.group.as_ref(), account),
        pair_if("mode", rule.mode.as_ref(), mode),
        pair_if("dirs", rule.dirs.as_ref(), mode),
        pair_if("exclude", filled(&rule.exclude), texts),
    ])
}

fn image(image: &Image) -> [Pair; 4] {
    let disk = |disk: &Disk| {
        inline([
            pair("size", text(disk.size)),
            pair("firmware", texts(disk.firmware.iter().map(|firmware| firmware.word()))),
            pair_if("uuid", disk.uuid.as_ref(), text),
            pair_if("fs-uuid", disk.fs_uuid.as_ref(), text),
            pair_if("cmdline", disk.cmdline.as_ref(), text),
        ])
    };
    [
        pair("rootfs", text(&image.rootfs)),
        pair("formats", texts(&image.formats)),
        pair_if("disk", image.disk.as_ref(), disk),
        pair("vm", vm(&image.vm)),
    ]
}

fn vm(vm: &Vm) -> String {
    let firmware = vm.firmware.map(|firmware| firmware.word());
    let hardware = [
        pair_if("name", vm.name.as_ref(), text),
        pair_if("uuid", vm.uuid, text),
        pair("cpus", vm.cpus),
        pair("memory", text(vm.memory)),
        pair("vram", text(vm.vram)),
        pair_if("firmware", firmware, text),
        pair("disk-bus", text(vm.disk_bus)),
        pair("nics", array(vm.nics.iter().map(network_card))),
        pair("audio", text(vm.audio)),
        pair("clipboard", text(vm.clipboard)),
        pair("drag-and-drop", text(vm.drag_and_drop)),
        pair("rtc", text(vm.rtc)),
        pair("boot-order", texts(&vm.boot_order)),
    ];
    let extra = Some(&vm.virtualbox_extra).filter(|extra| !extra.is_empty());
    let extra = pair_if("virtualbox-extra", extra, |extra| {
        inline(extra.iter().map(|(key, value)| pair(&one_line(key), one_line(value))))
    });
    inline(
        hardware
            .into_iter()
            .chain([extra])
            .chain(vm.texts.said().map(|(key, said)| pair(key, one_line(said)))),
    )
}

fn network_card(NetworkCard { network, mac }: &NetworkCard) -> String {
    match mac {
        Some(mac) => inline([pair("network", text(network)), pair("mac", text(mac))]),
        None => text(network),
    }
}

/// A TOML string that stays on its line.
fn one_line(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

fn appliance(appliance: &Appliance) -> [Pair; 2] {
    [pair("machines", texts(&appliance.machines)), pair("formats", texts(&appliance.formats))]
}

fn test(test: &MachineTest) -> [Pair; 8] {
    let machines = inline(test.machines.iter().map(|(name, image)| pair(&key(name), text(image))));
    let login =
        |login: &Login| inline([pair("user", text(&login.user)), pair("password", text(&login.password))]);
    let step = |step: &TestStep| {
        let (action, value) = step.action.entry();
        inline([pair("on", text(&step.on)), pair(action, text(value))])
    };
    let steps: Vec<_> = test.steps.iter().map(step).collect();
    [
        pair("machines", machines),
        pair_if("expect", test.expect.as_ref(), text),
        pair_if("login", test.login.as_ref(), login),
        pair_if("files", filled(&test.files), |files| texts(files.iter().map(|file| file.display()))),
        pair_if("steps", filled(&steps), |steps| format!("[\n  {},\n]", steps.join(",\n  "))),
        pair_if("silent", filled(&test.silent), texts),
        pair_if("heard", filled(&test.heard), texts),
        pair_if("timeout", test.timeout.as_ref(), |time| text(format!("{} s", time.as_secs()))),
    ]
}

/// A list that has something in it.
fn filled<T>(list: &Vec<T>) -> Option<&Vec<T>> {
    (!list.is_empty()).then_some(list)
}
