//! Where the kernel keeps control groups, and where this process is among them: a reading of `/proc/self/mountinfo` and
//! `/proc/self/cgroup` (cgroups(7)).

use std::path::{Path, PathBuf};

/// What a group can control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Processes,
}

impl Controller {
    /// The kernel's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
        }
    }
}

/// This process's own groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// In the unified hierarchy (version 2): where it is mounted, and this process's place in it.
    pub(super) unified: Option<Unified>,
    /// In hierarchies of version 1, by their controllers.
    legacy: Vec<(Vec<String>, PathBuf)>,
}

/// The unified hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unified {
    pub(super) mount: PathBuf,
    pub(super) own: PathBuf,
}

impl Hierarchies {
    /// Reads both texts.
    pub(super) fn read(mountinfo: &str, cgroup: &str) -> Self {
        let mut found = Self::default();
        for mount in mountinfo.lines().filter_map(Mount::read) {
            for line in cgroup.lines() {
                let mut fields = line.splitn(3, ':').skip(1);
                let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
                let Some(own) = mount.place(Path::new(path)) else { continue };
                let names: Vec<_> = names.split(',').map(str::to_owned).collect();
                match mount.kind {
                    "cgroup2" if names == [""] => {
                        found.unified = Some(Unified { mount: mount.target.clone(), own });
                    }
                    "cgroup" if names.iter().all(|name| mount.options.split(',').any(|o| o == name)) => {
                        found.legacy.push((names, own));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// This process's group in the version 1 hierarchy that has the controller.
    pub(super) fn legacy(&self, controller: Controller) -> Option<&Path> {
        let has = |(names, _): &&(Vec<String>, PathBuf)| names.iter().any(|name| name == controller.name());
        self.legacy.iter().find(has).map(|(_, own)| own.as_path())
    }
}

struct Mount<'a> {
    root: PathBuf,
    target: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /root /target options optional... - kind source options`.
    fn read(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        let (root, target) = (unescape(front.next()?), unescape(front.next()?));
        Some(Self { root, target, kind: back.next()?, options: back.nth(1)? })
    }

    /// Where a group is in the file system. A mount may show only a part of the groups.
    fn place(&self, group: &Path) -> Option<PathBuf> {
        group.strip_prefix(&self.root).ok().map(|rest| self.target.join(rest))
    }
}

/// Spaces and the like are written as `\040`.
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.extend(code.map(char::from));
        out.push_str(code.map_or(part, |_| &part[3..]));
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_systemd() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      31 23 0:27 / /tmp rw - tmpfs tmpfs rw\n";
        let found = Hierarchies::read(mounts, "0::/user.slice/user-1000.slice/session-1.scope\n");
        let unified = found.unified.clone().unwrap();
        assert_eq!(unified.mount, Path::new("/sys/fs/cgroup"));
        assert_eq!(unified.own, Path::new("/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope"));
        assert_eq!(found.legacy(Controller::Memory), None);
    }

    #[test]
    fn both_versions_and_a_part_of_the_groups() {
        let mounts = "40 1 0:30 / /c\\040g/cpu,memory rw - cgroup cgroup rw,cpu,memory\n\
                      41 1 0:31 /box /cg/pids rw - cgroup cgroup rw,pids\n\
                      42 1 0:32 / /cg/unified rw - cgroup2 none rw\n";
        let found = Hierarchies::read(mounts, "3:cpu,memory:/a\n2:pids:/box/b\n1:name=systemd:/\n0::/\n");
        assert_eq!(found.legacy(Controller::Memory), Some(Path::new("/c g/cpu,memory/a")));
        assert_eq!(found.legacy(Controller::Processes), Some(Path::new("/cg/pids/b")));
        assert_eq!(found.unified.unwrap().own, Path::new("/cg/unified/"));
    }
}
