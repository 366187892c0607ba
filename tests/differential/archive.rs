//! Two tiny signed archives, from which a bootstrap takes a tenth of a second: a busybox with a dpkg, an apt-get and a
//! grub-mkimage that leave behind what they were asked.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use ibuild::cache::{Digest, Sha256};

use crate::elsewhere::Tarballs;
use crate::vendor::{Package, Vendor};

const BUSYBOX: &str = "/bin/busybox";

/// A shell with what it needs, and where that goes.
const SHELL: [(&str, &str); 3] = [
    ("/bin/dash", "usr/bin/sh"),
    ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
    ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
];

/// The suites of both archives.
pub const SUITES: [&str; 2] = ["mini", "mini-updates"];
/// Where the first archive is found, too.
const SECOND_ADDRESS: &str = "again";

/// Both, with the server that has them.
pub struct Archives {
    vendor: Vendor,
    tarballs: Tarballs,
}

impl Archives {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "stages need root");
        assert!(Path::new(BUSYBOX).exists(), "install `busybox-static`");
        let vendor = Vendor::new();
        let archives = Self { tarballs: Tarballs::on(&vendor), vendor };
        archives.publish("a");
        archives.publish("b");
        symlink("a", archives.vendor.file(SECOND_ADDRESS)).unwrap();
        archives
    }

    /// An address of an archive: the only one of `b`, one of two of `a`.
    pub fn url(&self, path: &str) -> String {
        self.vendor.url(path)
    }

    /// All addresses that there are, each with the archive's name in recipes.
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        [("a", "a"), ("a", SECOND_ADDRESS), ("b", "b")].map(|(name, path)| (name, self.url(path))).into()
    }

    /// What can be fetched besides packages.
    pub fn tarballs(&self) -> &Tarballs {
        &self.tarballs
    }

    pub fn armoured_key(&self) -> String {
        String::from_utf8(self.vendor.armoured_key()).unwrap()
    }

    pub fn binary_key(&self) -> Vec<u8> {
        self.vendor.binary_key()
    }

    /// A lock that knows all suites at all addresses, and Debian's, which are never asked for anything.
    pub fn lock(&self) -> String {
        const DATE: &str = "2026-09-14T07:55:41Z";
        let mut lines = vec!["format 1".to_owned()];
        for (name, url) in self.addresses() {
            for suite in SUITES {
                let root =
                    fs::read(self.vendor.file(name).join("dists").join(suite).join("InRelease")).unwrap();
                let (digest, size) = (sha256(&root), root.len());
                lines.push(format!("release {name} {url} {suite} sha256:{digest} {size} {DATE}"));
            }
        }
        for (number, suite) in ["trixie", "trixie-updates", "trixie-backports"].iter().enumerate() {
            let digest = (number + 1).to_string().repeat(64);
            lines.push(format!("release debian main {suite} sha256:{digest} 10 {DATE}"));
        }
        for (digit, suite) in [(4, "trixie-security"), (5, "trixie-embargoed")] {
            let digest = digit.to_string().repeat(64);
            lines.push(format!("release debian security {suite} sha256:{digest} 10 {DATE}"));
        }
        lines.join("\n") + "\n"
    }

    fn publish(&self, archive: &str) {
        let package = |name| Package { name, version: "1", architecture: "amd64", fields: "", postinst: "" };
        let of = |name: &str| format!("pool/{name}.deb");
        let main = self.base(archive)
            + &self.vendor.package(archive, &of("extra-one"), &package("extra-one"))
            + &self.vendor.package(archive, &of("extra-two"), &package("extra-two"));
        let side = self.vendor.package(archive, &of("side"), &package("side"));
        let indices: Vec<(String, &str)> = ["amd64", "i386", "arm64"]
            .into_iter()
            .flat_map(|it| {
                let text = |text| if it == "amd64" { text } else { "" };
                [
                    (format!("main/binary-{it}/Packages"), text(main.as_str())),
                    (format!("side/binary-{it}/Packages"), text(side.as_str())),
                ]
            })
            .collect();
        let indices: Vec<_> = indices.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        for suite in SUITES {
            let fields = format!(
                "Suite: {suite}\nCodename: {suite}\nArchitectures: amd64 arm64 i386\nComponents: main side\n"
            );
            self.vendor.publish(&format!("{archive}/dists/{suite}"), 14, &fields, &indices);
        }
    }

    /// The package that a root file system starts from, and what an index says of it.
    fn base(&self, archive: &str) -> String {
        const CONTROL: &str = "Package: apt\nVersion: 1\nArchitecture: amd64\nMaintainer: Vendor <v@example.org>\n\
             Essential: yes\nPriority: required\n";
        let tree = tempfile::tempdir_in("/var/tmp").unwrap();
        make_root(tree.path(), archive);
        fs::create_dir(tree.path().join("DEBIAN")).unwrap();
        fs::write(tree.path().join("DEBIAN/control"), format!("{CONTROL}Description: a test\n")).unwrap();
        let path = "pool/apt.deb";
        let deb = self.vendor.file(archive).join(path);
        fs::create_dir_all(deb.parent().unwrap()).unwrap();
        let made = Command::new("dpkg-deb")
            .args(["-Znone", "--build", "--root-owner-group"])
            .args([tree.path(), &deb])
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("dpkg-deb is installed").success());
        let bytes = fs::read(&deb).unwrap();
        format!("{CONTROL}Filename: {path}\nSize: {}\nSHA256: {}\n\n", bytes.len(), sha256(&bytes))
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = <Sha256 as Digest>::Hasher::default();
    Sha256::update(&mut hasher, bytes);
    Sha256::finish(hasher).hex()
}

/// Keeps the architectures that were added, in their order, and the environment of the configuration.
const DPKG: &str = "#!/bin/sh
mkdir -p /var/lib/dpkg
if [ \"$1\" = --add-architecture ]; then
  echo \"$2\" >> /var/lib/dpkg/arch
elif [ \"$1\" = --force-depends ]; then
  env | sort > /var/lib/dpkg/env
fi
";

/// Keeps what it was asked to do, its environment, and the sums of what the archives that it is told of give for it.
const APT_GET: &str = "#!/bin/sh
while [ $# -gt 0 ] && [ \"$1\" != -- ]; do
  case $1 in APT::Install-Recommends=*) echo \"$1\" >> /var/lib/apt-asked ;; esac
  shift
done
[ $# -gt 1 ] || exit 0
shift
{ echo \"$@\" && env | sort && cat /etc/apt/sources.list.d/*; } >> /var/lib/apt-asked
for url in $(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/* | sort -u); do
  for name in \"$@\"; do
    echo \"$url $name $(wget -q -O - \"$url/pool/$name.deb\" | sha256sum)\" >> /var/lib/apt-asked
  done
done
";

/// GRUB's images are what they are to be made of.
const GRUB: &str = "#!/bin/sh -e
while [ $# -gt 0 ]; do
  case $1 in
  -O) format=$2 && shift ;;
  -m) memdisk=$2 && shift ;;
  -o) out=$2 && shift ;;
  *) modules=\"$modules $1\" ;;
  esac
  shift
done
{ echo \"$format $modules\" && cat \"$memdisk\"; } > \"$out\"
";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbob:x:1234:1234::/:/bin/sh\n";

fn make_root(root: &Path, mark: &str) {
    let dirs = ["usr/bin", "usr/sbin", "usr/lib/grub/i386-pc", "etc", "srv", "opt", "var/lib", "root"];
    dirs.iter().for_each(|dir| fs::create_dir_all(root.join(dir)).unwrap());
    let bin = root.join("usr/bin");
    fs::copy(BUSYBOX, bin.join("busybox")).unwrap();
    // The shell of busybox has a dpkg in it, which it would run instead of the one here.
    for (from, to) in SHELL {
        let to = root.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    let programs = [("dpkg", DPKG), ("apt-get", APT_GET), ("grub-mkimage", GRUB)];
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
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/attributes.c");
    let made =
        Command::new("gcc").args(["-static", "-O1", "-o"]).arg(bin.join("attributes")).arg(source).status();
    assert!(made.expect("install `gcc`").success());
    let boot_sector = [[0; 510].as_slice(), &[0x55, 0xaa]].concat();
    fs::write(root.join("usr/lib/grub/i386-pc/boot.img"), boot_sector).unwrap();
    for (name, text) in [
        ("passwd", PASSWD),
        ("group", "root:x:0:\nbob:x:1234:\n"),
        // A machine that has none would be given one to choose.
        ("machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("mark", mark),
    ] {
        fs::write(root.join("etc").join(name), text).unwrap();
    }
}
