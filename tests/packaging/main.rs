//! The Debian package of ibuild: its bytes, what lintian says of it, and in the night that it builds hello in clean roots of
//! Debian 12 and 13, made by ibuild: the same image on both, with other kernel strings and fewer processors.

#![expect(clippy::disallowed_methods, reason = "CI says by its environment that it is night")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const IBUILD: &str = env!("CARGO_BIN_EXE_ibuild");

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The package, made of the program that is tested.
fn package(into: &Path) -> PathBuf {
    let mut deb = Command::new("bash");
    deb.arg(sources().join("packaging/deb")).arg(into).env("IBUILD", IBUILD);
    // Whatever the commit is: the times of both are to be the same.
    deb.env("SOURCE_DATE_EPOCH", "1767225600");
    succeeds(&mut deb);
    let mut found = fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|it| it == "deb")).expect("a package")
}

#[test]
fn the_package_is_clean_and_always_the_same() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (package(one.path()), package(two.path()));
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    let files = succeeds(Command::new("dpkg-deb").arg("--contents").arg(&one));
    for path in [
        "./usr/bin/ibuild",
        "./usr/share/man/man1/ibuild-build.1.gz",
        "./usr/share/bash-completion/completions/ibuild",
        "./usr/share/zsh/vendor-completions/_ibuild",
        "./usr/share/fish/vendor_completions.d/ibuild.fish",
        "./usr/lib/systemd/system/ibuild-proxy.service",
        "./usr/share/doc/ibuild/copyright",
    ] {
        assert!(files.lines().any(|line| line.ends_with(path)), "{path}: {files}");
    }
    let said =
        succeeds(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(&one));
    assert_eq!(said, "");
}

/// A project whose only image is a clean Debian with what the package needs.
fn clean_root(dir: &Path, suite: &str) -> PathBuf {
    let recipe = format!(
        "schema = 1\n[project]\nname = \"clean\"\nepoch = 1767225600\n[archive.debian]\nsuites = [\"{suite}\"]\n\
         [rootfs.clean]\nsteps = [\n  {{ name = \"bootstrap\", bootstrap = {{ archive = \"debian\" }} }},\n  {{ name = \"needs\", \
         packages = [\"gpgv\", \"debian-archive-keyring\", \"ca-certificates\", \"libstdc++6\", \"util-linux\"], recommends = false }},\n]\n\
         [image.clean]\nrootfs = \"clean\"\nformats = [\"rootfs.tar.zst\"]\n"
    );
    let project = dir.join(suite);
    fs::create_dir_all(&project).unwrap();
    fs::write(project.join("ibuild.toml"), recipe).unwrap();
    succeeds(
        Command::new(IBUILD)
            .args(["--cache-dir"])
            .arg(dir.join("store"))
            .arg("-C")
            .arg(&project)
            .arg("build"),
    );
    let root = dir.join(format!("{suite}-root"));
    fs::create_dir(&root).unwrap();
    let image = project.join("out/clean.rootfs.tar.zst");
    succeeds(Command::new("tar").args(["--zstd", "--numeric-owner", "-xf"]).arg(image).arg("-C").arg(&root));
    root
}

/// Runs a script as root of a clean root, on another kernel as far as programs can ask, on one processor.
fn inside(root: &Path, script: &str) -> String {
    // A sandbox needs a root that is a mount.
    let host = "mount --rbind $1 $1; mount -t proc proc $1/proc; mount --rbind /dev $1/dev; mount --rbind /sys $1/sys
        for file in resolv.conf hosts; do cp /etc/$file $1/etc/; done
        for file in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d; do [ ! -e $file ] || cp -rT $file $1$file; done
        exec taskset 1 setarch x86_64 --uname-2.6 chroot $1 /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh -euc \"$2\"";
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-euc",
        host,
        "sh",
    ]);
    succeeds(command.arg(root).arg(script))
}

#[test]
fn real_clean_roots_build_the_same_hello() {
    if std::env::var_os("IBUILD_NIGHTLY").is_none() {
        eprintln!("SKIPPED: the package in clean roots of two Debians: IBUILD_NIGHTLY is not set");
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let package = package(&dir.path().join("deb"));
    let lock = sources().join("examples/hello/ibuild.lock");
    let mut digests = Vec::new();
    for suite in ["trixie", "bookworm"] {
        let root = clean_root(dir.path(), suite);
        let before = inside(&root, "dpkg-query -W; find /usr /etc | sort");
        fs::copy(&package, root.join("ibuild.deb")).unwrap();
        inside(&root, "dpkg -i /ibuild.deb; cp -r /usr/share/doc/ibuild/examples/hello /hello");
        // Both are to be of one state of the archive.
        let shared = dir.path().join("ibuild.lock");
        let known = if shared.exists() { &shared } else { &lock };
        if known.exists() {
            fs::copy(known, root.join("hello/ibuild.lock")).unwrap();
        }
        inside(&root, "cd /hello; ibuild build --target hello.ova; ibuild man build > /dev/null");
        fs::copy(root.join("hello/ibuild.lock"), &shared).unwrap();
        let manifest = fs::read(root.join("hello/out/hello.ova.manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        digests.push(manifest["blake3"].as_str().unwrap().to_owned());
        let after = inside(
            &root,
            "dpkg -P ibuild; rm -r /ibuild.deb /hello /var/cache/ibuild; dpkg-query -W; find /usr /etc | sort",
        );
        let after = after.split_once("\n").map_or("", |_| after.as_str());
        let left: Vec<_> =
            after.lines().filter(|line| line.contains("ibuild") && !before.contains(*line)).collect();
        assert!(left.iter().all(|line| line.contains("Removing") || line.contains("Purging")), "{left:?}");
    }
    eprintln!("hello.ova: {digests:?}");
    assert_eq!(digests[0], digests[1]);
}
