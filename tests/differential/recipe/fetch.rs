//! The step that fetches from elsewhere.

use super::Writer;
use super::does::Does;
use super::steps::ACCOUNTS;
use crate::elsewhere::Elsewhere;
use crate::tables::{Table, quoted};

pub fn download(writer: &mut Writer<'_>, table: &mut Table<'_>) -> Does {
    const AT: &str = "step main download fetch";
    let mut inner = writer.table("fetch", AT);
    let pick = |kind, at, key, values: &[&'static str]| {
        writer.slots.pick(writer.chosen, kind, at, key, values).to_owned()
    };
    let file = &writer.elsewhere[usize::from(pick("fetch", AT, "sha256", &["one", "two"]) == "two")];
    // Where it comes from changes nothing.
    let url = pick("fetch", AT, "url", &["alone", "in a list", "after one that has it not"]);
    inner.entry("url", &address(file, &url));
    inner.entry("sha256", &quoted(&file.sha256));
    inner.count("sha256", &file.sha256);
    inner.text("to", &["/opt/got", "/srv/got", "/usr/local/got"]);
    inner.any("owner", &ACCOUNTS);
    inner.any("group", &ACCOUNTS);
    let is_unpacked = inner.any("unpack", &["", "true", "false"]) == "true";
    let strip = pick("fetch", AT, "strip", &["", "0", "1"]);
    let mode = pick("fetch", AT, "mode", &["", "\"0644\"", "0o4755"]);
    let (key, value) = if is_unpacked { ("strip", strip) } else { ("mode", mode) };
    if !value.is_empty() {
        inner.entry(key, &value);
        inner.count(key, &value);
    }
    let at = format!("{AT} signature");
    inner.table("signature", "signature", |signature| {
        let url = writer.slots.pick(
            writer.chosen,
            "signature",
            &at,
            "url",
            &["alone", "after one that has it not"],
        );
        let signed = Elsewhere { url: format!("{}.asc", file.url), ..file.clone() };
        signature.entry("url", &address(&signed, url));
        signature.text("key", &["keys/maker.asc", "keys/maker.gpg"]);
    });
    let text = inner.inline();
    let form =
        writer.slots.pick(writer.chosen, "step", "step main download", "fetch", &["a table", "a list"]);
    table.entry("fetch", &if form == "a list" { format!("[{text}]") } else { text });
    table.count("fetch", inner.meaning());
    Does::default()
}

fn address(file: &Elsewhere, how: &str) -> String {
    let url = quoted(&file.url);
    match how {
        "alone" => url,
        "in a list" => format!("[{url}]"),
        _ => format!("[{}, {url}]", quoted(&format!("{}.gone", file.url))),
    }
}
