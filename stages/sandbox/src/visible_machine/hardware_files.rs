//! Files of `/proc` that tell how many processors and how much memory there are.

use std::num::NonZeroU32;
use std::time::Duration;

use super::MemorySize;

/// What every processor of the kind can do: programs that want more ask the processor itself.
#[cfg(target_arch = "x86_64")]
const CPU: &str = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 15\nmodel name\t: ibuild virtual CPU\n\
    stepping\t: 1\ncpu MHz\t\t: 2000.000\ncache size\t: 4096 KB\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 10\n\
    wp\t\t: yes\nflags\t\t: fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 \
    syscall nx lm rep_good nopl cpuid pni cx16 lahf_lm\nbugs\t\t:\nbogomips\t: 4000.00\nclflush size\t: 64\n\
    cache_alignment\t: 64\naddress sizes\t: 40 bits physical, 48 bits virtual\npower management:\n";
#[cfg(target_arch = "aarch64")]
const CPU: &str = "BogoMIPS\t: 100.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x00\nCPU architecture: 8\n\
    CPU variant\t: 0x0\nCPU part\t: 0x000\nCPU revision\t: 0\n";

/// `/proc/cpuinfo`.
pub(super) fn cpuinfo(cpus: NonZeroU32) -> String {
    (0..cpus.get()).map(|number| format!("processor\t: {number}\n{CPU}\n")).collect()
}

/// `/proc/stat`: processors that have done nothing since the machine was started. `boot_time` is in seconds since 1970.
pub(super) fn stat(cpus: NonZeroU32, uptime: Duration, boot_time: i64) -> String {
    const TICKS: u64 = 100;
    let idle = uptime.as_secs().saturating_mul(TICKS);
    let all = idle.saturating_mul(cpus.get().into());
    let each: String = (0..cpus.get()).map(|cpu| format!("cpu{cpu} 0 0 0 {idle} 0 0 0 0 0 0\n")).collect();
    format!(
        "cpu  0 0 0 {all} 0 0 0 0 0 0\n{each}intr 0\nctxt 0\nbtime {boot_time}\nprocesses 1\nprocs_running 1\n\
         procs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
    )
}

/// `/proc/stat` of this machine, as if it had been started at another time.
pub(super) fn with_boot_time(stat: &str, boot_time: i64) -> String {
    let line = |line: &str| match line.starts_with("btime ") {
        true => format!("btime {boot_time}\n"),
        false => format!("{line}\n"),
    };
    stat.lines().map(line).collect()
}

/// `/proc/meminfo`.
pub(super) fn meminfo(memory: MemorySize) -> String {
    const KIB: u64 = 1024;
    let (total, free) = (memory.0 / KIB, memory.free() / KIB);
    let used = total - free;
    let sizes = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("CommitLimit", total / 2),
        ("Committed_AS", used),
    ];
    sizes.iter().map(|(name, size)| format!("{:<15} {size:>8} kB\n", format!("{name}:"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_processor_has_its_lines() {
        let cpus = NonZeroU32::new(3).unwrap();
        let info = cpuinfo(cpus);
        assert!(info.starts_with("processor\t: 0\n") && info.ends_with("\n\n"), "{info}");
        assert_eq!(info.matches("processor\t: ").count(), 3);
        let stat = stat(cpus, Duration::from_secs(10), 1234);
        assert!(stat.starts_with("cpu  0 0 0 3000 0"), "{stat}");
        assert!(stat.contains("\ncpu2 0 0 0 1000 ") && stat.contains("\nbtime 1234\n"), "{stat}");
    }

    #[test]
    fn only_the_boot_time_is_another() {
        assert_eq!(with_boot_time("cpu 1\nbtime 5\nctxt 3\n", 7), "cpu 1\nbtime 7\nctxt 3\n");
    }

    #[test]
    fn sizes_are_in_kibibytes() {
        let info = meminfo(MemorySize(4 << 30));
        assert!(info.starts_with("MemTotal:        4194304 kB\nMemFree:         3145728 kB\n"), "{info}");
        assert!(info.contains("\nInactive(anon):        0 kB\n"), "{info}");
    }
}
