//! Tools that are not apt, as clients of a stage's frozen archive.

use std::fs;
use std::process::{Command, Stdio};

const RECIPE: &str = r#"schema = 1
[project]
name = "clients"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
[rootfs.ws]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian" } },
  { name = "tools", packages = ["debootstrap", "mmdebstrap", "wget"], recommends = false },
  { name = "wget", run = "cd /opt && wget -q http://deb.debian.org/debian/dists/trixie/InRelease && ! wget http://example.org/", network = "packages" },
  { name = "source", run = "sed -i '/^Types:/s/$/ deb-src/' /etc/apt/sources.list.d/debian.sources && apt-get update && cd /opt && apt-get source --download-only hostname && ls hostname_*.dsc hostname_*.tar.xz" },
  { name = "mmdebstrap", run = "mmdebstrap --variant=extract --include=hello trixie /opt/a.tar 'deb http://deb.debian.org/debian trixie main'" },
  { name = "debootstrap", run = "debootstrap --variant=minbase trixie /opt/b && chroot /opt/b dpkg --audit" },
]
[image.ws]
rootfs = "ws"
formats = ["rootfs.tar.zst"]
"#;

/// All of them have the archive that the lock freezes, and nothing else.
#[test]
fn real_bootstrappers_work_in_a_stage() {
    assert!(nix::unistd::geteuid().is_root(), "stages need root");
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(dir.path().join("ibuild.toml"), RECIPE).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ibuild"))
        .args(["build", "--target", "ws.rootfs.tar.zst"])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("IBUILD_CACHE_DIR", dir.path().join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if said.contains("cannot be reached") {
        return eprintln!("SKIPPED: {said}");
    }
    assert!(output.status.success(), "{said}");
    let lock = fs::read_to_string(dir.path().join("ibuild.lock")).unwrap();
    let users = |package: &str| {
        let line = lock.lines().find(|line| line.starts_with(&format!("deb debian {package} ")));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(users("dpkg").as_deref(), Some("ws/bootstrap,ws/debootstrap"));
    assert_eq!(users("hello").as_deref(), Some("ws/mmdebstrap"));
}
