//! The projects that `ibuild init` starts from: examples/, as they are.

/// A file of a template.
pub struct File {
    pub path: &'static str,
    pub mode: u32,
    pub bytes: &'static [u8],
}

/// A project to start from.
pub struct Template {
    pub name: &'static str,
    /// The UUID of its file system, wherever that stands in its files.
    pub uuid: &'static str,
    /// What one does next, and what for.
    pub next: &'static [(&'static str, &'static str)],
    pub files: &'static [File],
}

macro_rules! file {
    ($mode:literal, $template:literal, $path:literal) => {
        File {
            path: $path,
            mode: $mode,
            bytes: include_bytes!(concat!("../examples/", $template, "/", $path)),
        }
    };
}

/// The first one is that of who names none.
pub static TEMPLATES: [Template; 4] = [
    Template {
        name: "hello",
        uuid: "5f2b8f4e-3c57-4d0e-9a53-7c1f0a6f1d21",
        next: &[("ibuild build", "the image, in out/; its user is `user`, the password `changeme`")],
        files: &[
            file!(0o644, "hello", "ibuild.toml"),
            file!(0o644, "hello", "files/etc/fstab"),
            file!(0o644, "hello", "files/etc/systemd/network/80-dhcp.network"),
            file!(0o644, "hello", "files/etc/systemd/system.conf.d/50-slow.conf"),
            file!(0o755, "hello", "files/usr/local/bin/greet"),
            file!(0o755, "hello", "scripts/10-hostname"),
            file!(0o755, "hello", "scripts/20-locale"),
            file!(0o755, "hello", "scripts/30-user"),
            file!(0o755, "hello", "scripts/40-services"),
        ],
    },
    Template {
        name: "server",
        uuid: "7d0c3a52-9a0e-4c8e-8f1b-2f6f1c0b5e11",
        next: &[
            ("cp ~/.ssh/id_ed25519.pub authorized_keys", "who may come in"),
            ("ibuild build", "the image, in out/; its user is `admin`, who has no password"),
        ],
        files: &[
            file!(0o644, "server", "ibuild.toml"),
            file!(0o644, "server", "authorized_keys"),
            file!(0o644, "server", "files/etc/fstab"),
            file!(0o644, "server", "files/etc/ssh/sshd_config.d/10-keys.conf"),
            file!(0o644, "server", "files/etc/sudoers.d/admin"),
            file!(0o644, "server", "files/etc/systemd/network/80-dhcp.network"),
            file!(0o644, "server", "files/etc/systemd/system.conf.d/50-slow.conf"),
            file!(0o644, "server", "files/etc/systemd/system/ssh-host-keys.service"),
            file!(0o755, "server", "scripts/10_hostname"),
            file!(0o755, "server", "scripts/20_user"),
            file!(0o755, "server", "scripts/30_services"),
        ],
    },
    Template {
        name: "pair",
        uuid: "3b8f0e6c-5d41-4f0b-9a77-6c2e9d1f4a22",
        next: &[
            (
                "ibuild build",
                "gateway, workstation, and both in one file, in out/; `user` has the password `changeme`",
            ),
            ("ibuild test", "whether the workstation reaches the world through the gateway"),
        ],
        files: &[
            file!(0o644, "pair", "ibuild.toml"),
            file!(0o644, "pair", "files/gateway/etc/systemd/network/10-outside.network"),
            file!(0o644, "pair", "files/gateway/etc/systemd/network/20-inside.network"),
            file!(0o644, "pair", "files/shared/etc/fstab"),
            file!(0o644, "pair", "files/shared/etc/systemd/system.conf.d/50-slow.conf"),
            file!(0o644, "pair", "files/workstation/etc/systemd/network/10-inside.network"),
            file!(0o755, "pair", "scripts/gateway/30_greeting"),
            file!(0o755, "pair", "scripts/shared/10_hostname"),
            file!(0o755, "pair", "scripts/shared/20_user"),
            file!(0o755, "pair", "scripts/shared/30_greeting"),
            file!(0o755, "pair", "scripts/shared/40_services"),
            file!(0o755, "pair", "scripts/workstation/50_hint"),
        ],
    },
    Template {
        name: "from-shell",
        uuid: "c4e1a7b9-1d6f-4b32-8c55-0a9d7e3f6b33",
        next: &[
            ("less ibuild.toml", "where your scripts, lists and files go"),
            ("ibuild build", "the image, in out/; its user is `user`, the password `changeme`"),
        ],
        files: &[
            file!(0o644, "from-shell", "ibuild.toml"),
            file!(0o644, "from-shell", "files/shared/etc/fstab"),
            file!(0o644, "from-shell", "files/shared/etc/systemd/network/80-dhcp.network"),
            file!(0o644, "from-shell", "files/shared/etc/systemd/system.conf.d/50-slow.conf"),
            file!(0o644, "from-shell", "packages/base"),
            file!(0o755, "from-shell", "scripts/machine/30_greeting"),
            file!(0o755, "from-shell", "scripts/shared/10_hostname"),
            file!(0o755, "from-shell", "scripts/shared/20_user"),
            file!(0o755, "from-shell", "scripts/shared/40_services"),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// What an example has besides: what a build of it leaves there.
    const NOT_OF_IT: [&str; 3] = ["ibuild.lock", "out", ".gitignore"];

    #[test]
    fn a_template_is_its_example() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        for template in &TEMPLATES {
            let dir = root.join(template.name);
            let mut open: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            open.retain(|path| !NOT_OF_IT.iter().any(|name| path.ends_with(name)));
            let mut found = BTreeSet::new();
            while let Some(next) = open.pop() {
                if next.is_dir() {
                    open.extend(fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()));
                    continue;
                }
                let is_executable = fs::metadata(&next).unwrap().permissions().mode() & 0o100 != 0;
                let path = next.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
                found.insert((path, if is_executable { 0o755 } else { 0o644 }));
            }
            let known: BTreeSet<_> =
                template.files.iter().map(|file| (file.path.to_owned(), file.mode)).collect();
            assert_eq!(known, found, "{}", template.name);
        }
    }
}
