//! The files of a project: what is chosen of them, and what of that counts.

use std::collections::BTreeMap;

use crate::choices::{Choices, Slots};

/// Everything that a file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub kind: Kind,
    pub mode: u32,
    pub owner: u32,
    /// When it was changed; when it was written, if nothing is said.
    pub time: Option<i64>,
    /// An attribute of the checkout's file.
    pub attribute: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    Regular(Vec<u8>),
    Link(String),
}

/// Files by their paths in the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, File>);

impl Files {
    /// Every file and directory, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &File)> {
        self.0.iter()
    }

    pub fn get(&self, path: &str) -> Option<&File> {
        self.0.get(path)
    }

    /// A file that looks as in any checkout.
    pub fn plain(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        let kind = Kind::Regular(bytes.into());
        self.put(path, File { kind, mode: 0o644, owner: 0, time: None, attribute: None });
    }

    pub fn remove(&mut self, path: &str) -> File {
        self.0.remove(path).expect("it is there")
    }

    /// With the directories on the way.
    pub fn put(&mut self, path: &str, file: File) {
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.0.contains_key(parent)
        {
            let kind = Kind::Directory;
            self.put(parent, File { kind, mode: 0o755, owner: 0, time: None, attribute: None });
        }
        self.0.insert(path.to_owned(), file);
    }

    /// What counts of all that is in a directory, or of one file: not times, owners and what editors leave behind, and of
    /// permissions whether a file can be executed.
    pub fn meaning(&self, path: &str) -> String {
        self.meaning_without(path, &[])
    }

    /// The same without files of these names and what is in them.
    pub fn meaning_without(&self, path: &str, names: &[&str]) -> String {
        let ignores_logs = self.get(".ibuildignore").is_some();
        let counts = |file: &str| {
            let is_left_behind = |name: &str| {
                names.contains(&name)
                    || name.ends_with('~')
                    || name == ".git"
                    || name == "4913"
                    || (ignores_logs && name.ends_with(".log"))
            };
            !file[path.len()..].split('/').any(is_left_behind)
        };
        let below = self.0.iter().filter(|(file, _)| is_below(file, path) && counts(file));
        let mut meaning = String::new();
        for (file, what) in below {
            let is_executable = matches!(what.kind, Kind::Regular(_)) && what.mode & 0o111 != 0;
            meaning += &format!("{:?} {:?} {is_executable}\n", &file[path.len()..], what.kind);
        }
        meaning
    }
}

fn is_below(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Puts files into a project by choice.
pub struct Desk<'c> {
    pub chosen: &'c Choices,
    pub slots: &'c Slots,
    pub files: Files,
}

impl<'c> Desk<'c> {
    pub fn pick<'v>(&self, id: &str, key: &'static str, values: &[&'v str]) -> &'v str {
        self.slots.pick(self.chosen, "file", &format!("file {id}"), key, values)
    }

    /// A file of one of these contents.
    pub fn file(&mut self, path: &str, id: &str, contents: &[&str]) {
        let bytes = self.pick(id, "content", contents).as_bytes().to_vec();
        let mode = self.pick(id, "mode", &["0644", "0664", "0755", "0600", "0711"]);
        self.dressed(path, id, Kind::Regular(bytes), mode);
    }

    /// A directory, empty but for what is put into it besides.
    pub fn directory(&mut self, path: &str, id: &str) {
        let mode = self.pick(id, "mode", &["0755", "0700", "0775"]);
        self.dressed(path, id, Kind::Directory, mode);
    }

    /// A file, a link or a directory.
    pub fn anything(&mut self, path: &str, id: &str, contents: &[&str], targets: &[&str]) {
        let content = self.pick(id, "content", contents);
        let target = self.pick(id, "target", targets);
        let kind = match self.pick(id, "kind", &["link", "file", "directory"]) {
            "link" => Kind::Link(target.to_owned()),
            "file" => Kind::Regular(content.as_bytes().to_vec()),
            _ => Kind::Directory,
        };
        self.dressed(path, id, kind, "0755");
    }

    /// Something that is there at times.
    pub fn sometimes(&mut self, path: &str, id: &str, content: &str) {
        if self.pick(id, "presence", &["absent", "there"]) == "there" {
            self.files.plain(path, content);
        }
    }

    fn dressed(&mut self, path: &str, id: &str, kind: Kind, mode: &str) {
        let owner = self.pick(id, "owner", &["0", "1000"]).parse().unwrap();
        let time = match self.pick(id, "time", &["", "1580601600", "1900000000"]) {
            "" => None,
            seconds => Some(seconds.parse().unwrap()),
        };
        let attribute =
            Some(self.pick(id, "attribute", &["", "of the checkout"])).filter(|it| !it.is_empty());
        let mode = u32::from_str_radix(mode, 8).unwrap();
        let attribute = attribute.filter(|_| !matches!(kind, Kind::Link(_)));
        self.files.put(path, File { kind, mode, owner, time, attribute });
    }
}
