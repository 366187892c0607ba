//! The recipe: one that has every key, each with all the values that are tried.

mod does;
mod fetch;
mod images;
mod profiles;
mod rootfses;
mod scripts;
mod steps;

use crate::archive::{Archives, SUITES};
use crate::choices::{Choices, Slots};
use crate::elsewhere::Elsewhere;
use crate::files::{Desk, Files};
use crate::project::{Stage, Target};
use crate::tables::{Table, quoted};

/// What was written.
pub struct Written {
    pub files: Files,
    /// What is added to the command that builds it.
    pub arguments: Vec<String>,
    pub stages: Vec<Stage>,
    pub targets: Vec<Target>,
}

/// Where everything is written to.
pub struct Writer<'c> {
    chosen: &'c Choices,
    slots: &'c Slots,
    desk: Desk<'c>,
    /// The time of everything, which counts for everything.
    epoch: String,
    /// What the profile that is asked for says of formats.
    profile_formats: String,
    /// The option that asks for a profile, if one is asked for.
    with_profile: &'static str,
    /// The value of a variable.
    word: String,
    /// Whether shells show what they run, which counts for all that runs one.
    tracing: &'static str,
    arguments: Vec<String>,
    /// What can be fetched.
    elsewhere: [Elsewhere; 2],
    /// What counts of the archives for stages that may use them.
    archives: String,
    /// The tables of the recipe.
    tables: Vec<String>,
    rootfses: Vec<Rootfs>,
}

/// A chain of stages, as far as others need to know.
#[derive(Clone)]
pub struct Rootfs {
    /// What it is called in the templates.
    pub id: &'static str,
    pub name: String,
    /// Its environment and that of what it stands on.
    pub env: String,
    /// The archives that it starts from.
    pub archives: String,
    pub stages: Vec<Stage>,
    /// The last stage of the whole chain.
    pub last: Option<String>,
}

pub fn write(desk: Desk<'_>, archives: &Archives) -> Written {
    let (chosen, slots) = (desk.chosen, desk.slots);
    let mut project = Table::new(chosen, slots, "project", "project");
    project.text("name", &["differential", "other"]);
    let epoch = project.any("epoch", &["1767225600", "1767225601", "1700000000"]).to_owned();
    let mut vars = Table::new(chosen, slots, "vars", "vars");
    let word = vars.text("word", &["hello", "bye", "hello world"]).to_owned();
    // The command line cannot give a value to a variable that the recipe does not have.
    vars.text("unused", &["0", "1", "2"]);
    let tracing = slots.pick(chosen, "", "command line", "debug", &["", "--debug"]);
    let givens = ["", "--var=word=given", "--var=word=bye", "--var=unused=3"];
    let given = slots.pick(chosen, "", "command line", "var", &givens);
    let profiles = profiles::profiles(chosen, slots);
    let word = profiles.word.map_or(word, str::to_owned);
    let word = given.strip_prefix("--var=word=").map_or(word, str::to_owned);
    let arguments = [tracing, given, profiles.option]
        .iter()
        .filter(|it| !it.is_empty())
        .map(ToString::to_string)
        .collect();
    let mut writer = Writer {
        chosen,
        slots,
        desk,
        epoch,
        profile_formats: profiles.formats,
        with_profile: profiles.option,
        word,
        tracing,
        arguments,
        elsewhere: archives.tarballs().files.clone(),
        archives: String::new(),
        tables: Vec::new(),
        rootfses: Vec::new(),
    };
    let project = format!("[project]\n{}", project.lines());
    writer.archives(archives);
    writer.rootfses();
    let targets = writer.images();
    let apart = [format!("[vars]\n{}\n{}", vars.lines(), profiles.text), writer.test()];
    writer.finish(project, apart, targets)
}

impl<'c> Writer<'c> {
    fn table(&self, kind: &'static str, at: impl Into<String>) -> Table<'c> {
        Table::new(self.chosen, self.slots, kind, at)
    }

    /// What something is called.
    fn name<'v>(&self, id: &str, names: &[&'v str]) -> &'v str {
        self.slots.pick(self.chosen, "", &format!("name {id}"), "name", names)
    }

    fn rootfs(&self, id: &str) -> &Rootfs {
        self.rootfses.iter().find(|rootfs| rootfs.id == id).expect("it was written before")
    }

    fn archives(&mut self, archives: &Archives) {
        const LISTS: [&str; 3] =
            [r#"["mini"]"#, r#"["mini", "mini-updates"]"#, r#"["mini-updates", "mini"]"#];
        const COMPONENTS: [&str; 4] = ["", r#"["main"]"#, r#"["main", "side"]"#, r#"["side", "main"]"#];
        const FOREIGN: [&str; 4] = ["", r#"["i386"]"#, r#"["i386", "arm64"]"#, r#"["arm64", "i386"]"#];
        assert_eq!(SUITES, ["mini", "mini-updates"]);
        for id in ["a", "b"] {
            let mut table = self.table("archive", format!("archive {id}"));
            let urls: Vec<_> = archives.addresses().into_iter().filter(|(name, _)| *name == id).collect();
            let urls: Vec<_> = urls.iter().map(|(_, url)| url.as_str()).collect();
            table.text("url", &urls);
            table.any("suites", &LISTS);
            table.any("components", &COMPONENTS);
            table.any("foreign", &FOREIGN);
            table.text("architecture", &["", "amd64"]);
            table.text("key", &["keys/vendor.asc", "keys/vendor.gpg"]);
            self.put_archive(id, &table);
        }
        let mut table = self.table("archive", "archive debian");
        table.any(
            "suites",
            &[r#"["trixie"]"#, r#"["trixie", "trixie-updates"]"#, r#"["trixie-backports", "trixie"]"#],
        );
        table.text("security", &["", "trixie-security", "trixie-embargoed"]);
        table.any("components", &["", r#"["main", "contrib"]"#, r#"["contrib", "main"]"#]);
        table.any("foreign", &FOREIGN);
        table.text("architecture", &["", "amd64"]);
        // Nobody answers there.
        table.text("mirror", &["", "http://127.0.0.1:9/debian", "http://127.0.0.1:9/other"]);
        table.text("security-mirror", &["", "http://127.0.0.1:9/security", "http://127.0.0.1:9/other"]);
        self.put_archive("debian", &table);
        self.desk.files.plain("keys/vendor.asc", archives.armoured_key());
        self.desk.files.plain("keys/vendor.gpg", archives.binary_key());
        self.desk.files.plain("keys/maker.asc", archives.tarballs().armoured_key());
        self.desk.files.plain("keys/maker.gpg", archives.tarballs().binary_key());
        self.desk.files.plain("ibuild.lock", archives.lock());
    }

    fn put_archive(&mut self, id: &str, table: &Table<'_>) {
        self.tables.push(format!("[archive.{id}]\n{}", table.lines()));
        self.archives += &format!("{id}: {}", table.meaning());
    }

    /// Puts the tables together, some of them into a file of their own, in an order of choice.
    fn finish(mut self, project: String, apart: [String; 2], targets: Vec<Target>) -> Written {
        let layouts = ["as they are", "the last first", "with remarks"];
        let layout = self.slots.pick(self.chosen, "", "layout", "layout", &layouts);
        for key in ["project", "vars", "profile", "archive", "rootfs", "image", "test"] {
            self.slots.compose("recipe", "recipe", key);
        }
        let mut top = self.table("recipe", "recipe");
        top.any("schema", &["1"]);
        let is_included = !top.any("include", &["", r#"["parts/more.toml"]"#]).is_empty();
        self.tables.insert(0, project);
        let apart = apart.join("\n");
        if is_included {
            self.desk.files.plain("parts/more.toml", apart);
        } else {
            self.tables.push(apart);
        }
        if layout == "the last first" {
            self.tables.reverse();
        }
        let between = if layout == "with remarks" { "\n# A remark.\n\n" } else { "\n" };
        let recipe = format!("{}\n{}", top.lines(), self.tables.join(between));
        self.desk.files.plain("ibuild.toml", recipe);
        let settings = ["", "unpacked-budget = \"1 kB\"\n", "jobs = 1\n"];
        let settings = self.slots.pick(self.chosen, "", "settings", "settings", &settings);
        let secrets = "[secrets]\nONE = \"given/one\"\nTWO = \"given/two\"\n";
        self.desk.files.plain("ibuild.local.toml", format!("{settings}{secrets}"));
        let stages = self.rootfses.into_iter().flat_map(|rootfs| rootfs.stages).collect();
        Written { files: self.desk.files, arguments: self.arguments, stages, targets }
    }

    /// What is in a file.
    fn text_of(&self, path: &str) -> String {
        format!("{:?}", self.desk.files.get(path).expect("it was written before").kind)
    }

    /// A list of strings, in TOML.
    fn list(texts: &[&str]) -> String {
        format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
    }
}
