//! The images, and a machine test.

use super::Writer;
use crate::project::Target;
use crate::tables::{Table, quoted};

const WITH_TREE: &str = "rootfs.tar.zst";

/// What is known of an image that may be a machine of another.
struct Machine {
    name: String,
    /// What counts of its disk and of its hardware.
    disk: String,
    vm: String,
    last: String,
}

impl<'c> Writer<'c> {
    pub fn images(&mut self) -> Vec<Target> {
        let mut targets = Vec::new();
        let main = self.image(
            "main",
            &[
                &[WITH_TREE],
                &[WITH_TREE, "qcow2"],
                &["ova", WITH_TREE],
                &[WITH_TREE, "oci"],
                &["vmdk", WITH_TREE],
            ],
            &mut targets,
        );
        let deb = self.image(
            "deb",
            &[
                &[WITH_TREE],
                &["vdi", WITH_TREE],
                &[WITH_TREE, "raw"],
                &[WITH_TREE, "raw.zst"],
                &["qcow2", WITH_TREE],
            ],
            &mut targets,
        );
        self.image("src", &[&[WITH_TREE], &["oci", WITH_TREE]], &mut targets);
        self.image("slow", &[&[WITH_TREE]], &mut targets);
        self.pair(&[main, deb], &mut targets);
        targets
    }

    fn image(&mut self, id: &'static str, formats: &[&[&str]], targets: &mut Vec<Target>) -> Machine {
        let at = format!("image {id}");
        let name = self
            .slots
            .pick(self.chosen, "", &format!("name image {id}"), "name", &[id, &format!("{id}-image")])
            .to_owned();
        let lists: Vec<_> = formats.iter().map(|formats| Self::list(formats)).collect();
        let lists: Vec<_> = lists.iter().map(String::as_str).collect();
        let mut table = self.table("image", at.clone());
        let list = table.any("formats", &lists);
        let formats = match (id, self.profile_formats.as_str()) {
            ("slow", text) if text.contains("tar") => &[WITH_TREE, "oci"],
            ("slow", text) if !text.is_empty() => &["oci"] as &[&str],
            _ => formats[lists.iter().position(|it| *it == list).unwrap()],
        };
        let of: &[&str] = if id == "main" { &["main", "src"] } else { &[id] };
        let of = self.slots.pick(self.chosen, "image", &at, "rootfs", of).to_owned();
        let (rootfs, last) =
            (self.rootfs(&of).name.clone(), self.rootfs(&of).last.clone().expect("it has stages"));
        table.entry("rootfs", &quoted(&rootfs));
        let (mut disk, mut vm) = (String::new(), String::new());
        if matches!(id, "main" | "deb") {
            disk = self.disk(id, &mut table);
            vm = self.vm(id, &mut table);
        }
        self.tables.push(format!("[image.{name}]\n{}", table.lines()));
        let machine = Machine { name, disk, vm, last };
        targets.extend(formats.iter().map(|format| self.target(&machine, format)));
        machine
    }

    fn target(&self, machine: &Machine, format: &str) -> Target {
        let Machine { name, disk, vm, last } = machine;
        let epoch = &self.epoch;
        let own = match format {
            WITH_TREE => format!("{format} {epoch}"),
            "oci" => format!("{format} {epoch} {name}"),
            "ova" => format!("{format} {epoch} {name} {disk} {vm}"),
            _ => format!("{format} {epoch} {name} {disk}"),
        };
        Target { name: format!("{name}.{format}"), own, roots: vec![last.clone()] }
    }

    /// An image of several machines.
    fn pair(&mut self, machines: &[Machine; 2], targets: &mut Vec<Target>) {
        let slots = self.slots;
        let shown = slots.shown(self.chosen, "image pair", || {
            let mut table = self.table("image", "image pair");
            let order = slots.pick(
                self.chosen,
                "image",
                "image pair",
                "machines",
                &["as they are", "reversed", "one"],
            );
            let machines: Vec<_> = match order {
                "reversed" => machines.iter().rev().collect(),
                "one" => machines.iter().take(1).collect(),
                _ => machines.iter().collect(),
            };
            let names: Vec<_> = machines.iter().map(|machine| machine.name.as_str()).collect();
            table.entry("machines", &Self::list(&names));
            table.entry("formats", "[\"ova\"]");
            let own: Vec<_> =
                machines.iter().map(|it| format!("{} {} {}", it.name, it.disk, it.vm)).collect();
            let own = format!("ova {} pair {}", self.epoch, own.join("; "));
            let roots = machines.iter().map(|machine| machine.last.clone()).collect();
            (table.lines(), Target { name: "pair.ova".to_owned(), own, roots })
        });
        if let Some((lines, target)) = shown {
            self.tables.push(format!("[image.pair]\n{lines}"));
            targets.push(target);
        }
    }

    fn disk(&self, id: &str, table: &mut Table<'c>) -> String {
        let mut disk = self.table("disk", format!("image {id} disk"));
        disk.text("size", &["97 MiB", "128 MiB"]);
        // What the machine starts with has to be among them.
        let firmware: [&str; 3] = match id {
            "main" => ["[\"bios\"]", "[\"bios\", \"uefi\"]", ""],
            _ => ["[\"uefi\"]", "[\"bios\", \"uefi\"]", ""],
        };
        disk.any("firmware", &firmware);
        disk.text("uuid", &["", &uuid(id, 'a'), &uuid(id, 'b')]);
        disk.text(
            "fs-uuid",
            &["", "26ada0c0-1165-4098-884d-aafd2220c2c6", "11111111-2222-4333-8444-555555555555"],
        );
        disk.text("cmdline", &["", "quiet", "quiet splash"]);
        self.slots.compose("image", &format!("image {id}"), "disk");
        table.entry("disk", &disk.inline());
        disk.meaning().to_owned()
    }

    fn vm(&self, id: &str, table: &mut Table<'c>) -> String {
        const SHARING: [&str; 5] = ["", "disabled", "host-to-guest", "guest-to-host", "bidirectional"];
        let mut vm = self.table("vm", format!("image {id} vm"));
        // Machines of one appliance have nothing of it in common.
        vm.text("name", &["", &format!("A machine, {id}"), &format!("Another & {id}")]);
        vm.text("uuid", &["", &uuid(id, 'c'), &uuid(id, 'd')]);
        vm.any("cpus", &["", "1", "2"]);
        vm.text("memory", &["", "512 MiB", "2 GiB"]);
        vm.text("vram", &["", "16 MiB", "32 MiB"]);
        vm.text("firmware", &["", if id == "main" { "bios" } else { "uefi" }]);
        vm.text("disk-bus", &["", "sata", "ide", "scsi", "virtio"]);
        let nic = self.nic(id);
        vm.any(
            "nics",
            &["", &nic, r#"["nat"]"#, r#"["internal:x", "nat"]"#, r#"["nat", "internal:x"]"#, r#"["none"]"#],
        );
        vm.text("audio", &["", "none", "hda", "ac97"]);
        vm.text("clipboard", &SHARING);
        vm.text("drag-and-drop", &SHARING);
        vm.text("rtc", &["", "utc", "local"]);
        vm.any("boot-order", &["", r#"["disk"]"#, r#"["dvd", "disk"]"#, r#"["disk", "dvd", "network"]"#]);
        vm.any(
            "virtualbox-extra",
            &["", r#"{ "GUI/a" = "1" }"#, r#"{ "GUI/a" = "2" }"#, r#"{ "GUI/b" = "1" }"#],
        );
        vm.text("description", &["", "a machine", "two\nlines"]);
        for key in ["product", "product-url", "vendor", "vendor-url", "version", "eula"] {
            vm.text(key, &["", "some text", "other <text> & more"]);
        }
        self.slots.compose("image", &format!("image {id}"), "vm");
        table.entry("vm", &vm.inline());
        vm.meaning().to_owned()
    }

    fn nic(&self, id: &str) -> String {
        let mut nic = self.table("nic", format!("image {id} vm nic"));
        nic.text("network", &["nat", "internal:x", "none"]);
        let number = if id == "main" { 1 } else { 2 };
        nic.text("mac", &["", &format!("52:54:00:00:0{number}:0a"), &format!("52:54:00:00:0{number}:0b")]);
        format!("[{}]", nic.inline())
    }

    /// A test of a machine, which changes nothing that is built.
    pub fn test(&mut self) -> String {
        let image = self.slots.pick(self.chosen, "", "test image", "image", &["main", "deb"]);
        let image = self.slots_name(image);
        self.desk.file("tests/vm", "test file", &["true\n", "false\n"]);
        let mut table = self.table("test", "test boots");
        table.is("machines", &format!("{{ vm = {0}, other = {0} }}", quoted(&image)));
        table.text("expect", &["", "login:", "^host login:"]);
        table.text("timeout", &["", "60 s", "5 min"]);
        table.any("files", &["", "[\"tests/vm\"]", "[\"tests\"]"]);
        table.any("silent", &["", "[\"vm/0\"]"]);
        table.any("heard", &["", "[\"vm/0\"]"]);
        self.slots.compose("test", "test boots", "login");
        let mut login = self.table("login", "test boots login");
        login.text("user", &["root", "user"]);
        login.text("password", &["secret", "changeme"]);
        table.entry("login", &login.inline());
        table.tables(
            "steps",
            "test step",
            &[
                &|step| on(step, "expect", &["a$", "b$"]),
                &|step| on(step, "type", &["echo a", "echo b"]),
                &|step| on(step, "run", &["true", "tests/vm"]),
                &|step| on(step, "screenshot", &["one", "two"]),
                &|step| on(step, "power", &["reset", "freeze", "thaw"]),
            ],
        );
        format!("[test.boots]\n{}", table.lines())
    }

    /// What an image is called.
    fn slots_name(&self, id: &str) -> String {
        let renamed = self.chosen.get(&format!("name image {id} name")) == 1;
        if renamed { format!("{id}-image") } else { id.to_owned() }
    }
}

/// A step of a test that does one thing.
fn on(step: &mut Table<'_>, key: &'static str, values: &[&str]) {
    step.text("on", &["vm", "other"]);
    step.text(key, values);
}

/// A UUID that no other image has.
fn uuid(id: &str, digit: char) -> String {
    let image = if id == "main" { 1 } else { 2 };
    format!("0a1b2c3d-0000-4000-8000-0000000000{image}{digit}")
}
