//! The root file systems: what they start from, and which steps they have.

use super::does::{Does, Step};
use super::steps::{self, PlannedStep, Presence};
use super::{Rootfs, Writer};
use crate::project::Stage;
use crate::tables::{Table, quoted};

/// What a root file system stands on.
enum Base {
    /// One of these lists of archives.
    Archives(&'static [&'static str]),
    /// One of these others.
    From(&'static [&'static str]),
}

/// A step that is written: its text, the stages that it is, and what it copies from.
struct WrittenStep {
    text: String,
    stages: Vec<(String, String)>,
    from: Option<String>,
}

const ENVIRONMENTS: [&str; 4] =
    ["", r#"{ WORD = "a" }"#, r#"{ WORD = "b" }"#, r#"{ OTHER = "x", WORD = "a" }"#];

impl<'c> Writer<'c> {
    pub fn rootfses(&mut self) {
        let lists = &[r#"["a", "b"]"#, r#"["b", "a"]"#, r#"["a"]"#, r#""b""#];
        self.chain("base", Base::Archives(lists), &[]);
        let lists = &[r#"["a", "debian"]"#, r#"["a", "debian", "b"]"#, r#"["a", "b", "debian"]"#];
        self.chain("deb", Base::Archives(lists), &steps::OF_DEBIAN);
        self.chain("src", Base::From(&["base"]), &steps::SOURCE);
        self.chain("slow", Base::From(&["base"]), &steps::SLOW);
        self.chain("main", Base::From(&["base", "src"]), &steps::MAIN);
    }

    fn chain(&mut self, id: &'static str, base: Base, steps: &[PlannedStep]) {
        let name = self.name(id, &[id, &format!("{id}-2")]).to_owned();
        let mut table = self.table("rootfs", format!("rootfs {id}"));
        let below = match base {
            Base::Archives(_) => None,
            Base::From(ids) => {
                let from = self.slots.pick(self.chosen, "rootfs", &format!("rootfs {id}"), "from", ids);
                let below = self.rootfs(from).clone();
                table.entry("from", &quoted(&below.name));
                Some(below)
            }
        };
        let own_env = table.any("env", &ENVIRONMENTS);
        table.table("limits", "limits", limits);
        let env = below.as_ref().map_or_else(String::new, |below| below.env.clone()) + own_env + "\n";
        let mut rootfs = Rootfs {
            id,
            name,
            env,
            archives: below.as_ref().map_or_else(String::new, |below| below.archives.clone()),
            stages: Vec::new(),
            last: below.and_then(|below| below.last),
        };
        let mut written = Vec::new();
        if let Base::Archives(lists) = base {
            written.push(self.bootstrap(&mut rootfs, lists));
        }
        let write = |(id, presence, write): &PlannedStep| match presence {
            Presence::Always => Some(self.step(&rootfs, id, *write)),
            Presence::Sometimes => self.sometimes(&rootfs, id, *write),
        };
        let mut above: Vec<_> = steps.iter().filter_map(write).collect();
        self.reorder(id, &mut above);
        written.extend(above);
        for step in &written {
            add_stages(&mut rootfs, step);
        }
        let texts: Vec<_> = written.iter().map(|step| format!("  {},\n", step.text)).collect();
        table.entry("steps", &format!("[\n{}]", texts.concat()));
        self.tables.push(format!("[rootfs.{}]\n{}", rootfs.name, table.lines()));
        self.rootfses.push(rootfs);
    }

    fn reorder(&self, id: &str, steps: &mut [WrittenStep]) {
        let orders = ["as they are", "reversed", "rotated", "the first two swapped"];
        match self.slots.pick(self.chosen, "rootfs", &format!("rootfs {id}"), "steps", &orders) {
            "reversed" => steps.reverse(),
            "rotated" if !steps.is_empty() => steps.rotate_left(1),
            "the first two swapped" if steps.len() > 1 => steps.swap(0, 1),
            _ => {}
        }
    }

    fn bootstrap(&mut self, rootfs: &mut Rootfs, lists: &[&str]) -> WrittenStep {
        let at = format!("step {} bootstrap", rootfs.id);
        let mut table = self.table("step", at.clone());
        let name = table.text("name", &["bootstrap", "start"]).to_owned();
        self.slots.compose("step", &at, "bootstrap");
        let mut inner = self.table("bootstrap", format!("{at} what"));
        rootfs.archives = inner.any("archive", lists).to_owned();
        inner.text("variant", &["", "minbase"]);
        let extras = ["", r#"["extra-one"]"#, r#"["extra-two"]"#, r#"["extra-two", "extra-one"]"#];
        inner.any("include", &extras);
        table.entry("bootstrap", &inner.inline());
        table.count("bootstrap", inner.meaning());
        let does = Does { environment: true, archives: true, ..Does::default() };
        common(&mut table, &does);
        self.written(rootfs, table, &name, does)
    }

    /// A step that some projects have.
    fn sometimes(&mut self, rootfs: &Rootfs, id: &str, write: Step) -> Option<WrittenStep> {
        let at = format!("step {} {id}", rootfs.id);
        let slots = self.slots;
        slots.shown(self.chosen, &at, || self.step(rootfs, id, write))
    }

    fn step(&mut self, rootfs: &Rootfs, id: &str, write: Step) -> WrittenStep {
        let mut table = self.table("step", format!("step {} {id}", rootfs.id));
        let does = write(self, &mut table);
        // The steps of a directory of scripts are named after them.
        let names = [id, &format!("{id}-2")];
        let name = if does.stages.is_empty() { table.text("name", &names) } else { "" }.to_owned();
        common(&mut table, &does);
        let lists = ["", r#"["other"]"#, r#"["third", "other"]"#, r#"["third"]"#];
        let at = format!("step {} {id}", rootfs.id);
        let profiles =
            if id == "greet" { self.slots.pick(self.chosen, "step", &at, "profiles", &lists) } else { "" };
        if !profiles.is_empty() {
            table.entry("profiles", profiles);
        }
        let is_there = profiles.is_empty() || (profiles.contains("other") && !self.with_profile.is_empty());
        let mut written = self.written(rootfs, table, &name, does);
        if !is_there {
            written.stages.clear();
        }
        written
    }

    fn written(&self, rootfs: &Rootfs, table: Table<'c>, name: &str, does: Does) -> WrittenStep {
        let mut around = format!("epoch {}\n{}", self.epoch, table.meaning());
        if does.environment {
            around += &format!("environment {}{}", rootfs.env, self.tracing);
        }
        if does.archives {
            around += &format!("archives {}\n{}", rootfs.archives, self.archives);
        }
        let named = if does.stages.is_empty() { vec![(name.to_owned(), String::new())] } else { does.stages };
        let stages = named.into_iter().map(|(name, own)| (name, format!("{around}{own}"))).collect();
        let from = does.from.map(|id| self.rootfs(&id).last.clone().expect("it has stages"));
        WrittenStep { text: table.inline(), stages, from }
    }
}

fn add_stages(rootfs: &mut Rootfs, step: &WrittenStep) {
    for (name, own) in &step.stages {
        let name = format!("{}/{name}", rootfs.name);
        let parent = rootfs.last.replace(name.clone());
        rootfs.stages.push(Stage { name, own: own.clone(), parent, from: step.from.clone() });
    }
}

/// The keys that steps of many kinds have.
fn common(table: &mut Table<'_>, does: &Does) {
    if does.environment {
        table.any("env", &["", r#"{ STEP = "1" }"#, r#"{ STEP = "2", WORD = "c" }"#]);
        table.table("machine", "machine", |machine| {
            hardware(machine);
            // To apt, archives of today are signed in the future of another clock.
            if !does.archives {
                machine.text("clock", &["", "epoch"]);
            }
        });
        table.text("timeout", &["", "60 s", "5 min"]);
        table.table("limits", "limits", limits);
    }
    if does.environment && !does.is_check {
        table.any("reproducible", &["", "true", "false"]);
    }
    if !does.is_check {
        table.any("volatile", &["", r#"["/var/cache/x"]"#, r#"["/srv/volatile*", "/var/cache/x"]"#]);
    }
}

pub fn hardware(table: &mut Table<'_>) {
    table.any("cpus", &["", "1", "3"]);
    table.text("memory", &["", "512 MiB", "1 GiB"]);
    table.text("readdir", &["", "sorted"]);
}

pub fn limits(table: &mut Table<'_>) {
    table.text("memory", &["", "512 MiB", "1 GiB"]);
    table.any("processes", &["", "2000", "4096"]);
    table.text("disk", &["", "512 MiB", "1 GiB"]);
}
