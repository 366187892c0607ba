//! `/proc`: processes of the sandbox only, without what tells of the host, and with what the machine that is shown says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Access, SetupResult, bind, failed, make_dir, mount_point};
use crate::spec::Spec;
use crate::visible_machine::VisibleMachine;
use crate::visible_machine::proc_files::proc_files;

/// Of `/proc`, what can only be read, because writing changes the host.
const READ_ONLY: &[&str] = &["sys", "sysrq-trigger"];

/// Of `/proc`, what tells of the host and not of the sandbox: read as empty. Some files of init name programs and
/// libraries of the host.
const HIDDEN_FILES: &[&str] = &[
    "1/maps",
    "1/numa_maps",
    "1/smaps",
    "1/smaps_rollup",
    "buddyinfo",
    "cmdline",
    "config.gz",
    "consoles",
    "diskstats",
    "dma",
    "interrupts",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "locks",
    "mdstat",
    "misc",
    "modules",
    "pagetypeinfo",
    "partitions",
    "sched_debug",
    "schedstat",
    "slabinfo",
    "softirqs",
    "swaps",
    "timer_list",
    "vmallocinfo",
    "zoneinfo",
];
const HIDDEN_DIRS: &[&str] = &[
    "1/map_files",
    "1/task",
    "acpi",
    "asound",
    "bus",
    "driver",
    "dynamic_debug",
    "fs",
    "irq",
    "pressure",
    "scsi",
    "tty/driver",
];

/// Processes of the sandbox only. The kernel's settings cannot be changed from inside, because they are the host's.
pub(super) fn mount_proc(root: &Path, spec: &Spec) -> SetupResult {
    let target = mount_point(root, "proc")?;
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &target, Some("proc"), flags, none).map_err(failed("mount `/proc`"))?;
    let there =
        |names: &'static [&str]| names.iter().map(|name| target.join(name)).filter(|path| path.exists());
    for path in there(READ_ONLY) {
        bind(&path, &path, Access::ReadOnly)?;
    }
    for path in there(HIDDEN_FILES) {
        bind(&root.join("dev/null"), &path, Access::ReadWrite)?;
    }
    for path in there(HIDDEN_DIRS) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
        let options = Some("mode=0555,size=0");
        mount(Some("tmpfs"), &path, Some("tmpfs"), flags, options)
            .map_err(failed(format!("hide `{}`", path.display())))?;
    }
    show_machine(&spec.machine, &target, &spec.place.run_dir.join("proc-files"))
}

/// Puts files over those that the kernel has, as far as it has them. They come from a file system of their own, which is at
/// `place` only meanwhile.
fn show_machine(machine: &VisibleMachine, proc: &Path, place: &Path) -> SetupResult {
    make_dir(place)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some("mode=0755"))
        .map_err(failed("make room for files of `/proc`"))?;
    let own_stat = fs::read_to_string(proc.join("stat")).ok();
    for (path, text) in proc_files(machine, own_stat.as_deref()) {
        let target = proc.join(path);
        if target.exists() {
            let source = place.join(path.replace('/', "."));
            fs::write(&source, text).map_err(failed(format!("write `{}`", source.display())))?;
            let mode = fs::Permissions::from_mode(0o444);
            fs::set_permissions(&source, mode).map_err(failed("set a mode"))?;
            bind(&source, &target, Access::ReadOnly)?;
        }
    }
    umount2(place, MntFlags::MNT_DETACH).map_err(failed("let go of files of `/proc`"))
}

/// Hides `/proc` from whoever looks paths up from here on. Links of processes lead to what they have open, and init has
/// directories of the host open while it copies.
pub(crate) fn cover_proc() -> SetupResult {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    mount(Some("tmpfs"), "/proc", Some("tmpfs"), flags, Some("mode=0555,size=0"))
        .map_err(failed("hide `/proc`"))
}
