//! `CHANGES-from-PREVIOUS.md`: what a release has that an earlier one had not.
//!
//! Packages by their versions; of files those that no upgraded package explains; sizes; the recipe and the states of the archives line by line.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use ibuild_debian::compare_versions;
use similar::TextDiff;

use crate::{ListedFile, ListedPackage};

/// What is compared of a release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edition {
    /// The version.
    pub version: String,
    /// Packages of each image, by the image's file.
    pub packages: BTreeMap<String, Vec<ListedPackage>>,
    /// Files of each image.
    pub files: BTreeMap<String, Vec<ListedFile>>,
    /// Sizes of all images, in bytes.
    pub sizes: Vec<Size>,
    /// The recipe with everything filled in.
    pub recipe: String,
    /// The states of the archives: a line each.
    pub archives: String,
}

/// The size of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// The image's file.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What differs between two releases.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'e> {
    /// The earlier one.
    pub old: &'e Edition,
    /// The later one.
    pub new: &'e Edition,
}

/// A thing before and after.
type Pair<'e, T> = (Option<&'e T>, Option<&'e T>);

impl Changes<'_> {
    /// The document.
    pub fn text(&self) -> String {
        let Self { old, new } = self;
        let mut text = format!("# Changes from {} to {}\n\n", old.version, new.version);
        text += &self.sizes();
        for image in new.packages.keys() {
            match old.packages.contains_key(image) {
                true => text += &self.image(image),
                false => text += &format!("## {image}\n\nThis image is new.\n\n"),
            }
        }
        for image in old.packages.keys().filter(|image| !new.packages.contains_key(*image)) {
            text += &format!("## {image}\n\nThis image is gone.\n\n");
        }
        text += &lines("Recipe", &old.recipe, &new.recipe);
        text += &lines("Archives", &old.archives, &new.archives);
        // What an earlier folder says may be anybody's; a terminal must not obey it.
        let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
        text.trim_end().chars().map(plain).collect::<String>() + "\n"
    }

    fn sizes(&self) -> String {
        let mut text = "| image | size in bytes | before |\n|---|---|---|\n".to_owned();
        for Size { file, bytes } in &self.new.sizes {
            let before = self.old.sizes.iter().find(|size| size.file == *file);
            let before = before.map_or("-".to_owned(), |size| size.bytes.to_string());
            writeln!(text, "| {file} | {bytes} | {before} |").expect("a string takes all");
        }
        text + "\n"
    }

    fn image(&self, image: &str) -> String {
        let packages = pairs(&self.old.packages[image], &self.new.packages[image], |it| {
            format!("{}:{}", it.name, it.architecture)
        });
        let old = self.old.files.get(image).map_or(&[][..], Vec::as_slice);
        let new = self.new.files.get(image).map_or(&[][..], Vec::as_slice);
        let files = pairs(old, new, |it: &ListedFile| it.path.clone());
        let changed = |name: &str| {
            packages.iter().any(|(package, _)| package == name || package.split(':').next() == Some(name))
        };
        let listed: Vec<_> = files.iter().filter(|(path, pair)| is_listed(path, *pair, changed)).collect();
        let mut text = format!("## {image}\n\n");
        if packages.is_empty() && listed.is_empty() {
            return text + "Packages and files are the same.\n\n";
        }
        for (name, pair) in &packages {
            text += &package(name, *pair);
        }
        if !packages.is_empty() && !listed.is_empty() {
            text += "\n";
        }
        for (path, pair) in listed {
            text += &file(path, *pair);
        }
        text + "\n"
    }
}

/// Whether a file is worth a line: what belongs to a package that has changed is said by the package's, and dpkg's own records are the
/// packages once more.
fn is_listed(path: &str, (old, new): Pair<'_, ListedFile>, changed: impl Fn(&str) -> bool) -> bool {
    let inside = path.split_once(":/").map_or(path, |(_, inside)| inside).trim_start_matches('/');
    let is_record = inside.starts_with("var/lib/dpkg/");
    let owner = |it: Option<&ListedFile>| it.and_then(|it| it.package.as_deref()).is_some_and(&changed);
    !is_record && !owner(old) && !owner(new)
}

/// What differs between two lists, by name. Of things with one name the last counts.
fn pairs<'e, T: PartialEq>(
    old: &'e [T],
    new: &'e [T],
    name: impl Fn(&T) -> String,
) -> Vec<(String, Pair<'e, T>)> {
    let mut all: BTreeMap<String, Pair<'e, T>> = BTreeMap::new();
    old.iter().for_each(|it| all.entry(name(it)).or_default().0 = Some(it));
    new.iter().for_each(|it| all.entry(name(it)).or_default().1 = Some(it));
    all.into_iter().filter(|(_, (old, new))| old != new).collect()
}

fn package(name: &str, pair: Pair<'_, ListedPackage>) -> String {
    match pair {
        (None, Some(new)) => format!("- added {name} {}\n", new.version),
        (Some(old), None) => format!("- removed {name} {}\n", old.version),
        (Some(old), Some(new)) => {
            let verb = match compare_versions(&old.version, &new.version) {
                Ordering::Less => "upgraded",
                Ordering::Greater => "downgraded",
                Ordering::Equal => "moved to another source:",
            };
            format!("- {verb} {name} {} -> {}\n", old.version, new.version)
        }
        (None, None) => String::new(),
    }
}

fn file(path: &str, pair: Pair<'_, ListedFile>) -> String {
    match pair {
        (None, Some(new)) => format!("- new `{path}` ({} {}, {} bytes)\n", new.mode, new.owner, new.size),
        (Some(_), None) => format!("- gone `{path}`\n"),
        (Some(old), Some(new)) => format!("- changed `{path}` ({})\n", differences(old, new).join(", ")),
        (None, None) => String::new(),
    }
}

fn differences(old: &ListedFile, new: &ListedFile) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |what: &str, old: &str, new: &str| said.push(format!("{what} {old} -> {new}"));
    if old.mode != new.mode {
        say("mode", &old.mode, &new.mode);
    }
    if old.owner != new.owner {
        say("owner", &old.owner, &new.owner);
    }
    match (old.content.strip_prefix("-> "), new.content.strip_prefix("-> ")) {
        _ if old.content == new.content => {}
        (Some(old), Some(new)) => say("target", old, new),
        _ if old.size == new.size => said.push(format!("content, {} bytes", new.size)),
        _ => say("content, bytes", &old.size.to_string(), &new.size.to_string()),
    }
    if said.is_empty() {
        said.push("package".to_owned());
    }
    said
}

fn lines(title: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let diff = TextDiff::from_lines(old, new);
    let unified = diff.unified_diff().context_radius(2).to_string();
    // A fence that no line of the text can end.
    let fence = "`".repeat(longest_run(&unified).max(2) + 1);
    format!("## {title}\n\n{fence}diff\n{unified}{fence}\n\n")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read_file_list, read_package_list};

    fn edition(version: &str, packages: &str, files: &str, recipe: &str) -> Edition {
        Edition {
            version: version.to_owned(),
            packages: BTreeMap::from([("a.ova".to_owned(), read_package_list(packages).unwrap())]),
            files: BTreeMap::from([("a.ova".to_owned(), read_file_list(files).unwrap())]),
            sizes: vec![Size { file: "a.ova".to_owned(), bytes: packages.len() as u64 }],
            recipe: recipe.to_owned(),
            archives: String::new(),
        }
    }

    #[test]
    fn each_difference_is_told_once() {
        let package = |name: &str, version: &str| format!("{name}\t{version}\tamd64\t{name}\t{version}\n");
        let file = |path: &str, content: &str, package: &str| {
            format!("-0644\t0:0\t3\tb3:{content}\t{package}\t{path}\n")
        };
        let old = edition(
            "1",
            &(package("kept", "1") + &package("old", "2") + &package("up", "1:1")),
            &(file("/bin/up", "1", "up")
                + &file("/etc/kept", "1", "kept")
                + &file("/etc/x", "1", "-")
                + &file("/var/lib/dpkg/status", "1", "-")),
            "a\n```\n",
        );
        let new = edition(
            "2",
            &(package("kept", "1") + &package("new", "3") + &package("up", "1:2")),
            &(file("/bin/up", "2", "up")
                + &file("/etc/kept", "2", "kept")
                + &file("/etc/y", "1", "-")
                + &file("/var/lib/dpkg/status", "2", "-")),
            "a\n````\n",
        );
        let text = Changes { old: &old, new: &new }.text();
        let expected = "# Changes from 1 to 2\n\n| image | size in bytes | before |\n|---|---|---|\n\
            | a.ova | 65 | 63 |\n\n## a.ova\n\n- added new:amd64 3\n- removed old:amd64 2\n- upgraded up:amd64 1:1 -> 1:2\n\n\
            - changed `/etc/kept` (content, 3 bytes)\n- gone `/etc/x`\n- new `/etc/y` (-0644 0:0, 3 bytes)\n\n\
            ## Recipe\n\n`````diff\n@@ -1,2 +1,2 @@\n a\n-```\n+````\n`````\n";
        let sizes = |text: &str| {
            text.lines().filter(|line| !line.starts_with("| a.ova")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(sizes(&text), sizes(expected.trim_end()));
        let same = Changes { old: &new, new: &new }.text();
        assert!(same.contains("Packages and files are the same."), "{same}");
    }
}
