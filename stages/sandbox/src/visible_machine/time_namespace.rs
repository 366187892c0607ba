//! The time since boot: a time namespace, in which monotonic clocks begin where they are told to. `/proc/uptime`, the boot time
//! in `/proc/stat` and the start times of processes follow. The clock of the day has no namespace.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::mounts::{SetupResult, failed};

const OFFSETS: &str = "/proc/self/timens_offsets";
const NANOS: i128 = 1_000_000_000;

/// Lets the children of this process, which has one thread, find that the machine was started `uptime` ago.
pub(crate) fn enter(uptime: Duration) -> SetupResult {
    // SAFETY: only `FILES` can make this unsafe, and it is not among the flags.
    unsafe { unshare_unsafe(UnshareFlags::NEWTIME) }.map_err(failed("make a time namespace"))?;
    let act = "set the time since boot";
    let outer = fs::read_to_string(OFFSETS).map_err(failed(act))?;
    let boot_time = offset(&outer, "boottime", shown(libc::CLOCK_BOOTTIME), uptime);
    let monotonic = offset(&outer, "monotonic", shown(libc::CLOCK_MONOTONIC), uptime);
    let lines = boot_time.zip(monotonic).ok_or_else(|| format!("cannot {act}: {OFFSETS} says {outer}"))?;
    let lines = format!("{}{}", lines.0, lines.1);
    // The kernel takes all lines in one call only.
    let mut file = File::options().write(true).open(OFFSETS).map_err(failed(act))?;
    file.write_all(lines.as_bytes()).map_err(failed(act))
}

/// Nanoseconds on a clock, as this process sees it.
fn shown(clock: libc::clockid_t) -> i128 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call, which no clock of these refuses.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    i128::from(now.tv_sec) * NANOS + i128::from(now.tv_nsec)
}

/// A line for a clock of which this process sees `shown`, and which is to show `now`. Offsets count from the clock of the
/// machine, and what this process sees has the offset of its own namespace in it.
fn offset(outer: &str, name: &str, shown: i128, now: Duration) -> Option<String> {
    let offset = i128::try_from(now.as_nanos()).ok()? - (shown - outer_offset(outer, name)?);
    Some(format!("{name} {} {}\n", offset.div_euclid(NANOS), offset.rem_euclid(NANOS)))
}

/// What the namespace of this process has: lines of a clock's name, seconds and nanoseconds.
fn outer_offset(outer: &str, name: &str) -> Option<i128> {
    let line = outer.lines().find_map(|line| line.strip_prefix(name))?;
    let mut numbers = line.split_whitespace().map(str::parse::<i128>);
    Some(numbers.next()?.ok()? * NANOS + numbers.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_from_the_clock_of_the_machine() {
        let outer = "monotonic           0         0\nboottime        -10 500000000\n";
        assert_eq!(outer_offset(outer, "monotonic"), Some(0));
        assert_eq!(outer_offset(outer, "boottime"), Some(-9_500_000_000));
        assert_eq!(outer_offset(outer, "realtime"), None);
        let hour = Duration::from_secs(3600);
        let line = |name, shown| offset(outer, name, shown, hour).unwrap();
        assert_eq!(line("monotonic", 100 * NANOS), "monotonic 3500 0\n");
        // The machine's own clock is at 109.5 s.
        assert_eq!(line("boottime", 100 * NANOS), "boottime 3490 500000000\n");
        assert_eq!(line("boottime", 4000 * NANOS), "boottime -410 500000000\n");
    }
}
