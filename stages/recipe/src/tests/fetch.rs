//! `fetch`: what is understood, and what is said about each mistake.

use super::Project;
use super::errors::check_step;
use crate::fetch::{FetchForm, FetchRule};
use crate::step::{Network, StepKind};

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const URL: &str = "https://example.org/tool-1.0.tar.xz";

/// A key that no parser would take for another file: what gpg exports begins like this.
const KEY: &[u8] = &[0x98, 3, 4, 5, 6];

fn rules(fetch: &str) -> Vec<FetchRule> {
    let project = Project::with_step(&format!("name = \"a\", fetch = {fetch}"));
    std::fs::create_dir(project.path().join("keys")).unwrap();
    std::fs::write(project.path().join("keys/tool.gpg"), KEY).unwrap();
    let recipe = project.recipe();
    // What is shown is the same recipe.
    let shown = Project::new(&recipe.show().to_string());
    std::fs::create_dir(shown.path().join("keys")).unwrap();
    std::fs::write(shown.path().join("keys/tool.gpg"), KEY).unwrap();
    assert_eq!(shown.recipe().show().to_string(), recipe.show().to_string());
    let step =
        recipe.rootfses.values().flat_map(|rootfs| &rootfs.steps).find(|step| step.name.as_str() == "a");
    let step = step.expect("the step");
    assert!(step.network == Network::None && step.env.is_empty());
    match &step.kind {
        StepKind::Fetch(rules) => rules.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_file_or_several() {
    let one = rules(&format!("{{ url = \"{URL}\", sha256 = \"{DIGEST}\", to = \"/opt/tool.tar.xz\" }}"));
    assert_eq!(one.len(), 1);
    assert_eq!((one[0].to.as_str(), one[0].form), ("/opt/tool.tar.xz", FetchForm::File { mode: 0o644 }));
    assert_eq!(one[0].sha256.hex(), DIGEST);
    let several = rules(&format!(
        "[{{ url = [\"{URL}\", \"http://mirror.example/t?x=1\"], sha256 = \"sha256:{}\", to = \"/opt/tool/\", unpack = true, \
         strip = 1, owner = \"tor\", signature = {{ url = \"{URL}.asc\", key = \"keys/tool.gpg\" }} }}, \
         {{ url = \"{URL}\", sha256 = \"{DIGEST}\", to = \"/usr/bin/tool\", mode = \"0755\", group = 5 }}]",
        DIGEST.to_uppercase()
    ));
    assert_eq!((several[0].to.as_str(), several[0].form), ("/opt/tool", FetchForm::Archive { strip: 1 }));
    assert_eq!(several[0].urls.len(), 2);
    assert_eq!(several[0].sha256, several[1].sha256);
    assert_eq!(several[0].signature.as_ref().unwrap().keyring.bytes(), KEY);
    assert_eq!(several[1].form, FetchForm::File { mode: 0o755 });
    let root = rules(&format!("{{ url = \"{URL}\", sha256 = \"{DIGEST}\", to = \"/\", unpack = true }}"));
    assert_eq!(root[0].to, "/");
}

#[test]
fn as_json_it_has_the_words_of_the_recipe() {
    let rule = format!("{{ url = \"{URL}\", sha256 = \"{DIGEST}\", to = \"/opt/x\", unpack = true }}");
    let json = serde_json::to_value(&rules(&rule)[0]).unwrap();
    let expected = serde_json::json!({
        "url": [URL], "sha256": DIGEST, "to": "/opt/x", "unpack": true, "strip": 0, "owner": null, "group": null,
        "signature": null,
    });
    assert_eq!(json, expected);
}

/// One fetch with these keys, and an address, a digest and a target where none is given.
#[track_caller]
fn check(keys: &str, expected: &str) {
    let mut all = keys.to_owned();
    for (key, value) in [("url", URL), ("sha256", DIGEST), ("to", "/opt/x")] {
        // What is in braces is another table's.
        if !keys.split('{').next().unwrap_or_default().contains(&format!("{key} =")) {
            all = format!("{all}, {key} = \"{value}\"");
        }
    }
    check_step(&format!("name = \"a\", fetch = {{ {} }}", all.trim_start_matches(", ")), expected);
}

#[test]
fn digests() {
    const HOW: &str = "64 hexadecimal digits, as `sha256sum FILE` prints them";
    check_step(
        &format!("name = \"a\", fetch = {{ url = \"{URL}\", to = \"/opt/x\" }}"),
        "a fetch needs `sha256` | `curl -fL 'https://example.org/tool-1.0.tar.xz' | sha256sum` prints it: compare it with what \
         the makers of the file publish",
    );
    let not = |text: &str, hint: &str| {
        check(&format!("sha256 = \"{text}\""), &format!("`{text}` is not a SHA-256 | {hint}"));
    };
    not("", HOW);
    not("abc", HOW);
    not(&DIGEST[1..], HOW);
    not(&format!("{DIGEST}0"), HOW);
    not(&DIGEST.replace('9', "g"), HOW);
    not(&"é".repeat(32), HOW);
    not(&DIGEST[..32], "this is as long as an MD5; `sha256sum FILE` prints what is wanted");
    not(&DIGEST[..40], "this is as long as a SHA-1; `sha256sum FILE` prints what is wanted");
    not(&DIGEST.repeat(2), "this is as long as a SHA-512; `sha256sum FILE` prints what is wanted");
    for placeholder in ["0".repeat(64), "F".repeat(64), "0123456789abcdef".repeat(4)] {
        let how = format!(
            "`curl -fL '{URL}' | sha256sum` prints it: compare it with what the makers of the file publish"
        );
        let said = format!("`{placeholder}` is nobody's SHA-256 | {how}");
        check(&format!("sha256 = \"{placeholder}\""), &said);
    }
    check("sha256 = 1", "expected a string, found an integer | write `\"1\"`, in quotes");
}

#[test]
fn addresses() {
    const SHAPE: &str = "the address of a file looks like `https://example.org/tool-1.0.tar.xz`";
    let not = |text: &str, expected: &str| check(&format!("url = \"{text}\""), expected);
    not("ftp://example.org/x", &format!("`ftp://example.org/x` is not an http or https address | {SHAPE}"));
    not("example.org/x", &format!("`example.org/x` is not an http or https address | {SHAPE}"));
    not("https://example.org", &format!("`https://example.org` names no file | {SHAPE}"));
    not("https://example.org/dir/", &format!("`https://example.org/dir/` names no file | {SHAPE}"));
    not(
        "https://me:word@example.org/x",
        &format!("`https://me:word@example.org/x` has no usable host | {SHAPE}"),
    );
    not("https://example.org/a b", &format!("`/a b` has no usable path | {SHAPE}"));
    not(
        "https://example.org/x#part",
        "`https://example.org/x#part` has a part behind `#`, which is for browsers | leave it out",
    );
    not(
        "file:///srv/x",
        "`file:///srv/x` is a file of this machine | put it into the project, where `copy = [{ from = \"...\", to = \"...\" }]` \
         takes it",
    );
    check("url = []", "the list of addresses is empty | write `url = \"https://...\"`");
}

#[test]
fn targets() {
    check("to = \"opt/x\"", "`opt/x` is not an absolute path | paths in the machine start with `/`");
    check("to = \"/opt/../x\"", "`/opt/../x` contains `..` | write the path that is meant");
    check(
        "to = \"/opt/\"",
        "`/opt/` names no file | write `/opt/NAME`, or `unpack = true` if it is an archive whose files go there",
    );
    check(
        "to = \"/\"",
        "`/` names no file | write `/NAME`, or `unpack = true` if it is an archive whose files go there",
    );
    for dir in ["/tmp", "/run", "/dev", "/proc", "/sys"] {
        let hint = "write it to a place such as `/opt` or `/usr/local`";
        let said = format!("nothing below `{dir}` is in the image: each step has its own | {hint}");
        check(&format!("to = \"{dir}/x\""), &said);
        check(&format!("to = \"{dir}/\", unpack = true"), &said);
    }
    // Others only begin like that.
    rules(&format!("{{ url = \"{URL}\", sha256 = \"{DIGEST}\", to = \"/runtime/x\" }}"));
}

#[test]
fn unpacking() {
    check(
        "strip = 1",
        "`strip` without `unpack = true` | only what is unpacked has directories to leave out",
    );
    check(
        "unpack = true, mode = \"0600\"",
        "`mode` beside `unpack = true` | the archive has the modes of its files; a later step can change them",
    );
    check(
        "unpack = true, strip = -1",
        "`strip` is a number from 0 to 100 | it says how many directories in front of each name are left out",
    );
    check(
        "unpack = \"tar.xz\"",
        "expected `true` or `false`, found a string | write `unpack = true`; what kind of archive it is, its content tells",
    );
    let hint = "it takes tar archives, plain or compressed by gzip, xz or zstd; fetch the file as it is, and unpack it in a `run` \
                step";
    for end in [".zip", ".bz2", ".deb"] {
        let keys = format!("url = \"https://example.org/tool{end}\", unpack = true");
        check(&keys, &format!("`unpack = true` does not unpack `{end}` | {hint}"));
    }
    // One address of several may be called anything.
    let urls = format!("[\"https://example.org/get.zip\", \"{URL}\"]");
    rules(&format!("{{ url = {urls}, sha256 = \"{DIGEST}\", to = \"/opt/x\", unpack = true }}"));
}

#[test]
fn keys_and_places_of_keys() {
    check(
        "sha265 = \"x\", sha256 = \"y\"",
        "unknown key `sha265` in a fetch | did you mean `sha256`?\n`y` is not a SHA-256 | 64 hexadecimal digits, as `sha256sum FILE` prints them",
    );
    check(
        "signature = { url = \"https://example.org/x.asc\" }",
        "a signature needs `key` | write `signature = { url = \"https://example.org/tool-1.0.tar.xz.asc\", key = \"keys/tool.asc\" }`",
    );
    check(
        "signature = { url = \"https://example.org/x.asc\", key = \"files/shared/etc/motd\" }",
        "`files/shared/etc/motd` cannot be the key of a signature: it is not an OpenPGP public key | take the file that the \
         archive's makers publish, or write one with `gpg --export --armor FINGERPRINT`",
    );
    let fetch = format!("fetch = {{ url = \"{URL}\", sha256 = \"{DIGEST}\", to = \"/opt/x\" }}");
    check_step(
        &format!("name = \"a\", {fetch}, network = \"packages\""),
        "`network` means nothing to a `fetch` step | it belongs to `script`, `scripts`, `run` and `check`",
    );
    check_step(&fetch, "the step has no `name` | stages are named `rootfs/step`: write `name = \"...\"`");
    check_step(
        "name = \"a\", fetch = []",
        "the list of files to fetch is empty | write `{ url = \"https://example.org/tool-1.0.tar.xz\", sha256 = \"...\", to = \
         \"/opt/tool\", unpack = true }`",
    );
}
