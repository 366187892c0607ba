//! Archives that are not Debian's, with keys of their own: what a recipe may say of them, whom is believed, and what the real
//! apt of an image makes of them.

#[path = "../harness/signer.rs"]
mod signer;
mod vendor;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use vendor::{Package, Vendor};

const HEAD: &str = "schema = 1\n[project]\nname = \"archives\"\nepoch = 1767225600\n";

/// How a command ended, and all that it said.
struct Ended {
    status: i32,
    all: String,
}

impl Ended {
    #[track_caller]
    fn says(&self, status: i32, texts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.all);
        for text in texts {
            assert!(self.all.contains(text), "no {text:?} in {}", self.all);
        }
    }
}

struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.path().join("ibuild.lock")).unwrap()
    }

    fn ibuild(&self, arguments: &[&str]) -> Ended {
        self.run(&[&[env!("CARGO_BIN_EXE_ibuild")], arguments].concat())
    }

    fn run(&self, program: &[&str]) -> Ended {
        let output = Command::new(program[0])
            .args(&program[1..])
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("IBUILD_CACHE_DIR", self.path().join("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let all = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        Ended { status: output.status.code().unwrap(), all }
    }
}

/// A recipe that has nothing but one archive and starts from it.
fn only(archive: &str) -> String {
    format!(
        "{HEAD}[archive.vendor]\n{archive}\n[rootfs.ws]\nsteps = [{{ name = \"b\", bootstrap = {{ archive = \"vendor\" }} }}]\n"
    )
}

#[test]
fn mistakes_of_recipes_are_told_with_a_remedy() {
    let (vendor, project) = (Vendor::new(), Project::new());
    project.write("keys/good.asc", vendor.armoured_key());
    project.write("keys/secret.asc", vendor.secret_key());
    project.write("keys/page.asc", "<!DOCTYPE html>\n");
    let check = |archive: &str, texts: &[&str]| {
        project.write("ibuild.toml", only(archive));
        project.ibuild(&["recipe", "check"]).says(if texts.is_empty() { 0 } else { 2 }, texts);
    };
    let good = "url = \"http://deb.example.org/x\"\nsuites = [\"stable\"]\nkey = \"keys/good.asc\"";
    check(good, &[]);
    check(&good.replace("\nkey = \"keys/good.asc\"", ""), &["needs `key`", "key = \"keys/vendor.asc\""]);
    check(
        &good.replace("good.asc", "god.asc"),
        &["there is no `keys/god.asc`", "did you mean `keys/good.asc`?"],
    );
    check(&good.replace("good", "page"), &["it is not an OpenPGP public key", "gpg --export --armor"]);
    check(&good.replace("good", "secret"), &["it has a secret key in it"]);
    check(&good.replace("keys/good.asc", "keys"), &["it is a directory"]);
    check(
        &good.replace("http://", ""),
        &["is not an http or https address", "https://deb.example.org/debian"],
    );
    check(&good.replace("deb.example.org/x", "me:secret@host/x"), &["has no usable host"]);
    check(&good.replace("deb.example.org/x", "deb.debian.org/debian"), &["is Debian's own archive"]);
    check(&format!("{good}\nsecurity = \"x\""), &["`security` beside `url`"]);
    check("suites = [\"x\"]\nkey = \"keys/good.asc\"", &["`key` without `url`"]);
    check("suites = [\"./\"]", &["has no flat repository"]);
    check(&format!("{}\ncomponents = [\"main\"]", good.replace("stable", "./")), &["`components` of a flat"]);
    check(&format!("{good}\nforeign = [\"amd64\"]"), &["the machines' own architecture"]);
    let twice = only(good).replace("[rootfs", &format!("[archive.again]\n{good}\n[rootfs"));
    project.write("ibuild.toml", twice.replace("\"vendor\"", "[\"vendor\", \"again\"]"));
    project.ibuild(&["recipe", "check"]).says(2, &["`vendor` and `again` are at the same address"]);
}

fn tool(version: &str) -> Package<'_> {
    let fields = "Depends: vendor-lib\n";
    Package { name: "vendor-tool", version, architecture: "amd64", fields, postinst: "" }
}

/// Takes down what it can see of the archive's state while it is installed.
const LOOKS: &str = "cat /run/ibuild/apt/lists/*Release* /run/ibuild/plan/* > /opt/seen 2> /dev/null || true";

/// An archive with a component `tools`, for two architectures.
fn publish(vendor: &Vendor, day: u32, version: &str, extra: &str) {
    let small =
        |name, version, architecture, postinst| Package { name, version, architecture, fields: "", postinst };
    let asks = format!(
        "/usr/lib/apt/apt-helper download-file {}/dists/stable/InRelease /opt/state",
        vendor.url("vendor")
    );
    let (lib, spy) = (small("vendor-lib", "1.0", "all", LOOKS), small("vendor-spy", "1.0", "all", &asks));
    let old = small("vendor-old", "1.0", "i386", "");
    let extra = small("vendor-extra", extra, "all", "");
    let lib = vendor.package("vendor", "pool/vendor-lib.deb", &lib)
        + &vendor.package("vendor", "pool/vendor-spy.deb", &spy)
        + &vendor.package("vendor", "pool/vendor-extra.deb", &extra);
    let path = format!("pool/vendor-tool_{version}_amd64.deb");
    let amd64 = lib.clone() + &vendor.package("vendor", &path, &tool(version));
    let i386 = lib + &vendor.package("vendor", "pool/vendor-old_1.0_i386.deb", &old);
    let indices =
        [("tools/binary-amd64/Packages", amd64.as_str()), ("tools/binary-i386/Packages", i386.as_str())];
    let fields = "Suite: stable\nComponents: tools\nArchitectures: amd64 i386\n";
    vendor.publish("vendor/dists/stable", day, fields, &indices);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn only_what_its_own_key_has_signed_is_believed() {
    let (vendor, mallory, project) = (Vendor::new(), Vendor::new(), Project::new());
    project.write("keys/vendor.asc", vendor.armoured_key());
    let archive = format!(
        "url = \"{}\"\nsuites = [\"stable\"]\ncomponents = [\"tools\"]\nkey = \"keys/vendor.asc\"",
        vendor.url("vendor")
    );
    project.write("ibuild.toml", only(&archive));
    publish(&vendor, 14, "1.0", "1.0");
    let root = vendor.file("vendor/dists/stable/InRelease");
    let signed = fs::read_to_string(&root).unwrap();
    let release = signed.split_once("\n\n").unwrap().1.split_once("-----BEGIN").unwrap().0.to_owned();
    let refused = |inrelease: &[u8], texts: &[&str]| {
        fs::write(&root, inrelease).unwrap();
        let ended = project.ibuild(&["lock"]);
        ended.says(3, &["cannot use the archive `vendor` of http://127.0.0.1:"]);
        ended.says(3, texts);
        assert!(!project.path().join("ibuild.lock").exists(), "{}", ended.all);
    };
    refused(signed.replace("14 Sep", "15 Sep").as_bytes(), &["its signature is not good: "]);
    refused(release.as_bytes(), &["it is not a signed Release"]);
    refused(
        &mallory.sign(release.as_bytes()),
        &["no key in `keys/vendor.asc` has signed it, but ", "`key` in the recipe names another key"],
    );
    refused(
        &vendor.sign(release.replace("Suite: stable", "Suite: testing").as_bytes()),
        &["InRelease of another suite for `stable`"],
    );
    fs::write(&root, &signed).unwrap();
    let index = vendor.file("vendor/dists/stable/tools/binary-amd64/Packages");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("1.0", "6.6")).unwrap();
    refused(signed.as_bytes(), &["other bytes than the archive's signed indices name"]);
    fs::write(&index, &text).unwrap();
    let absent = |recipe: &str, texts: &[&str]| {
        project.write("ibuild.toml", only(recipe));
        refused(signed.as_bytes(), texts);
    };
    absent(&archive.replace("\"stable\"", "\"stabel\""), &["`stabel` has no InRelease", "check `suites`"]);
    absent(
        &archive.replace("[\"tools\"]", "[\"tool\"]"),
        &["no component `tool` for amd64", "the suite has tools"],
    );
    absent(&format!("{archive}\nforeign = [\"arm64\"]"), &["no component `tools` for arm64"]);
    absent(
        &archive.replace("\"stable\"]\ncomponents = [\"tools\"]", "\"dists/stable/\"]"),
        &["lists no `Packages`"],
    );
    project.write("ibuild.toml", only(&archive));
    project.ibuild(&["lock"]).says(0, &["locked: 1 suite,"]);
    let line = format!("release vendor {} stable sha256:", vendor.url("vendor"));
    assert!(project.lock().contains(&line), "{}", project.lock());
    project.ibuild(&["lock", "--check"]).says(0, &["vendor  stable  2026-09-14T07:55:41Z unchanged"]);
    let until = "Suite: stable\nValid-Until: Tue, 15 Sep 2026 07:55:41 UTC";
    fs::write(&root, vendor.sign(release.replace("Suite: stable", until).as_bytes())).unwrap();
    project.ibuild(&["lock", "--check"]).says(3, &["the mirror's state of `stable` expired on 2026-09-15"]);
    project.ibuild(&["update", "--allow-expired"]).says(0, &[]);
    project.ibuild(&["lock", "--check"]).says(30, &["unchanged; what is locked expired on 2026-09-15"]);
    fs::write(&root, vendor.sign(release.replace(" 2026 ", " 2126 ").as_bytes())).unwrap();
    project.ibuild(&["update"]).says(0, &["the clock of this machine, or of the archive, is wrong"]);
    project.write("keys/vendor.asc", mallory.armoured_key());
    project.ibuild(&["lock", "--check"]).says(3, &["no key in `keys/vendor.asc` has signed it"]);
}

fn with_debian(vendor: &Vendor) -> String {
    format!(
        r#"{HEAD}[archive.debian]
suites = ["trixie"]
[archive.vendor]
url = "{}"
suites = ["stable"]
components = ["tools"]
foreign = ["i386"]
key = "keys/vendor.asc"
[archive.flat]
url = "{}"
suites = ["./"]
key = "keys/vendor.gpg"
[rootfs.ws]
steps = [
  {{ name = "bootstrap", bootstrap = {{ archive = ["debian", "vendor", "flat"] }} }},
  {{ name = "tools", packages = ["vendor-tool", "vendor-old:i386"], recommends = false }},
  {{ name = "fetch", run = "/usr/lib/apt/apt-helper download-file $VENDOR/pool/vendor-extra.deb /opt/extra.deb", network = "packages", env = {{ VENDOR = "{}" }} }},
  {{ name = "idle", run = "ls /opt > /opt/list", network = "packages" }},
  {{ name = "script", script = "install", network = "packages" }},
  {{ name = "sane", network = "none", check = "cat /opt/flat-tool /opt/vendor-lib && grep -q 1.0 /opt/vendor-old && test $(dpkg --print-foreign-architectures) = i386 && test -s /opt/seen && ! grep -e Date: -e stable /opt/seen && cmp /etc/apt/keyrings/vendor.gpg /etc/apt/keyrings/flat.gpg && dpkg --audit" }},
]
[rootfs.hook]
from = "ws"
steps = [
  {{ name = "hook", run = "echo 'APT::Update::Post-Invoke-Success {{\"cat /run/ibuild/apt/lists/*InRelease > /opt/state\";}};' > /etc/apt/apt.conf.d/hook" }},
  {{ name = "tool", packages = ["vendor-extra"], recommends = false }},
]
[rootfs.script]
from = "ws"
steps = [{{ name = "tool", packages = ["vendor-spy"], recommends = false }}]
[image.ws]
rootfs = "ws"
formats = ["rootfs.tar.zst"]
[image.hook]
rootfs = "hook"
formats = ["rootfs.tar.zst"]
[image.script]
rootfs = "script"
formats = ["rootfs.tar.zst"]
"#,
        vendor.url("vendor"),
        vendor.url("flat"),
        vendor.url("vendor")
    )
}

const INSTALL: &str = "#!/bin/sh -e\napt-get update --error-on=any\napt-get install --yes flat-tool\n\
    apt-get install --yes vendor-none && exit 1\nrm -r /var/lib/apt/lists\n";

const BUILD: [&str; 3] = ["build", "--target", "ws.rootfs.tar.zst"];

/// Builds steps whose programs look at the state of the archive.
const BUILD_SPIES: [&str; 5] =
    ["build", "--target", "hook.rootfs.tar.zst", "--target", "script.rootfs.tar.zst"];

#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn real_apt_installs_from_archives_of_all_kinds() {
    assert!(nix::unistd::geteuid().is_root(), "stages need root");
    let (vendor, project) = (Vendor::new(), Project::new());
    publish(&vendor, 14, "1.0", "1.0");
    let flat = Package { name: "flat-tool", version: "1+1~x", architecture: "all", fields: "", postinst: "" };
    let packages = vendor.package("flat", "./flat-tool_1+1~x_all.deb", &flat);
    vendor.publish("flat", 14, "", &[("Packages", &packages)]);
    project.write("keys/vendor.asc", vendor.armoured_key());
    project.write("keys/vendor.gpg", vendor.binary_key());
    project.write("install", INSTALL);
    project.write("ibuild.toml", with_debian(&vendor));
    let locked = project.ibuild(&["lock"]);
    if locked.all.contains("cannot be reached") {
        return eprintln!("SKIPPED: {}", locked.all);
    }
    locked.says(0, &["locked: 3 suites"]);
    project.ibuild(&BUILD).says(0, &["7 run"]);
    let lock = project.lock();
    for line in [
        format!("release flat {} ./ sha256:", vendor.url("flat")),
        "deb flat flat-tool 1+1~x all ".to_owned(),
        format!(" {} flat-tool_1+1~x_all.deb ws/script\n", vendor.url("flat")),
        "deb vendor vendor-tool 1.0 amd64 ".to_owned(),
        "deb vendor vendor-lib 1.0 all ".to_owned(),
        "deb vendor vendor-old 1.0 i386 ".to_owned(),
    ] {
        assert!(lock.contains(&line), "no {line:?} in {lock}");
    }
    // Nothing is asked for twice, and what is here needs nobody.
    let debs = vendor.asked().into_iter().filter(|path| path.ends_with(".deb")).count();
    assert_eq!(debs, 5, "{:?}", vendor.asked());
    let offline =
        [&["unshare", "--net", env!("CARGO_BIN_EXE_ibuild")], &BUILD[..], &["--locked", "--offline"]];
    project.run(&offline.concat()).says(0, &["0 run"]);

    project.ibuild(&BUILD_SPIES).says(0, &["ran     hook/tool ", "ran     script/tool "]);

    // The same packages in another state: what installs them by name does not run again, nor what asks for nothing else.
    publish(&vendor, 21, "1.0", "1.0");
    project
        .ibuild(&["lock", "--check"])
        .says(10, &["vendor  stable  2026-09-14T07:55:41Z -> 2026-09-21T07:55:41Z"]);
    project.ibuild(&["update", "vendor"]).says(0, &["-> 2026-09-21T07:55:41Z"]);
    project.ibuild(&BUILD).says(0, &["1 run"]);
    project.ibuild(&["explain", "ws/tools"]).says(0, &["but the packages are the same"]);
    project.ibuild(&["explain", "ws/fetch"]).says(0, &["but what it asks the archive for is the same"]);
    project.ibuild(&["explain", "ws/idle"]).says(0, &["but it asks the archive for nothing"]);

    // But what may have seen the state does.
    project.ibuild(&BUILD_SPIES).says(0, &["ran     hook/tool ", "ran     script/tool "]);

    // Under the same name other bytes.
    publish(&vendor, 24, "1.0", "1.1");
    project.ibuild(&["update", "vendor"]).says(0, &["vendor-extra all  1.0 -> 1.1"]);
    let built = project.ibuild(&BUILD);
    built.says(0, &["ran     ws/fetch ", "ran     ws/idle ", "ran     ws/script "]);
    assert!(!built.all.contains("ran     ws/tools "), "{}", built.all);

    publish(&vendor, 28, "2.0", "2.0");
    project.ibuild(&["lock", "--check"]).says(20, &["vendor-tool amd64  1.0 -> 2.0"]);
    project.ibuild(&["update", "vendor"]).says(0, &["vendor-tool amd64  1.0 -> 2.0"]);
    project.ibuild(&BUILD).says(0, &["built ws.rootfs.tar.zst"]);
    assert!(project.lock().contains("deb vendor vendor-tool 2.0 amd64 "), "{}", project.lock());
}
