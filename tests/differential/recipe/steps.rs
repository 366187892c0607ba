//! The steps, and the files that they read.

use super::Writer;
use super::does::{Does, Step};
use super::fetch::download;
use super::scripts::scripts;
use crate::tables::{Table, quoted};

/// Whether a root file system always has a step.
pub enum Presence {
    Always,
    Sometimes,
}

use Presence::{Always, Sometimes};

/// What a step is called, and how it is written.
pub type PlannedStep = (&'static str, Presence, Step);

pub const OF_DEBIAN: [PlannedStep; 1] = [("sources", Sometimes, sources)];
pub const SOURCE: [PlannedStep; 4] = [
    ("make", Always, make),
    ("edit", Sometimes, edit),
    ("attributes", Sometimes, attributes),
    ("look", Sometimes, look),
];
pub const SLOW: [PlannedStep; 2] = [("slow", Sometimes, slow), ("look", Always, look)];
pub const MAIN: [PlannedStep; 16] = [
    ("files", Sometimes, files),
    ("script", Sometimes, script),
    ("scripts", Sometimes, scripts),
    ("inputs", Sometimes, inputs),
    ("secret", Sometimes, secret),
    ("dist", Sometimes, dist),
    ("marks", Sometimes, marks),
    ("packages", Sometimes, packages),
    ("fetch", Sometimes, fetch),
    ("download", Sometimes, download),
    ("environment", Sometimes, environment),
    ("volatile", Sometimes, volatile),
    ("attributes", Sometimes, attributes),
    ("greet", Sometimes, greet),
    ("sane", Sometimes, sane),
    ("look", Always, look),
];

fn sources(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text(
        "run",
        &[
            "cat /etc/apt/sources.list.d/* /var/lib/dpkg/* > /srv/sources",
            "ls -R /etc /var/lib > /srv/sources",
        ],
    );
    Does::run()
}

/// What others copy from: directories with modes and owners, and links to them.
fn make(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const MAKE: &str = "mkdir -p /opt/v1 /opt/v2 /opt/x/y /opt/priv; \
        echo {vars.word} > /opt/v1/file; echo 2 > /opt/v2/file; echo s > /opt/x/y/f; ln /opt/x/y/f /opt/x/y/g; \
        chown bob:bob /opt/priv; chmod 0700 /opt/priv /opt/x/y; chmod 0711 /opt/x; ";
    let ends = [
        "ln -s v1 /opt/current",
        "ln -s v2 /opt/current",
        "ln -s /opt/v1 /opt/current",
        "mkdir /opt/current",
    ];
    let texts = ends.map(|end| format!("{MAKE}{end}"));
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    table.text("run", &texts);
    table.count("word", &writer.word);
    Does::run()
}

fn edit(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text(
        "run",
        &[
            "mkdir -p /opt/v1; echo one > /opt/v1/file",
            "mkdir -p /opt/v1; echo two > /opt/v1/file",
            "mkdir -p /opt/v1; rm -f /opt/v1/file; chmod 0750 /opt/v1",
        ],
    );
    Does::run()
}

/// Attributes of every kind, on a file that a later stage looks at.
fn attributes(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const SETS: [&str; 6] = [
        "user.one 1",
        "trusted.two 2",
        "security.three 3",
        "user.ibuild.device 'c 0:0'",
        "user.overlay.opaque y",
        "trusted.overlay.opaque y",
    ];
    const MAKE: &str = "mkdir -p /srv/dressed/d; touch /srv/dressed/f";
    let set = |set| {
        format!("{MAKE}; for it in /srv/dressed/f /srv/dressed/d; do attributes set $it {set} || :; done")
    };
    let mut texts: Vec<_> = SETS.into_iter().map(set).collect();
    texts.push(format!("{MAKE}; chattr +d /srv/dressed/f || :"));
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    table.text("run", &texts);
    Does::run()
}

/// Writes down all that one can see of what was made before.
fn look(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const LOOK: &str = "cd /; { find etc opt srv usr/local var/lib -exec stat -c '%n %F %a %u:%g %Y' {} + | sort; \
        find etc opt srv usr/local var/lib -type f -exec md5sum {} + | sort; \
        find opt srv -exec attributes list {} + | sort; lsattr -d srv/dressed/* srv/dressed || :; } > /tmp/seen; \
        mv /tmp/seen /srv/seen";
    let texts = [
        LOOK.to_owned(),
        format!("{LOOK}; echo again >> /srv/seen"),
        format!("{LOOK}; echo more >> /srv/seen"),
    ];
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    table.text("run", &texts);
    Does::run()
}

/// Reads its input and itself again and again.
fn slow(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const HEAD: &str = "#!/bin/sh\n# ";
    const LOOP: &str = "\nfor n in 1 2 3 4 5 6 7 8; do cat \"$0\" /run/ibuild/in/slow/f; sleep 0.02; done | \
        sort -u > /srv/slow\n";
    let texts = ["1", "2", "3", "4", "5", "6"].map(|text| format!("{HEAD}{text}{LOOP}"));
    writer.desk.file("scripts/slow", "slow script", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    writer.desk.file("slow/f", "slow input", &["a\n", "b\n", "c\n", "d\n", "e\n", "f\n"]);
    table.is("script", "\"scripts/slow\"");
    table.is("inputs", "[\"slow\"]");
    table.count("script", &writer.text_of("scripts/slow"));
    table.count("inputs", &writer.desk.files.meaning("slow"));
    Does::run()
}

const EXCLUDED: [&str; 3] = ["", r#"["more", "link"]"#, r#"["run"]"#];

/// The names in a list of patterns that are names.
fn names_in(patterns: &str) -> Vec<&str> {
    patterns.split('"').skip(1).step_by(2).collect()
}

pub const ACCOUNTS: [&str; 4] = ["", "\"bob\"", "1234", "33"];

#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn files(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    let single = writer.name("copied", &["files/a.conf", "files/b.conf", "files/deeper/a.conf"]).to_owned();
    let tree = writer.name("tree", &["files/tree", "files/forest"]).to_owned();
    let who = writer.name("who", &["etc/who", "etc/whom", "usr/who"]).to_owned();
    let desk = &mut writer.desk;
    desk.file(&single, "copied", &["hello\n", "bye\n", ""]);
    desk.directory(&tree, "tree");
    desk.file(&format!("{tree}/{who}"), "who", &["tree\n", "wood\n"]);
    desk.file(&format!("{tree}/etc/run"), "run", &["#!/bin/sh\n", "#!/bin/true\n"]);
    desk.anything(
        &format!("{tree}/etc/link"),
        "link",
        &["text\n", "other\n"],
        &["run", "who", "/etc/passwd"],
    );
    desk.sometimes(&format!("{tree}/etc/more"), "more", "more\n");
    desk.sometimes(&format!("{tree}/etc/who~"), "backup", "a backup\n");
    desk.sometimes(&format!("{tree}/.git/HEAD"), "git", "ref\n");
    desk.sometimes(&format!("{tree}/etc/noise.log"), "log", "noise\n");
    desk.sometimes(".ibuildignore", "rules", "*.log\n");
    desk.file("files/later/etc/who", "later", &["later\n", "latest\n"]);
    desk.directory("files/later/srv/empty", "empty");
    // What is ignored is not known before all is there.
    let files = &writer.desk.files;
    let (of_single, of_later) = (files.meaning(&single), files.meaning("files/later"));
    let of_tree = |exclude: &str| files.meaning_without(&tree, &names_in(exclude));
    table.tables(
        "copy",
        "copy",
        &[
            &|copy| {
                copy.is("from", &quoted(&single));
                let to = copy.text("to", &["/srv/", "/srv/renamed.conf", "/etc/"]);
                copy.any("mode", &["", "\"0600\"", "0o4755"]);
                copy.any("owner", &ACCOUNTS);
                if to.ends_with('/') {
                    copy.count("name", single.rsplit('/').next().unwrap());
                }
                copy.count("files", &of_single);
            },
            &|copy| {
                copy.is("from", &quoted(&tree));
                copy.text("to", &["/", "/usr/local", "/srv/tree"]);
                copy.any("owner", &ACCOUNTS);
                copy.any("group", &ACCOUNTS);
                copy.any("mode", &["", "\"0640\"", "0o750"]);
                copy.any("dirs", &["", "\"0700\"", "0o2775"]);
                let exclude = copy.any("exclude", &EXCLUDED);
                copy.count("files", &of_tree(exclude));
            },
            &|copy| {
                copy.is("from", "\"files/later\"");
                copy.text("to", &["/", "/usr/local"]);
                copy.any("dirs", &["", "\"0711\""]);
                copy.count("files", &of_later);
            },
        ],
    );
    Does::default()
}

fn script(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    let path = writer.name("script", &["scripts/one", "scripts/uno", "other/one"]).to_owned();
    writer.desk.file(
        &path,
        "script",
        &[
            "#!/bin/sh\necho \"$0\" > /srv/name-of-script\nls /run/ibuild >> /srv/name-of-script\n",
            "#!/bin/sh -e\necho \"$0\" > /srv/name-of-script\n",
            "#!/bin/sh\n",
        ],
    );
    table.is("script", &quoted(&path));
    table.count("name of the script", path.rsplit('/').next().unwrap());
    table.count("script", &writer.text_of(&path));
    Does::run()
}

fn inputs(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    let data = writer.name("data", &["data", "data-2"]).to_owned();
    let file = writer.name("datum", &["d", "e"]).to_owned();
    let desk = &mut writer.desk;
    desk.directory(&data, "data");
    desk.file(&format!("{data}/{file}"), "datum", &["datum\n", "data\n"]);
    desk.anything(&format!("{data}/l"), "data link", &["text\n"], &["d", "e", "nowhere"]);
    desk.sometimes(&format!("{data}/d~"), "backup of data", "a backup\n");
    desk.sometimes(&format!("{data}/x.log"), "log in data", "a log\n");
    desk.file("single", "single", &["single\n", "double\n"]);
    let mut of_data = writer.table("input", "step main inputs input");
    writer.slots.compose("input", "step main inputs input", "path");
    of_data.entry("path", &quoted(&data));
    let exclude = of_data.any("exclude", &["", r#"["l"]"#, r#"["x.log"]"#]);
    let of_data = if exclude.is_empty() { quoted(&data) } else { of_data.inline() };
    let names = ["data", "data single", "single data", "single"];
    let chosen = writer.slots.pick(writer.chosen, "step", "step main inputs", "inputs", &names);
    let list: Vec<_> = chosen.split(' ').collect();
    let text = |name: &&str| if *name == "data" { of_data.clone() } else { quoted(name) };
    table.entry("inputs", &format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(", ")));
    let meaning = |name: &&str| match *name {
        "data" => format!("{data}: {}", writer.desk.files.meaning_without(&data, &names_in(exclude))),
        name => format!("{name}: {}", writer.desk.files.meaning(name)),
    };
    table.count("inputs", &list.iter().map(meaning).collect::<String>());
    table.text(
        "run",
        &[
            "cp -a /run/ibuild/in /srv/in",
            "cd /run/ibuild/in; { find * -exec stat -c '%n %F %a %u:%g %Y' {} +; \
            find * -exec attributes list {} +; } | sort > /srv/in-stat",
            "cd /run/ibuild/in; find * ! -type d | sort | xargs tar -c > /srv/in.tar",
            "cd /run/ibuild/in; find * -type f | sort | xargs cat > /srv/in-text",
        ],
    );
    Does::run()
}

/// What it makes depends on the value only where the recipe says so.
fn secret(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const AT: &str = "step main secret";
    writer.desk.file("given/one", "secret one", &["the first of all", "another first one"]);
    writer.desk.file("given/two", "secret two", &["the second of all"]);
    let mut one = writer.table("secret", "step main secret secret");
    writer.slots.compose("secret", "step main secret secret", "name");
    one.entry("name", "\"ONE\"");
    let affects = !one.any("affects-output", &["true", ""]).is_empty();
    let chosen = writer.slots.pick(writer.chosen, "step", AT, "secrets", &["ONE", "ONE TWO", "TWO"]);
    let text = |name: &str| if name == "ONE" { one.inline() } else { quoted(name) };
    let list: Vec<_> = chosen.split(' ').map(text).collect();
    table.entry("secrets", &format!("[{}]", list.join(", ")));
    table.count("secrets", &list.concat());
    let reads = affects && chosen.contains("ONE");
    if reads {
        table.count("value", &writer.text_of("given/one"));
    }
    let look = "cd /run/ibuild/secrets; stat -c '%n %F %a %u:%g %Y' . * > /srv/secrets";
    let text = if reads {
        format!("{look}; wc -c ONE >> /srv/secrets; md5sum ONE >> /srv/secrets")
    } else {
        look.to_owned()
    };
    table.is("run", &quoted(&text));
    Does::run()
}

fn dist(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    let mut inner = writer.table("copy-from", "step main dist copy-from");
    writer.slots.compose("step", "step main dist", "copy-from");
    inner.is("rootfs", &quoted(&writer.rootfs("src").name));
    inner.any(
        "paths",
        &[
            r#"["/opt/current"]"#,
            r#"["/opt/x/y", "/opt/x"]"#,
            r#"["/opt/x", "/opt/x/y"]"#,
            r#"["/opt/priv", "/opt/v1"]"#,
            r#"["/opt"]"#,
            r#"["/opt/v1", "/opt/current"]"#,
            r#"["/opt/current", "/opt/v1"]"#,
        ],
    );
    table.entry("copy-from", &inner.inline());
    table.count("copy-from", inner.meaning());
    Does { from: Some("src".to_owned()), ..Does::default() }
}

fn marks(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    let mut inner = writer.table("copy-from", "step main marks copy-from");
    writer.slots.compose("step", "step main marks", "copy-from");
    let id = writer
        .slots
        .pick(writer.chosen, "copy-from", "step main marks copy-from", "rootfs", &["base", "deb"])
        .to_owned();
    inner.entry("rootfs", &quoted(&writer.rootfs(&id).name));
    inner.any(
        "paths",
        &[r#"["/etc/mark"]"#, r#"["/var/lib/dpkg", "/etc/apt"]"#, r#"["/etc/apt", "/var/lib/dpkg"]"#],
    );
    table.entry("copy-from", &inner.inline());
    table.count("copy-from", inner.meaning());
    Does { from: Some(id), ..Does::default() }
}

fn packages(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const AT: &str = "step main packages";
    let lists = ["extra-one", "extra-two", "extra-two extra-one", "extra-one extra-two"];
    let names = writer.slots.pick(writer.chosen, "step", AT, "packages", &lists);
    let names: Vec<_> = names.split(' ').collect();
    // What is said about them does not count.
    let remarks = ["", "# A remark.\n", "\n  # One more.\n\n"];
    let remark = writer.slots.pick(writer.chosen, "file", "file list of packages", "content", &remarks);
    writer.desk.files.plain("lists/packages", format!("{remark}{}\n", names.join(" # remark\n")));
    match writer.slots.pick(writer.chosen, "step", AT, "packages-from", &["in the recipe", "in a file"]) {
        "in a file" => table.entry("packages-from", &quoted("lists/packages")),
        _ => table.entry("packages", &Writer::list(&names)),
    }
    table.count("packages", &names.join(" "));
    table.any("recommends", &["", "true", "false"]);
    Does { archives: true, ..Does::run() }
}

fn fetch(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text(
        "run",
        &[
            "env | sort > /srv/net",
            "env | sort > /srv/net; (wget -q -O - $ADDRESS/pool/side.deb || echo none) | md5sum >> /srv/net",
        ],
    );
    let network = table.any("network", &["\"packages\"", "\"none\""]);
    Does { archives: network == "\"packages\"", ..Does::run() }
}

fn environment(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text(
        "run",
        &["env | sort > /srv/env", "set > /tmp/set; grep -E '^(WORD|OTHER|STEP)=' /tmp/set > /srv/env || :"],
    );
    Does::run()
}

fn volatile(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text(
        "run",
        &[
            "mkdir -p /var/cache; echo x > /var/cache/x; echo y > /srv/volatile-1; echo z > /srv/volatile-2",
            "mkdir -p /var/cache; echo y > /var/cache/x",
        ],
    );
    Does::run()
}

fn greet(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text("run", &["echo {vars.word} > /srv/greeting", "echo '{vars.word}' 2 > /srv/greeting"]);
    table.count("word", &writer.word);
    Does::run()
}

fn sane(_: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    table.text("check", &["test -s /etc/passwd", "test -s /etc/group; echo lost > /srv/lost"]);
    Does { is_check: true, ..Does::run() }
}
