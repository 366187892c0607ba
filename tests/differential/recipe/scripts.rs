//! Directories of scripts, alone and merged, and the settings of a single script.

use super::Writer;
use super::does::Does;
use crate::files::{File, Kind};
use crate::tables::{Table, quoted};

const STEP: &str = "step main scripts";
/// The directory that is merged with the other.
const MORE: &str = "scripts/more";

/// A script of the first directory: what it is called in the templates, its names, what it does.
const SCRIPTS: [(&str, &[&str], &str); 3] = [
    ("first", &["10-first", "25-first", "40-first"], "echo first >> /srv/order\n"),
    ("second", &["20-second", "35-second"], "echo second >> /srv/order; echo $0 >> /srv/order\n"),
    (
        "third",
        &["30-third", "05-third"],
        "cat /srv/order > /srv/third || :; env | sort > /srv/third-env\n\
         cat /run/ibuild/in/tools/t > /srv/third-tool || :; mkdir -p /srv/third-cache; echo x > /srv/third-cache/x\n",
    ),
];

pub fn scripts(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    let dir = writer.name("directory of scripts", &["scripts/all", "scripts/every"]).to_owned();
    let mut named = Vec::new();
    for (id, names, text) in SCRIPTS {
        let name = writer.name(id, names).to_owned();
        script(writer, &format!("{dir}/{name}"), id, text);
        named.push((id, name));
    }
    writer.desk.sometimes(&format!("{dir}/20-second~"), "backup of a script", "#!/bin/false\n");
    writer.desk.sometimes(&format!("{dir}/.hidden"), "hidden script", "#!/bin/false\n");
    script(writer, &format!("{MORE}/20-second"), "other second", "echo other second >> /srv/order\n");
    // One is always there to be run.
    let last = Kind::Regular(b"#!/bin/sh\necho last >> /srv/order\n".to_vec());
    writer.desk.files.put(
        &format!("{MORE}/50-last"),
        File { kind: last, mode: 0o755, owner: 0, time: None, attribute: None },
    );
    let dirs = directories(writer, table, &dir);
    let skipped = writer.slots.pick(writer.chosen, "step", STEP, "skip", &["", "third", "first"]);
    let skipped = named.iter().find(|(id, _)| *id == skipped).map(|(_, name)| name.as_str());
    if let Some(name) = skipped {
        table.entry("skip", &Writer::list(&[name]));
    }
    table.any("network", &["", "\"none\""]);
    let third = &named[2].1;
    let (own, reaches_archives) = settings(writer, table, third);
    let stage = |(name, path): (&str, String)| {
        let own = if name == third { own.as_str() } else { "" };
        (name.to_owned(), format!("script {name} {}{own}", writer.text_of(&path)))
    };
    let stages = merged(writer, &dirs).into_iter().filter(|(name, _)| Some(*name) != skipped);
    Does { stages: stages.map(stage).collect(), archives: reaches_archives, ..Does::run() }
}

/// The first directory alone, or both in one of their orders.
fn directories<'d>(writer: &Writer<'_>, table: &mut Table<'_>, dir: &'d str) -> Vec<&'d str> {
    let forms = ["alone", "before the others", "after the others"];
    let dirs = match writer.slots.pick(writer.chosen, "step", STEP, "scripts", &forms) {
        "alone" => {
            table.entry("scripts", &quoted(dir));
            return vec![dir];
        }
        "before the others" => vec![dir, MORE],
        _ => vec![MORE, dir],
    };
    table.entry("scripts", &Writer::list(&dirs));
    dirs
}

fn script(writer: &mut Writer<'_>, path: &str, id: &str, text: &str) {
    let texts = ["", "# a remark\n", "touch /srv/touched\n"].map(|more| format!("#!/bin/sh\n{text}{more}"));
    writer.desk.file(path, id, &texts.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The scripts that run, by name: all of a directory alone, as run-parts would have it of several.
fn merged<'f>(writer: &'f Writer<'_>, dirs: &[&str]) -> Vec<(&'f str, String)> {
    let mut found = std::collections::BTreeMap::new();
    for dir in dirs {
        let prefix = format!("{dir}/");
        for (path, _) in writer.desk.files.iter() {
            let name = path.strip_prefix(&prefix);
            found.extend(name.filter(|name| !name.contains(['~', '.'])).map(|name| (name, path)));
        }
    }
    let is_executable = |path: &str| writer.desk.files.get(path).is_some_and(|file| file.mode & 0o111 != 0);
    let runs = |(_, path): &(&str, &String)| dirs.len() == 1 || is_executable(path);
    found.into_iter().filter(runs).map(|(name, path)| (name, path.clone())).collect()
}

/// What counts of the settings of one script, and whether it may use the archives.
fn settings(writer: &mut Writer<'_>, table: &mut Table<'_>, name: &str) -> (String, bool) {
    writer.desk.directory("tools", "tools");
    writer.desk.file("tools/t", "tool", &["a tool\n", "another tool\n"]);
    let is_there =
        writer.slots.pick(writer.chosen, "step", STEP, "settings", &["there", "absent"]) == "there";
    let mut own = writer.table("settings", "step main scripts settings");
    own.any("env", &["", r#"{ SCRIPT = "1" }"#, r#"{ SCRIPT = "2", STEP = "3" }"#]);
    let network = own.any("network", &["", "\"packages\"", "\"none\""]);
    own.text("timeout", &["", "90 s", "4 min"]);
    own.any("reproducible", &["", "false"]);
    own.table("machine", "machine", super::rootfses::hardware);
    own.table("limits", "limits", super::rootfses::limits);
    own.any("secrets", &["", r#"["TWO"]"#]);
    own.any("volatile", &["", r#"["/srv/third-cache/*"]"#, r#"["/srv/third-cache"]"#]);
    if !own.any("inputs", &[r#"["tools"]"#, ""]).is_empty() {
        own.count("tools", &writer.desk.files.meaning("tools"));
    }
    if !is_there {
        return (String::new(), false);
    }
    table.entry("settings", &format!("{{ {name} = {} }}", own.inline()));
    (own.meaning().to_owned(), network == "\"packages\"")
}
