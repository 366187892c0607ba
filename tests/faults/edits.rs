//! Random edits of a project: whatever is edited, an incremental build makes the same as a clean one, tree by tree.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::chance;
use crate::lab::{HEAD, Lab, copy_tree};

/// Sequences of edits.
const SEQUENCES: usize = 5;

#[test]
fn an_incremental_build_equals_a_clean_one() {
    let (seeded, mut rng) = (Lab::new(), chance::rng());
    let mut reused = 0;
    for sequence in 0..SEQUENCES {
        let (mut lab, mut project) = (Lab::new(), Draft::by_chance(&mut rng));
        for _ in 0..chance::rounds(2, 12) {
            for _ in 0..rng.usize(1..3) {
                project.edit(&mut rng);
            }
            project.write(&lab);
            let built = lab.build();
            reused += built.trees.len() + 1 - built.ran.len();
        }
        let incremental = lab.build();
        let clean = lab.path("clean");
        copy_tree(seeded.store_dir(), &clean);
        lab.use_store(&clean);
        lab.clean();
        lab.build().assert_same(&incremental);
        eprintln!("sequence {sequence}: {} stages", incremental.trees.len());
    }
    assert!(reused > 2 * SEQUENCES, "the builds were hardly incremental");
}

/// A root file system of the stages `0`, `1` and so on.
fn steps(lab: &Lab, commands: &[&str]) {
    let step = |(number, run): (usize, &&str)| format!("{{ name = \"{number}\", run = \"{run}\" }},\n");
    let steps: String = commands.iter().enumerate().map(step).collect();
    lab.write("ibuild.toml", &format!("{HEAD}[rootfs.main]\nfrom = \"base\"\nsteps = [\n{steps}]\n"));
}

/// A disk is laid out by layers: those of a stage that is found may stand on other ones than when it ran.
#[test]
fn what_a_later_stage_undoes_leaves_the_layers_of_a_clean_build() {
    let mut lab = Lab::new();
    let clean = lab.path("clean");
    copy_tree(lab.store_dir(), &clean);
    steps(&lab, &["echo 1 > /n", "echo 2 > /n", "echo 3 > /x"]);
    let before = lab.build();
    steps(&lab, &["echo one > /n", "echo 2 > /n", "echo 3 > /x"]);
    let incremental = lab.build();
    assert_eq!(incremental.ran, ["main/0", "main/1"]);
    assert_ne!(incremental.trees["main/0"], before.trees["main/0"]);
    lab.use_store(&clean);
    lab.clean();
    lab.build().assert_same(&incremental);
}

/// The same tree by two ways: what the project makes of it is found, and is what a clean build makes.
#[test]
fn the_way_to_a_tree_does_not_count() {
    let mut lab = Lab::new();
    let clean = lab.path("clean");
    copy_tree(lab.store_dir(), &clean);
    let first = "mkdir /d && echo 1 > /d/a && echo 1 > /d/b";
    steps(&lab, &[first, "echo 2 > /d/a", "echo 3 > /x"]);
    lab.build();
    steps(&lab, &[first, "rm -r /d && mkdir /d && echo 2 > /d/a && echo 1 > /d/b", "echo 3 > /x"]);
    let incremental = lab.build();
    assert_eq!(incremental.ran, ["main/1"]);
    lab.use_store(&clean);
    lab.clean();
    lab.build().assert_same(&incremental);
}

/// An overlay has no directory twice.
#[test]
fn a_stage_may_change_what_an_earlier_one_changed_to_the_same() {
    let lab = Lab::new();
    steps(&lab, &["echo 0 > /y", "echo 1 > /x", "rm /x", "echo 1 > /x", "cat /x /y > /seen"]);
    let built = lab.build();
    assert_eq!(built.trees["main/1"], built.trees["main/3"], "not the case that this test is about");
    assert_ne!(built.trees["main/1"], built.trees["main/2"]);
    assert_eq!(built.layers.len(), 5);
}

/// A project: its scripts, its files, and a text that its last step writes.
pub struct Draft {
    scripts: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    text: u8,
}

impl Draft {
    pub fn by_chance(rng: &mut Rng) -> Self {
        let scripts = (0..rng.usize(2..5)).map(|_| (script_name(rng), script(rng))).collect();
        let files = (0..3).map(|_| (file_name(rng), rng.u8(..).to_string())).collect();
        Self { scripts, files, text: rng.u8(..3) }
    }

    pub fn edit(&mut self, rng: &mut Rng) {
        match rng.u8(..8) {
            0 => drop(self.scripts.insert(script_name(rng), script(rng))),
            1 if self.scripts.len() > 1 => drop(self.scripts.remove(&any(&self.scripts, rng))),
            2 => {
                // In another place of the order, or in place of another.
                let moved = self.scripts.remove(&any(&self.scripts, rng)).unwrap();
                self.scripts.insert(script_name(rng), moved);
            }
            3 => {
                let script = any(&self.scripts, rng);
                self.scripts.get_mut(&script).unwrap().push_str("# a remark\n");
            }
            4 => drop(self.files.insert(file_name(rng), rng.u8(..).to_string())),
            5 if self.files.len() > 1 => drop(self.files.remove(&any(&self.files, rng))),
            6 => self.text = rng.u8(..3),
            _ => {
                let name = any(&self.scripts, rng);
                self.scripts.insert(name, script(rng));
            }
        }
    }

    pub fn write(&self, lab: &Lab) {
        for dir in ["scripts", "files"] {
            std::fs::remove_dir_all(lab.path("project").join(dir)).unwrap();
        }
        let recipe = format!(
            "{HEAD}[rootfs.main]\nfrom = \"base\"\nsteps = [\n\
             {{ name = \"files\", copy = [{{ from = \"files\", to = \"/\" }}] }},\n\
             {{ name = \"scripts\", scripts = \"scripts\" }},\n\
             {{ name = \"text\", run = \"echo {} > /text\" }},\n]\n",
            self.text
        );
        lab.write("ibuild.toml", &recipe);
        self.scripts.iter().for_each(|(name, text)| lab.write(&format!("scripts/{name}"), text));
        self.files.iter().for_each(|(name, text)| lab.write(&format!("files/{name}"), text));
    }
}

fn any(of: &BTreeMap<String, String>, rng: &mut Rng) -> String {
    of.keys().nth(rng.usize(..of.len())).unwrap().clone()
}

fn script_name(rng: &mut Rng) -> String {
    format!("{}{}-step", rng.u8(1..8), rng.u8(..3))
}

fn file_name(rng: &mut Rng) -> String {
    format!("x{}/f{}", rng.u8(..3), rng.u8(..4))
}

/// A few changes, many of which depend on what earlier stages have left, or come to nothing.
fn script(rng: &mut Rng) -> String {
    let mut line = || {
        let (dir, file, number) = (rng.u8(..3), rng.u8(..4), rng.u8(..3));
        match rng.u8(..10) {
            0 => format!("mkdir -p /x{dir} && echo {number} > /x{dir}/f{file}"),
            1 => format!("rm -rf /x{dir}"),
            2 => format!("rm -f /x{dir}/f{file}"),
            3 => format!("ls /x{dir} > /list{number} 2>&1 || :"),
            4 => "cat /x[0-9]/* > /sum 2> /dev/null || :".to_owned(),
            5 => format!("mkdir -p /x{dir} && ln -sf f{file} /x{dir}/link{number}"),
            6 => format!("[ ! -e /x{dir}/f{file} ] || chmod 6{number}40 /x{dir}/f{file}"),
            7 => format!(
                "[ ! -d /x{dir} ] || {{ cp -a /x{dir} /copy && rm -rf /x{dir} && mv /copy /x{dir}; }}"
            ),
            8 => format!("[ ! -e /sum ] || ln -f /sum /hard{number}"),
            _ => format!("touch /tmp/x && echo {number} > /n && rm /n"),
        }
    };
    let lines: Vec<_> = (0..3).map(|_| line()).collect();
    format!("#!/bin/sh -e\n{}\n", lines.join("\n"))
}
