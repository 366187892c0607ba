//! `fetch`: files from elsewhere, which the recipe names by digest.

use ibuild_cache::{Digest, Sha256};
use ibuild_debian::Url;

use super::ownership::{account, mode};
use super::{all, optional};
use crate::draft::{DraftKind, DraftSignature, Links};
use crate::fetch::{FetchForm, FetchRule};
use crate::keys;
use crate::report::Problem;
use crate::step::StepKind;
use crate::values::{Node, Table};

const EXAMPLE: &str = "write `{ url = \"https://example.org/tool-1.0.tar.xz\", sha256 = \"...\", to = \"/opt/tool\", unpack = true }`";

/// What each step has for itself in memory: nothing that is written there is in the image.
const IN_MEMORY: [&str; 5] = ["/tmp", "/run", "/dev", "/proc", "/sys"];

/// The mode of a file, if the recipe says nothing.
const MODE: u32 = 0o644;

/// Ends of names of files that are no tar archives in a form that can be unpacked.
const OTHERS: [&str; 9] = [".zip", ".bz2", ".tbz", ".tbz2", ".7z", ".rar", ".deb", ".rpm", ".lz4"];

/// One file, or several.
pub(super) fn fetch(node: Node<'_>) -> Option<DraftKind> {
    let rules = match node.raw().as_array() {
        Some(_) => all(node.filled_array("files to fetch", EXAMPLE)?, rule)?,
        None => vec![rule(node)?],
    };
    let (rules, signatures) = rules.into_iter().unzip();
    Some(DraftKind::Step { kind: StepKind::Fetch(rules), links: Links { signatures, ..Links::default() } })
}

fn rule(node: Node<'_>) -> Option<(FetchRule, Option<DraftSignature>)> {
    let table = node.table("a fetch", &keys::FETCH)?;
    let urls = table.require("a fetch", "url", EXAMPLE).and_then(urls);
    let digest = digest(&table, urls.as_deref());
    let form = form(&table, urls.as_deref());
    let to = table.require("a fetch", "to", EXAMPLE).and_then(|node| target(node, form));
    let owner = optional(&table, "owner", account);
    let group = optional(&table, "group", account);
    let signature = optional(&table, "signature", signature);
    let rule = FetchRule {
        urls: urls?,
        sha256: digest?,
        to: to?,
        form: form?,
        owner: owner?,
        group: group?,
        signature: None,
    };
    Some((rule, signature?))
}

/// One address, or several that are asked in turn.
fn urls(node: Node<'_>) -> Option<Vec<Url>> {
    match node.raw().as_array() {
        Some(_) => all(node.filled_array("addresses", "write `url = \"https://...\"`")?, url),
        None => url(node).map(|url| vec![url]),
    }
}

fn url(node: Node<'_>) -> Option<Url> {
    const SHAPE: &str = "the address of a file looks like `https://example.org/tool-1.0.tar.xz`";
    let text = node.text()?.value;
    let problem = match text.parse::<Url>() {
        Ok(_) if text.contains('#') => node
            .problem(format!("`{text}` has a part behind `#`, which is for browsers"))
            .hint("leave it out"),
        Ok(url) if url.path() == "/" || text.ends_with('/') => {
            node.problem(format!("`{text}` names no file")).hint(SHAPE)
        }
        Ok(url) => return Some(url),
        Err(_) if text.starts_with("file:") || text.starts_with('/') => node
            .problem(format!("`{text}` is a file of this machine"))
            .hint("put it into the project, where `copy = [{ from = \"...\", to = \"...\" }]` takes it"),
        Err(error) => node.problem(error.to_string()).hint(SHAPE),
    };
    node.push(problem);
    None
}

fn digest(table: &Table<'_>, urls: Option<&[Url]>) -> Option<Sha256> {
    let address = urls.and_then(<[Url]>::first).map_or_else(|| "URL".to_owned(), Url::to_string);
    let how = format!(
        "`curl -fL '{address}' | sha256sum` prints it: compare it with what the makers of the file publish"
    );
    let Some(node) = table.get("sha256") else {
        table.push(Problem::at(table.span(), "a fetch needs `sha256`").hint(how));
        return None;
    };
    let text = node.text()?.value;
    let digits = text.strip_prefix("sha256:").unwrap_or(&text).to_ascii_lowercase();
    let problem = match Sha256::from_hex(&digits) {
        Ok(_) if is_placeholder(&digits) => {
            node.push(node.problem(format!("`{text}` is nobody's SHA-256")).hint(how));
            return None;
        }
        Ok(digest) => return Some(digest),
        Err(_) => node.problem(format!("`{text}` is not a SHA-256")),
    };
    let is_hex = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let other = match digits.len() {
        32 => Some("an MD5"),
        40 => Some("a SHA-1"),
        96 => Some("a SHA-384"),
        128 => Some("a SHA-512"),
        _ => None,
    };
    node.push(problem.hint(match other.filter(|_| is_hex) {
        Some(other) => format!("this is as long as {other}; `sha256sum FILE` prints what is wanted"),
        None => "64 hexadecimal digits, as `sha256sum FILE` prints them".to_owned(),
    }));
    None
}

/// Whether it was written down to be replaced: one digit again and again, or digits in their order.
fn is_placeholder(digits: &str) -> bool {
    let first = &digits[..1];
    digits == first.repeat(64) || digits == "0123456789abcdef".repeat(4)
}

fn form(table: &Table<'_>, urls: Option<&[Url]>) -> Option<FetchForm> {
    let unpack = optional(table, "unpack", unpack);
    let strip = optional(table, "strip", strip);
    let file_mode = optional(table, "mode", mode);
    let (unpack, strip, file_mode) = (unpack?.unwrap_or(false), strip?.unwrap_or(0), file_mode?);
    if !unpack {
        if strip == 0 {
            return Some(FetchForm::File { mode: file_mode.unwrap_or(MODE) });
        }
        let problem = Problem::at(table.span(), "`strip` without `unpack = true`");
        table.push(problem.hint("only what is unpacked has directories to leave out"));
        return None;
    }
    if file_mode.is_some() {
        let problem = Problem::at(table.span(), "`mode` beside `unpack = true`");
        table.push(problem.hint("the archive has the modes of its files; a later step can change them"));
        return None;
    }
    refuse_other_archives(table, urls)?;
    Some(FetchForm::Archive { strip })
}

fn unpack(node: Node<'_>) -> Option<bool> {
    if node.raw().is_str() {
        let problem = node.problem("expected `true` or `false`, found a string");
        node.push(problem.hint("write `unpack = true`; what kind of archive it is, its content tells"));
        return None;
    }
    node.boolean()
}

fn strip(node: Node<'_>) -> Option<u32> {
    const MOST: i64 = 100;
    let number = node.integer()?;
    let fits = u32::try_from(number).ok().filter(|_| number <= MOST);
    if fits.is_none() {
        let problem = node.problem(format!("`strip` is a number from 0 to {MOST}"));
        node.push(problem.hint("it says how many directories in front of each name are left out"));
    }
    fits
}

/// The name of a file decides nothing, but what is called like this every time is hardly a tar archive.
fn refuse_other_archives(table: &Table<'_>, urls: Option<&[Url]>) -> Option<()> {
    let end_of = |url: &Url| OTHERS.into_iter().find(|end| url.path().to_ascii_lowercase().ends_with(end));
    let ends: Option<Vec<_>> = urls?.iter().map(end_of).collect();
    let Some(end) = ends.and_then(|ends| ends.first().copied()) else { return Some(()) };
    let problem = Problem::at(table.span(), format!("`unpack = true` does not unpack `{end}`"));
    table.push(problem.hint(
        "it takes tar archives, plain or compressed by gzip, xz or zstd; fetch the file as it is, and unpack it in a `run` step",
    ));
    None
}

fn target(node: Node<'_>, form: Option<FetchForm>) -> Option<String> {
    let to = node.machine_path()?;
    let plain = to.trim_end_matches('/');
    let is_in_memory = |dir: &&&str| plain == **dir || plain.starts_with(&format!("{dir}/"));
    if let Some(dir) = IN_MEMORY.iter().find(is_in_memory) {
        let problem = node.problem(format!("nothing below `{dir}` is in the image: each step has its own"));
        node.push(problem.hint("write it to a place such as `/opt` or `/usr/local`"));
        return None;
    }
    match form {
        Some(FetchForm::Archive { .. }) if plain.is_empty() => Some("/".to_owned()),
        Some(FetchForm::File { .. }) if to.ends_with('/') => {
            let problem = node.problem(format!("`{to}` names no file"));
            let hint =
                format!("write `{plain}/NAME`, or `unpack = true` if it is an archive whose files go there");
            node.push(problem.hint(hint));
            None
        }
        _ => Some(plain.to_owned()),
    }
}

fn signature(node: Node<'_>) -> Option<DraftSignature> {
    const HINT: &str =
        "write `signature = { url = \"https://example.org/tool-1.0.tar.xz.asc\", key = \"keys/tool.asc\" }`";
    let table = node.table("a signature", &keys::SIGNATURE)?;
    let urls = table.require("a signature", "url", HINT).and_then(urls);
    let key = table.require("a signature", "key", HINT).and_then(Node::inner_path);
    Some(DraftSignature { urls: urls?, key: key? })
}
