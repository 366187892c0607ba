//! Files of `/proc` that tell of the machine, as texts.

use std::time::{SystemTime, UNIX_EPOCH};

use super::hardware_files::{cpuinfo, meminfo, stat, with_boot_time};
use super::{Clock, Kernel, VisibleMachine};

/// A UUID of version 4, as the kernel draws one at each boot; the first bytes are the word `ibuild`.
const BOOT_ID: &str = "69627569-6c64-4000-8000-000000000000";

/// Who compiled the kernel, and with what. Build scripts of kernel modules read the compiler's version here.
const COMPILED: &str =
    "(ibuild@localhost) (gcc (Debian 14.2.0-19) 14.2.0, GNU ld (GNU Binutils for Debian) 2.44)";

/// Paths below `/proc` and what is read there, on a machine that was started its `uptime` before now. `own_stat` is what
/// `/proc/stat` says of this machine.
pub(crate) fn proc_files(machine: &VisibleMachine, own_stat: Option<&str>) -> Vec<(&'static str, String)> {
    let Kernel { release, version } = &machine.kernel;
    let mut files = vec![
        ("version", format!("Linux version {release} {COMPILED} {version}\n")),
        ("sys/kernel/osrelease", format!("{release}\n")),
        ("sys/kernel/version", format!("{version}\n")),
        ("sys/kernel/random/boot_id", format!("{BOOT_ID}\n")),
    ];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let boot_time = machine.clock.start(now).saturating_sub_unsigned(machine.uptime.as_secs());
    if let Some(cpus) = machine.cpus {
        files.push(("cpuinfo", cpuinfo(cpus)));
        files.push(("stat", stat(cpus, machine.uptime, boot_time)));
    } else if machine.clock != Clock::Host {
        files.extend(own_stat.map(|own| ("stat", with_boot_time(own, boot_time))));
    }
    files.extend(machine.memory.map(|memory| ("meminfo", meminfo(memory))));
    files
}
