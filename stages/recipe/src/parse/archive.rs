//! `[archive.NAME]`: Debian's own archive, or another one with its address and key.

use ibuild_debian::{Name, Suite, Url, is_debians};

use super::{all, optional};
use crate::draft::{DraftArchive, DraftVendor};
use crate::keys;
use crate::model::Archive;
use crate::names::{Architecture, ArchiveName};
use crate::report::Problem;
use crate::values::{Node, Table};

/// What only Debian has: a second archive, and mirrors.
const OF_DEBIAN: [&str; 3] = ["security", "mirror", "security-mirror"];

pub(super) fn archive(name: &ArchiveName, node: Node<'_>) -> Option<DraftArchive> {
    const SUITES: &str = "write `suites = [\"trixie\", \"trixie-updates\"]`";
    let what = format!("`[archive.{name}]`");
    let table = node.table(&what, &keys::ARCHIVE)?;
    let suites = table.require(&what, "suites", SUITES);
    let suites = suites.and_then(|node| all(node.filled_array("suites", SUITES)?, suite));
    let is_flat = suites.as_ref().is_some_and(|suites| suites.iter().all(|suite| suite.ends_with('/')));
    let components = components(&table, is_flat);
    let foreign = optional(&table, "foreign", |node| all(node.array()?, |node| Some(node.parsed()?.value)));
    let architecture = optional(&table, "architecture", |node| node.parsed().map(|name| name.value));
    let security = optional(&table, "security", suite);
    let mirror = optional(&table, "mirror", mirror);
    let security_mirror = optional(&table, "security-mirror", self::mirror);
    let vendor = vendor(name, &what, &table);
    let archive = Archive {
        name: name.clone(),
        vendor: None,
        suites: suites?,
        security: security?,
        components: components?,
        architecture: architecture?.unwrap_or_else(Architecture::amd64),
        foreign: foreign?.unwrap_or_default(),
        mirror: mirror?,
        security_mirror: security_mirror?,
    };
    let vendor = vendor?;
    if vendor.is_none() && archive.suites.iter().any(|suite| suite.ends_with('/')) {
        let problem = Problem::at(table.span(), format!("{what} is Debian's, and has no flat repository"));
        table.push(problem.hint("a suite that ends with `/` needs the `url` that it is under"));
        return None;
    }
    if archive.foreign.contains(&archive.architecture) {
        let message = format!("{} is the machines' own architecture", archive.architecture);
        table.push(Problem::at(table.span(), message).hint("`foreign` names others"));
        return None;
    }
    Some(DraftArchive { archive, vendor })
}

/// Flat repositories have none.
fn components(table: &Table<'_>, is_flat: bool) -> Option<Vec<String>> {
    let Some(node) = table.get("components") else {
        return Some(if is_flat { Vec::new() } else { vec!["main".to_owned()] });
    };
    if is_flat {
        let problem = node.problem("`components` of a flat repository".to_owned());
        node.push(problem.hint("a suite that ends with `/` has none: leave them out"));
        return None;
    }
    all(node.filled_array("components", "leave it out for `[\"main\"]`")?, component)
}

/// Where an archive is that is not Debian's, and who signs it. `Some(None)` for Debian's, `None` if something is wrong.
fn vendor(name: &ArchiveName, what: &str, table: &Table<'_>) -> Option<Option<DraftVendor>> {
    let Some(node) = table.get("url") else {
        let Some(key) = table.get("key") else { return Some(None) };
        let problem = key.problem("`key` without `url`".to_owned());
        key.push(
            problem.hint(
                "Debian's archive is signed by Debian's keys; name the address of another one as `url`",
            ),
        );
        return None;
    };
    let mut is_right = true;
    for (key, misplaced) in table.entries().into_iter().filter(|(key, _)| OF_DEBIAN.contains(&key.value)) {
        let problem = misplaced.problem(format!("`{}` beside `url`", key.value));
        misplaced.push(
            problem.hint("only Debian's own archive has it; another address is another `[archive.NAME]`"),
        );
        is_right = false;
    }
    let url = url(node);
    let hint =
        format!("write `key = \"keys/{name}.asc\"`, a file with the public keys that sign the archive");
    let key = table.require(what, "key", &hint).and_then(Node::inner_path);
    let vendor = DraftVendor { url: url?, key: key?, keyring: None };
    is_right.then_some(Some(vendor))
}

fn url(node: Node<'_>) -> Option<Url> {
    let text = node.text()?.value;
    let problem = match text.parse::<Url>() {
        Ok(url) if is_debians(&url) => node
            .problem(format!("`{text}` is Debian's own archive"))
            .hint("leave out `url` and `key`: its keys are known, and its mirrors"),
        Ok(url) if !text.contains(['?', '#']) => return Some(url),
        Ok(_) => node.problem(format!("`{text}` has more than a directory in it")).hint(SHAPE),
        Err(error) => node.problem(error.to_string()).hint(SHAPE),
    };
    node.push(problem);
    None
}

const SHAPE: &str = "the address of an archive looks like `https://deb.example.org/debian`";

/// Suites and components become parts of URLs and of `sources.list`.
fn suite(node: Node<'_>) -> Option<String> {
    word(node, |text| text.parse::<Suite>().is_ok())
}

fn component(node: Node<'_>) -> Option<String> {
    word(node, |text| text.parse::<Name>().is_ok())
}

fn word(node: Node<'_>, fits: impl Fn(&str) -> bool) -> Option<String> {
    let text = node.text()?.value;
    if fits(&text) {
        return Some(text);
    }
    node.push(node.problem(format!("`{text}` is not the name of a suite or component")));
    None
}

fn mirror(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace)) {
        return Some(text);
    }
    let problem = node.problem(format!("`{text}` is not the address of a mirror"));
    node.push(problem.hint("mirrors are written like `http://deb.debian.org/debian`"));
    None
}
