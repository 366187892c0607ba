//! `fetch` steps: what is downloaded and what is not, what becomes of it in the image, and what goes wrong. Over a root file system
//! of one busybox. Needs root.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ibuild::cache::{Digest, Sha256};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::files_server::{Answer, FileServer};
use crate::harness::{Outcome, Sandbox};
use crate::signer::Signer;

/// A project with one fetch.
struct Lab {
    sandbox: Sandbox,
    server: FileServer,
}

impl Lab {
    /// With a step `got` that fetches as this says; `[URL]` stands for the address of the server.
    fn new(fetch: &str) -> Self {
        let lab = Self { sandbox: Sandbox::empty(), server: FileServer::start() };
        let fetch = fetch.replace("[URL]/", &lab.server.url(""));
        let steps = format!("  {{ name = \"got\", fetch = {fetch} }},\n");
        crate::seeded::project(&lab.sandbox.path(""), &lab.sandbox.path("../cache"), &steps);
        lab
    }

    /// That fetches these bytes, which are served as `f`, to `/opt/f`.
    fn of(bytes: &[u8], more: &str) -> Self {
        let lab = Self::new(&format!(
            "{{ url = \"[URL]/f\", sha256 = \"{}\", to = \"/opt/f\"{more} }}",
            hex(bytes)
        ));
        lab.server.file("f", bytes);
        lab
    }

    /// That unpacks an archive to `/opt/f`.
    fn unpacking(archive: &[u8], more: &str) -> Self {
        Self::of(archive, &format!(", unpack = true{more}"))
    }

    fn edit(&self, old: &str, new: &str) {
        self.sandbox.edit("ibuild.toml", old, &new.replace("[URL]/", &self.server.url("")));
    }

    fn build(&self, more: &[&str]) -> Outcome {
        self.sandbox.run(&[&["build", "--target", "ws.rootfs.tar.zst"], more].concat())
    }

    /// Builds, and tells how many stages ran.
    #[track_caller]
    fn ran(&self, more: &[&str]) -> u64 {
        let outcome = self.build(more);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let line = outcome.stderr.lines().chain(outcome.stdout.lines()).find(|line| line.contains(" run, "));
        let line = line.unwrap_or_else(|| panic!("{}{}", outcome.stdout, outcome.stderr)).to_owned();
        let words: Vec<_> = line.split_whitespace().collect();
        words[words.iter().position(|word| *word == "run,").unwrap() - 1].parse().unwrap()
    }

    #[track_caller]
    fn fails(&self, more: &[&str]) -> Outcome {
        let outcome = self.build(more);
        assert!(![0, 101, 70].contains(&outcome.status), "{}", outcome.stderr);
        outcome
    }

    /// What `ls -l` of the image says of a path, without what is in it.
    fn listed(&self, path: &str) -> String {
        self.sandbox.run(&["ls", "ws", path]).succeeds()
    }

    fn cat(&self, path: &str) -> String {
        self.sandbox.run(&["cat", "ws", path]).succeeds()
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::of(bytes).hex()
}

/// An archive that GNU tar makes of a tree, which `fill` makes.
fn archive(options: &[&str], fill: impl FnOnce(&Path)) -> Vec<u8> {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    fill(dir.path());
    let made = Command::new("tar")
        .args(["-c", "--sort=name"])
        .args(options)
        .arg("-C")
        .arg(dir.path())
        .arg(".")
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// One header of an archive.
fn member(kind: u8, name: &[u8], target: &[u8], size: u64) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    for field in [108, 116] {
        block[field..field + 7].copy_from_slice(b"0000000");
    }
    // In the form that GNU tar has for sizes beyond 8 GiB.
    block[124] = 0x80;
    block[128..136].copy_from_slice(&size.to_be_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.to_vec()
}

#[test]
fn the_digest_decides_and_the_address_does_not() {
    let lab = Lab::of(b"one\n", "");
    assert_eq!(lab.ran(&[]), 2);
    assert_eq!((lab.cat("/opt/f").as_str(), lab.server.asked().len()), ("one\n", 1));
    assert_eq!(lab.ran(&["--offline"]), 0);
    // Another address, and nobody there: nothing is asked.
    lab.edit("/f\", sha256", "/moved/f\", sha256");
    assert_eq!(lab.ran(&[]), 0);
    lab.edit("http://127.0.0.1", "http://127.0.0.2");
    assert_eq!(lab.ran(&["--offline"]), 0);
    // Another place or mode runs the step again, out of the store.
    lab.edit("to = \"/opt/f\"", "to = \"/opt/g\"");
    assert_eq!(lab.ran(&["--offline"]), 2);
    assert_eq!(lab.cat("/opt/g"), "one\n");
    lab.edit("to = \"/opt/g\"", "to = \"/opt/g\", mode = \"0750\", owner = 7, group = \"8\"");
    lab.edit("group = \"8\"", "group = 8");
    assert_eq!(lab.ran(&["--offline"]), 2);
    let line = lab.listed("/opt");
    assert!(line.lines().any(|line| line == "-rwxr-x---  7  8  4  2026-01-01T00:00:00Z  g"), "{line}");
    assert_eq!(lab.server.asked(), [""; 0]);
    // Another file.
    let lab = Lab::of(b"one\n", "");
    lab.ran(&[]);
    lab.server.file("f", b"two\n");
    lab.edit(&hex(b"one\n"), &hex(b"two\n"));
    assert_eq!(lab.ran(&[]), 2);
    assert_eq!(lab.cat("/opt/f"), "two\n");
    lab.edit(&hex(b"two\n"), &hex(b"one\n"));
    assert_eq!(lab.ran(&["--offline"]), 0);
}

#[test]
fn a_file_is_as_the_recipe_says() {
    let lab = Lab::of(b"x", "");
    lab.ran(&[]);
    let listed = lab.listed("/opt");
    assert!(listed.lines().any(|line| line == "-rw-r--r--  0  0  1  2026-01-01T00:00:00Z  f"), "{listed}");
    // Its time is the epoch, wherever and whenever it came.
    let lab = Lab::new(&format!(
        "[{{ url = \"[URL]/a\", sha256 = \"{}\", to = \"/opt/x/y/f\" }}, {{ url = \"[URL]/b\", sha256 = \"{}\", to = \
         \"/opt/x/y/f\" }}]",
        hex(b"a"),
        hex(b"b")
    ));
    lab.server.file("a", b"a");
    lab.server.file("b", b"b");
    lab.ran(&[]);
    assert_eq!(lab.cat("/opt/x/y/f"), "b", "later ones win");
}

#[test]
fn what_is_in_the_way() {
    let lab = Lab::of(b"x", "");
    lab.edit("to = \"/opt/f\"", "to = \"/bin/busybox/f\"");
    let outcome = lab.fails(&[]);
    assert!(outcome.stderr.contains("`/bin/busybox` is a file in the image"), "{}", outcome.stderr);
    lab.edit("to = \"/bin/busybox/f\"", "to = \"/bin\"");
    let outcome = lab.fails(&[]);
    assert!(outcome.stderr.contains("`/bin` is a directory in the image"), "{}", outcome.stderr);
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
}

#[test]
fn addresses_are_asked_in_turn() {
    let (bytes, wrong) = (vec![7; 50_000], vec![8; 50_000]);
    let urls = "[\"[URL]/gone\", \"[URL]/wrong\", \"[URL]/cut\", \"[URL]/right\"]";
    let lab = Lab::new(&format!("{{ url = {urls}, sha256 = \"{}\", to = \"/opt/f\" }}", hex(&bytes)));
    lab.server.file("wrong", &wrong);
    lab.server.answer("cut", Answer::Cut(bytes.clone(), 20_000));
    lab.server.file("right", &bytes);
    assert_eq!(lab.ran(&[]), 2);
    let asked = lab.server.asked();
    assert_eq!(asked[..4], ["/gone", "/wrong", "/cut", "/cut bytes=20000-"]);
    assert_eq!(asked.last().map(String::as_str), Some("/right"));
    let asked: Vec<_> = asked.iter().filter(|asked| asked.starts_with("/cut")).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[test]
fn a_wrong_digest_names_both_and_the_address() {
    let lab = Lab::of(b"expected\n", "");
    lab.server.file("f", b"something else\n");
    let outcome = lab.fails(&[]);
    let url = lab.server.url("f");
    let (found, expected) = (hex(b"something else\n"), hex(b"expected\n"));
    for part in [
        format!("cannot fetch `{url}`"),
        format!("its SHA-256 is {found}, and the recipe says {expected}"),
        "hint: the digest in the recipe is mistyped, or somebody has put another file there".to_owned(),
    ] {
        assert!(outcome.stderr.contains(&part), "{part}: {}", outcome.stderr);
    }
    assert_eq!(outcome.status, 3, "{}", outcome.stderr);
    // What came is not kept, under any name.
    let listed = fs::read_dir(lab.sandbox.path("../cache/packages")).unwrap().flatten();
    let kept = listed.flat_map(|dir| fs::read_dir(dir.path()).into_iter().flatten()).count();
    assert_eq!(kept, 0);
    lab.server.file("f", b"expected\n");
    assert_eq!(lab.ran(&[]), 2);
}

#[test]
fn offline_it_says_what_is_missing() {
    let lab = Lab::of(b"x", "");
    let outcome = lab.fails(&["--offline"]);
    let said = format!(
        "`{}` (SHA-256 {}) is not in the store, and this build is offline",
        lab.server.url("f"),
        hex(b"x")
    );
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    assert_eq!(lab.server.asked(), [""; 0]);
    // Planning and describing need nothing either.
    let plan = lab.sandbox.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    assert!(plan.contains("ws/got"), "{plan}");
    lab.sandbox.run(&["recipe", "check"]).succeeds();
    let shown = lab.sandbox.run(&["recipe", "show"]).succeeds();
    assert!(shown.contains(&format!("sha256 = \"{}\"", hex(b"x"))), "{shown}");
    assert_eq!(lab.server.asked(), [""; 0]);
}

#[test]
fn explanations_name_the_file() {
    let lab = Lab::of(b"one", "");
    lab.ran(&[]);
    lab.edit(&hex(b"one"), &hex(b"two"));
    let said = lab.sandbox.run(&["explain", "ws/got"]).succeeds();
    let expected = format!("fetch 0 to /opt/f sha256: {} -> {}", &hex(b"one")[..8], &hex(b"two")[..8]);
    assert!(said.contains(&expected), "{said}");
}

/// The store keeps the file as it keeps packages.
#[test]
fn collections_keep_the_file_and_damage_is_found() {
    let lab = Lab::of(b"precious\n", "");
    lab.ran(&[]);
    lab.sandbox.run(&["cache", "gc", "--budget", "1 KiB"]);
    lab.sandbox.run(&["clean"]).succeeds();
    lab.server.asked();
    assert_eq!(lab.sandbox.run(&["packages", "verify"]).status, 0);
    lab.edit("to = \"/opt/f\"", "to = \"/opt/g\"");
    crate::seeded::seed(&lab.sandbox.path(""), &lab.sandbox.path("../cache"));
    assert_eq!(lab.ran(&["--offline"]), 2);
    // Damaged in the store, it is fetched again, and never used.
    let digest = hex(b"precious\n");
    let blob = lab.sandbox.path("../cache/packages").join(&digest[..2]).join(&digest[2..]);
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&blob, "damaged!\n").unwrap();
    lab.edit("to = \"/opt/g\"", "to = \"/opt/h\"");
    assert_eq!(lab.ran(&[]), 2);
    assert_eq!((lab.cat("/opt/h").as_str(), lab.server.asked()), ("precious\n", vec!["/f".to_owned()]));
    fs::write(&blob, "damaged!\n").unwrap_or_else(|_| {
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&blob, "damaged!\n").unwrap();
    });
    lab.edit("to = \"/opt/h\"", "to = \"/opt/i\"");
    let outcome = lab.fails(&["--offline"]);
    assert!(outcome.stderr.contains("is not in the store"), "{}", outcome.stderr);
}

fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("tool-1.0/bin")).unwrap();
    fs::create_dir_all(dir.join("tool-1.0/lib/deep")).unwrap();
    fs::write(dir.join("tool-1.0/bin/tool"), "#!/bin/sh\necho works\n").unwrap();
    fs::set_permissions(dir.join("tool-1.0/bin/tool"), fs::Permissions::from_mode(0o6755)).unwrap();
    std::os::unix::fs::symlink("../lib/deep", dir.join("tool-1.0/bin/link")).unwrap();
    fs::write(dir.join("tool-1.0/lib/deep/caf\u{e9}"), "x").unwrap();
    fs::hard_link(dir.join("tool-1.0/lib/deep/caf\u{e9}"), dir.join("tool-1.0/lib/same")).unwrap();
    let sparse = fs::File::create(dir.join("tool-1.0/lib/sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
}

#[test]
fn archives_are_unpacked() {
    let mut layers = Vec::new();
    for options in [&["--gzip"][..], &["--xz", "--format=pax"], &["--zstd", "--sparse"], &[]] {
        let lab = Lab::unpacking(&archive(options, fill), ", strip = 1");
        assert_eq!(lab.ran(&[]), 2);
        let listed = lab.listed("/opt/f/bin");
        assert!(
            listed.lines().any(|line| line == "-rwxr-xr-x  0  0  21  2026-01-01T00:00:00Z  tool"),
            "no set-user-ID: {listed}"
        );
        assert!(listed.contains("link -> ../lib/deep"), "{listed}");
        assert_eq!(lab.cat("/opt/f/lib/same"), "x");
        let digest = lab.sandbox.run(&["cache", "show", "ws/got", "--json"]).succeeds();
        let json: serde_json::Value = serde_json::from_str(&digest).unwrap();
        layers.push(json["tree"].clone());
    }
    // Times of members differ between the trees, which were made one after the other, but all of them are after the epoch.
    assert!(layers.iter().all(|layer| *layer == layers[0] && !layer.is_null()), "{layers:?}");
}

#[test]
fn hostile_archives_fail_the_stage_and_nothing_else() {
    let end = [0; 1024];
    let whole = |members: &[Vec<u8>]| [members.concat(), end.to_vec()].concat();
    let bomb = {
        // Its header says how large it is.
        let mut encoder = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let huge = [member(b'0', b"zeros", b"", 20 << 30), vec![0; 1 << 20]].concat();
        encoder.stdin.take().unwrap().write_all(&huge).unwrap();
        encoder.wait_with_output().unwrap().stdout
    };
    for (archive, expected) in [
        (
            whole(&[member(b'0', b"../../etc/passwd", b"", 0)]),
            "member `../../etc/passwd`: its name contains `..`",
        ),
        (whole(&[member(b'0', b"/etc/passwd", b"", 0)]), "its name is an absolute path"),
        (
            whole(&[member(b'2', b"out", b"/etc", 0), member(b'0', b"out/shadow", b"", 0)]),
            "member `out/shadow`: a symbolic link on the way to it leads out",
        ),
        (
            whole(&[member(b'1', b"stolen", b"../../etc/machine-id", 0)]),
            "it is a hard link to `../../etc/machine-id`, which the archive does not have",
        ),
        (whole(&[member(b'3', b"null", b"", 0)]), "it is a device node"),
        (bomb, "the archive becomes larger than 17179869184 bytes"),
        (b"PK\x03\x04zip".to_vec(), "it is a zip file, and not a tar archive"),
    ] {
        let lab = Lab::unpacking(&archive, "");
        let outcome = lab.fails(&[]);
        assert!(outcome.stderr.contains(expected), "{expected}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("what was fetched cannot be unpacked"), "{}", outcome.stderr);
        assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    }
}

/// A second build waits for the first one and has its result.
#[test]
fn two_builds_at_once_download_once() {
    let bytes = vec![5; 40_000];
    let lab = Lab::of(&bytes, "");
    lab.server.answer("f", Answer::Slow(bytes, Duration::from_millis(40)));
    let start = || {
        let mut command = lab.sandbox.command(&["build", "--target", "ws.rootfs.tar.zst"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, other) = (start(), start());
    for build in [one, other] {
        lab.sandbox.finish(build.wait_with_output().unwrap()).succeeds();
    }
    assert_eq!(lab.server.asked(), ["/f"]);
}

#[test]
fn a_killed_download_leaves_nothing_and_is_begun_again() {
    let bytes = vec![5; 200_000];
    let lab = Lab::of(&bytes, "");
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        lab.server.answer("f", Answer::Slow(bytes.clone(), Duration::from_millis(20)));
        let mut command = lab.sandbox.command(&["build", "--target", "ws.rootfs.tar.zst"]);
        let mut build = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        while lab.server.asked().is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(60), "nobody asks");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        kill(Pid::from_raw(build.id() as i32), signal).unwrap();
        let begin = Instant::now();
        let status = build.wait().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(3), "it ends at once");
        assert_eq!(status.code(), (signal == Signal::SIGINT).then_some(130));
        lab.fails(&["--offline"]);
    }
    lab.server.file("f", &bytes);
    assert_eq!(lab.ran(&[]), 2);
    let temporary = fs::read_dir(lab.sandbox.path("../cache/tmp")).map_or(0, Iterator::count);
    assert_eq!(temporary, 0, "what the killed build had is removed");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn who_has_to_have_signed_it() {
    let (maker, mallory) = (Signer::new("Maker"), Signer::new("Mallory"));
    let signed = ", signature = { url = \"[URL]/f.asc\", key = \"keys/maker.asc\" }";
    let bytes = b"signed\n";
    let lab = Lab { sandbox: Sandbox::empty(), server: FileServer::start() };
    fs::create_dir_all(lab.sandbox.path("keys")).unwrap();
    fs::write(lab.sandbox.path("keys/maker.asc"), maker.gpg(&["--armor", "--export"], b"")).unwrap();
    let signed = signed.replace("[URL]/", &lab.server.url(""));
    let fetch = format!(
        "{{ url = \"{}\", sha256 = \"{}\", to = \"/opt/f\"{signed} }}",
        lab.server.url("f"),
        hex(bytes)
    );
    let steps = format!("  {{ name = \"got\", fetch = {fetch} }},\n");
    crate::seeded::project(&lab.sandbox.path(""), &lab.sandbox.path("../cache"), &steps);
    lab.server.file("f", bytes);
    let check = |signature: Option<Vec<u8>>, expected: &str| {
        if let Some(signature) = signature {
            lab.server.file("f.asc", &signature);
        }
        let outcome = lab.fails(&[]);
        assert!(outcome.stderr.contains(expected), "{expected}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("cannot trust `http"), "{}", outcome.stderr);
    };
    check(None, "its signature is needed");
    check(
        Some(mallory.gpg(&["--armor", "--detach-sign"], bytes)),
        "no key in `keys/maker.asc` has signed it",
    );
    check(Some(maker.gpg(&["--armor", "--detach-sign"], b"another file")), "its signature is not good");
    check(Some(maker.sign(bytes)), "it is a signed message, and no signature of another file");
    lab.server.file("f.asc", &maker.gpg(&["--detach-sign"], bytes));
    assert_eq!(lab.ran(&[]), 2);
    // Remembered: nothing is asked when the step runs again.
    lab.server.asked();
    lab.edit("to = \"/opt/f\"", "to = \"/opt/g\"");
    assert_eq!(lab.ran(&["--offline"]), 2);
    // Where the signature is does not count; whose it has to be does.
    lab.edit("/f.asc\"", "/moved.asc\"");
    assert_eq!(lab.ran(&["--offline"]), 0);
    fs::write(lab.sandbox.path("keys/maker.asc"), mallory.binary_key()).unwrap();
    let outcome = lab.fails(&["--offline"]);
    assert!(outcome.stderr.contains("its signature is needed"), "{}", outcome.stderr);
    assert_eq!(lab.server.asked(), [""; 0]);
}

/// The steps of examples/veil that are off unless its recipe asks for them, over a busybox in place of its desktop.
#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn the_appliance_can_have_a_bundle() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/veil");
    let recipe = fs::read_to_string(example.join("ibuild.toml")).unwrap();
    assert!(!recipe.contains("include"), "it is off by default");
    let bundle = archive(&["--xz"], |dir| {
        fs::create_dir_all(dir.join("browser/Browser")).unwrap();
        fs::write(dir.join("browser/Browser/start-tor-browser"), "#!/bin/sh\n").unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.join("browser/Browser/start-tor-browser"), mode).unwrap();
    });
    let (sandbox, server) = (Sandbox::empty(), FileServer::start());
    server.file("bundle.tar.xz", &bundle);
    let optional = fs::read_to_string(example.join("bundle.toml")).unwrap();
    let optional =
        optional.replace("bundle-url = \"\"", &format!("bundle-url = \"{}\"", server.url("bundle.tar.xz")));
    let optional = optional.replace("bundle-sha256 = \"\"", &format!("bundle-sha256 = \"{}\"", hex(&bundle)));
    // The whole recipe is right with it.
    let whole = tempfile::tempdir_in("/var/tmp").unwrap();
    let copied = Command::new("cp").arg("-aT").args([&example, &whole.path().join("veil")]).status();
    assert!(copied.unwrap().success());
    let included = recipe.replace("schema = 1\n", "schema = 1\ninclude = [\"bundle.toml\"]\n");
    fs::write(whole.path().join("veil/ibuild.toml"), included).unwrap();
    fs::write(whole.path().join("veil/bundle.toml"), &optional).unwrap();
    let place = whole.path().join("veil").display().to_string();
    sandbox.run(&["-C", &place, "recipe", "check"]).succeeds();
    // And its steps do what they should.
    fs::create_dir(sandbox.path("files")).unwrap();
    let files = [example.join("files/bundle"), sandbox.path("files/bundle")];
    assert!(Command::new("cp").arg("-aT").args(files).status().unwrap().success());
    sandbox.write("bundle.toml", &optional);
    sandbox.write(
        "ibuild.toml",
        "schema = 1\ninclude = [\"bundle.toml\"]\n[project]\nname = \"seeded\"\nepoch = 1767225600\n[vars]\nfs-uuid = \
         \"26ada0c0-1165-4098-884d-aafd2220c2c6\"\nnetwork = \"Veil\"\n[archive.debian]\nsuites = [\"trixie\"]\ncomponents = \
         [\"main\"]\n[rootfs.workstation-desktop]\nsteps = [{ name = \"bootstrap\", bootstrap = { archive = \"debian\" } }, { \
         name = \"user\", run = \"echo user:x:1000:1000::/:/bin/sh > /etc/passwd; echo user:x:1000: > /etc/group\" }]\n[image.ws]\n\
         rootfs = \"workstation-bundle\"\nformats = [\"rootfs.tar.zst\"]\n",
    );
    crate::seeded::seed(&sandbox.path(""), &sandbox.path("../cache"));
    sandbox.run(&["build", "--target", "ws.rootfs.tar.zst"]).succeeds();
    let listed = sandbox.run(&["ls", "ws", "/opt/bundle/Browser"]).succeeds();
    assert!(
        listed.starts_with("-rwxr-xr-x  1000  1000  10  2026-01-01T00:00:00Z  start-tor-browser"),
        "{listed}"
    );
    let started = sandbox.run(&["cat", "ws", "/usr/local/bin/veil-bundle"]).succeeds();
    assert!(started.contains("exec /opt/bundle/Browser/start-tor-browser"), "{started}");
}

#[test]
fn a_failed_download_is_remembered_until_it_succeeds() {
    let lab = Lab::new(&format!("{{ url = \"[URL]/f\", sha256 = \"{}\", to = \"/opt/f\" }}", hex(b"later")));
    lab.build(&[]).fails_with(3, "cannot fetch");
    let failed = |said: &str| said.contains("failed at") && said.contains("cannot fetch");
    let explained = lab.sandbox.run(&["explain", "got"]).succeeds();
    assert!(failed(&explained), "{explained}");
    let log = lab.sandbox.run(&["log", "got"]).succeeds();
    assert!(log.starts_with("nothing ran: cannot fetch"), "{log}");
    lab.sandbox.run(&["shell", "--failed", "got"]).fails_with(3, "is not kept: cannot fetch");
    lab.sandbox.run(&["cat", "got", "/opt/f"]).fails_with(2, "`ibuild log ws/got` says why");
    lab.server.file("f", b"later");
    assert_eq!(lab.ran(&[]), 2);
    let explained = lab.sandbox.run(&["explain", "got"]).succeeds();
    assert!(!failed(&explained), "{explained}");
}
