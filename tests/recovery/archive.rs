//! A tiny signed archive: a base of busybox, with an apt that does what the real one does in the order of the index, and keeps
//! what an index says of a package, as the real one does in its `extended_states`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use ibuild::cache::{Digest, Sha256};

use crate::vendor::{Package, Vendor};

const BUSYBOX: &str = "/bin/busybox";

/// A shell with what it needs, and where that goes. That of busybox has a dpkg in it, which it would run instead of the one here.
const SHELL: [(&str, &str); 3] = [
    ("/bin/dash", "usr/bin/sh"),
    ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
    ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
];

const CONTROL: &str = "Package: apt\nVersion: 1\nArchitecture: amd64\nMaintainer: Vendor <v@example.org>\n\
     Essential: yes\nPriority: required\n";

pub struct Archive {
    pub vendor: Vendor,
    base: String,
}

impl Archive {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "stages need root");
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        let vendor = Vendor::new();
        let base = base(&vendor);
        Self { vendor, base }
    }

    /// Publishes the state of a day: packages with their sections, in the order of the index.
    pub fn publish(&self, day: u32, packages: &[(&str, &str)]) {
        let mut index = self.base.clone();
        for (name, section) in packages {
            let package = Package { name, version: "1", architecture: "amd64", fields: "", postinst: "" };
            let stanza = self.vendor.package("a", &format!("pool/{name}.deb"), &package);
            index += &stanza.replace("Filename: ", &format!("Section: {section}\nFilename: "));
        }
        let fields = "Suite: mini\nCodename: mini\nArchitectures: amd64\nComponents: main\n";
        self.vendor.publish("a/dists/mini", day, fields, &[("main/binary-amd64/Packages", index.as_str())]);
    }
}

/// The package that a root file system starts from, and what an index says of it.
fn base(vendor: &Vendor) -> String {
    let tree = tempfile::tempdir_in("/var/tmp").unwrap();
    make_root(tree.path());
    fs::create_dir(tree.path().join("DEBIAN")).unwrap();
    fs::write(tree.path().join("DEBIAN/control"), format!("{CONTROL}Description: a test\n")).unwrap();
    let deb = vendor.file("a").join("pool/apt.deb");
    fs::create_dir_all(deb.parent().unwrap()).unwrap();
    let made = Command::new("dpkg-deb")
        .args(["-Znone", "--build", "--root-owner-group"])
        .args([tree.path(), &deb])
        .env("SOURCE_DATE_EPOCH", "1767225600")
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("dpkg-deb is installed").success());
    let bytes = fs::read(&deb).unwrap();
    let mut hasher = <Sha256 as Digest>::Hasher::default();
    Sha256::update(&mut hasher, &bytes);
    let digest = Sha256::finish(hasher).hex();
    format!("{CONTROL}Filename: pool/apt.deb\nSize: {}\nSHA256: {digest}\n\n", bytes.len())
}

const APT_GET: &str = r#"#!/bin/sh -e
while [ $# -gt 0 ]; do
  case $1 in
  -o) case $2 in Dir::State::Lists=*) lists=${2#*=} ;; esac; shift ;;
  --simulate | --print-uris) only=$1 ;;
  check) exit 0 ;;
  update) verb=update ;;
  --) shift && break ;;
  esac
  shift
done
url=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/*)
if [ "$verb" = update ]; then
  wget -q -O /dev/null "$url/dists/mini/InRelease"
  exec wget -q -O "$lists/Packages" "$url/dists/mini/main/binary-amd64/Packages"
fi
mkdir -p /var/lib && touch /var/lib/installed
for name in "$@"; do
  grep -q "^$name " /var/lib/installed && echo "$name is already the newest version (1)." > /tmp/said
  if [ -e /tmp/said ]; then
    [ "$only" = --simulate ] || cat /tmp/said
    rm /tmp/said
  fi
done
sed -n 's/^Package: //p' "$lists/Packages" | while read -r package; do
  for name in "$@"; do
    if [ "$name" = "$package" ] && ! grep -q "^$name " /var/lib/installed; then
      stanza=$(awk -v RS= -v name="$name" '$2 == name' "$lists/Packages")
      field() { echo "$stanza" | sed -n "s/^$1: //p"; }
      case $only in
      --simulate) echo "Inst $name (1 Mini:mini [amd64])" ;;
      --print-uris) echo "'$url/$(field Filename)' $name.deb $(field Size) SHA256:$(field SHA256)" ;;
      *)
        wget -q -O /tmp/deb "$url/$(field Filename)"
        rm /tmp/deb
        echo "$name $(field Section)" >> /var/lib/installed
        ;;
      esac
    fi
  done
done
"#;

const APT_CACHE: &str = r#"#!/bin/sh -e
while [ "$1" != -- ]; do
  case $2 in Dir::State::Lists=*) lists=${2#*=} ;; esac
  shift
done
shift
for name in "$@"; do
  awk -v RS= -v ORS='\n\n' -v name="${name%=*}" '$2 == name' "$lists/Packages"
done
"#;

/// It has no hooks.
const APT_CONFIG: &str = "#!/bin/sh\necho 'APT '\n";

fn make_root(root: &Path) {
    let dirs = ["usr/bin", "usr/sbin", "usr/lib", "etc", "srv", "opt", "var/lib", "root"];
    dirs.iter().for_each(|dir| fs::create_dir_all(root.join(dir)).unwrap());
    let bin = root.join("usr/bin");
    fs::copy(BUSYBOX, bin.join("busybox")).unwrap();
    for (from, to) in SHELL {
        let to = root.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    let programs =
        [("dpkg", "#!/bin/sh\n"), ("apt-get", APT_GET), ("apt-cache", APT_CACHE), ("apt-config", APT_CONFIG)];
    for (name, text) in programs {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let applets = Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines() {
        if !bin.join(applet).exists() {
            symlink("busybox", bin.join(applet)).unwrap();
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    // A machine that has none would be given one to choose.
    fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
}
