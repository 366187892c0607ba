//! The machine that a stage sees: real sandboxes, and programs that ask for it in all ways that there are.

use std::num::NonZeroU32;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ibuild::stages::sandbox::{
    Clock, DiskSpace, HOST_NAME, MemorySize, ReaddirOrder, SandboxError, VisibleMachine,
};

use crate::lab::Lab;

/// A sandbox with `/bin/machine`, which is static.
fn with_program() -> Lab {
    let lab = Lab::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/machine.c");
    let program = lab.root.path().join("layers/base/bin/machine");
    let mut compiler = Command::new("gcc");
    let made = compiler.args(["-static", "-no-pie", "-pthread", "-o"]).arg(program).arg(source).status();
    assert!(made.expect("install `gcc`").success());
    lab
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn the_kernel_has_one_name_everywhere() {
    let mut lab = with_program();
    let kernel = VisibleMachine::canonical().kernel;
    let (release, version) = (kernel.release.as_str(), kernel.version.as_str());
    lab.script(
        "uname -r; uname -v; cat /proc/sys/kernel/osrelease /proc/sys/kernel/version; uname -sn; \
         cat /proc/version; machine uname; unshare -u sh -c 'hostname other; uname -n; uname -r'; \
         machine bad-uname; setpriv --reuid 7 uname -r 2>/dev/null || su tor -s /bin/sh -c 'uname -r'; unshare -U uname -r",
    );
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..4], [release, version, release, version]);
    assert_eq!(lines[4], format!("Linux {HOST_NAME}"));
    assert!(lines[5].starts_with(&format!("Linux version {release} (")) && lines[5].ends_with(version));
    let machine = std::env::consts::ARCH;
    assert_eq!(lines[6], format!("Linux|{HOST_NAME}|{release}|{version}|{machine}|(none)"));
    assert_eq!(lines[7..9], ["other", release], "the name of another namespace");
    assert_eq!(lines[9], "EFAULT");
    assert_eq!(lines[10..], [release, release], "{said}");
}

#[test]
fn real_programs_of_32_bits_see_the_same_kernel() {
    let mut lab = with_program();
    let kernel = VisibleMachine::canonical().kernel;
    lab.script(
        "machine i386-uname i386-olduname i386-oldolduname; linux32 uname -m || setarch i386 uname -m",
    );
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    if lines[0].starts_with("uname ") {
        println!("SKIPPED: this kernel runs no programs of i386");
        return;
    }
    let names = format!("Linux|{HOST_NAME}|{}|{}|x86_64", kernel.release, kernel.version);
    assert_eq!(lines[0], format!("{names}|(none)"));
    assert_eq!(lines[1], names);
    let short = |name: &str| name[..8].to_owned();
    let shorts = [HOST_NAME, &kernel.release, &kernel.version].map(short);
    assert_eq!(lines[2], format!("Linux|{}|x86_64", shorts.join("|")));
    assert_eq!(lines[3], "i686");
}

#[test]
fn the_machine_was_started_an_hour_ago() {
    let mut lab = with_program();
    lab.script("machine clocks; cut -d . -f 1 /proc/uptime; awk '$1 == \"btime\" { print $2 }' /proc/stat; cut -d ' ' -f 22 /proc/self/stat; cat /proc/sys/kernel/random/boot_id");
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    let uptime = |text: &str| (3600..3660).contains(&text.parse::<u64>().unwrap());
    let (monotonic, boot) = lines[0].split_once(' ').unwrap();
    assert!(uptime(monotonic) && uptime(boot) && uptime(lines[1]), "{said}");
    let since = now() - lines[2].parse::<u64>().unwrap();
    assert!((3600..3661).contains(&since), "started {since} s ago");
    let ticks: u64 = lines[3].parse().unwrap();
    assert!((360_000..366_000).contains(&ticks), "a process started at {ticks}");
    assert_eq!(lines[4], "69627569-6c64-4000-8000-000000000000");
}

#[test]
fn another_machine_can_be_shown() {
    let mut lab = with_program();
    lab.view.machine.kernel.release = "5.4.3-other".to_owned();
    lab.view.machine.kernel.version = "#2 of yesterday".to_owned();
    lab.view.machine.uptime = Duration::from_millis(10_500_000_500);
    lab.view.machine.host_name = "elsewhere".to_owned();
    lab.view.machine.umask = 0o077;
    lab.script("uname -nrv; cut -d ' ' -f 3 /proc/version; umask; hostname; cut -d . -f 1 /proc/uptime");
    let said = lab.output();
    assert!(
        said.starts_with("elsewhere 5.4.3-other #2 of yesterday\n5.4.3-other\n0077\nelsewhere\n105000"),
        "{said}"
    );
}

#[test]
fn the_number_of_processors_is_the_same_everywhere() {
    for (cpus, bytes) in [(1, 8), (3, 8), (70, 16)] {
        let mut lab = with_program();
        lab.view.machine.cpus = NonZeroU32::new(cpus);
        lab.script(
            "nproc; grep -c ^processor /proc/cpuinfo; grep -c ^cpu[0-9] /proc/stat; machine cpus; \
             awk '$1 == \"btime\" { print $2 }' /proc/stat; unshare -U nproc",
        );
        let said = lab.output();
        let lines: Vec<_> = said.lines().collect();
        let count = cpus.to_string();
        assert_eq!(lines[..3], [&count, &count, &count]);
        assert_eq!(lines[3], format!("{bytes} bytes, {count}"));
        let since = now() - lines[4].parse::<u64>().unwrap();
        assert!((3600..3661).contains(&since), "started {since} s ago");
        assert_eq!(lines[5], count);
    }
}

#[test]
fn the_size_of_memory_is_the_same_everywhere() {
    let mut lab = with_program();
    lab.view.machine.memory = Some(MemorySize(6 << 30));
    lab.script(
        "machine memory; free -m | awk 'NR == 2 { print $2, $4 }'; grep -E '^Mem' /proc/meminfo | tr -s ' '; \
         cut -d . -f 1 /proc/uptime; uptime | grep -c '1:0[0-9]'",
    );
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["4608 of 6144", "6144 4608"], "{said}");
    assert_eq!(lines[2..5], ["MemTotal: 6291456 kB", "MemFree: 4718592 kB", "MemAvailable: 4718592 kB"]);
    assert_eq!(lines[6], "1", "the time since boot is another one: {said}");
}

#[test]
fn real_programs_of_32_bits_see_the_same_hardware() {
    let mut lab = with_program();
    lab.view.machine.cpus = NonZeroU32::new(3);
    lab.view.machine.memory = Some(MemorySize(6 << 30));
    lab.script("machine i386-uname i386-cpus i386-memory");
    let said = lab.output();
    if said.starts_with("uname ") {
        println!("SKIPPED: this kernel runs no programs of i386");
        return;
    }
    assert!(said.ends_with("\n8 bytes, 3\n0 1572864 pages\n"), "{said}");
}

/// Blocks, free blocks twice, inodes, free inodes and an id, as every file system with room has them.
const SPACE: &str = "268435456 201326592 201326592 67108864 50331648 0";

#[test]
fn every_file_system_has_the_same_space() {
    let mut lab = with_program();
    lab.script(
        "machine space / space /bin/machine space /tmp space /dev/shm space /run/ibuild space /dev/null space /sys space /proc",
    );
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 24);
    for (number, same) in lines.chunks(3).enumerate() {
        assert!(same.iter().all(|line| *line == same[0]), "{said}");
        let fields: Vec<_> = same[0].split(' ').collect();
        let (kind, space) = (fields[0], fields[2..8].join(" "));
        let expected = if number < 6 { SPACE } else { "0 0 0 0 0 0" };
        assert_eq!(space, expected, "{said}");
        assert_eq!(
            kind,
            ["794c7630", "794c7630", "1021994", "1021994", "1021994", "1021994", "1021994", "9fa0"][number]
        );
        assert_eq!((fields[1], fields[9], fields[8]), ("4096", "4096", "255"), "{said}");
    }
    let flags = |line: usize| lines[line].rsplit(' ').next().unwrap();
    assert_eq!((flags(0), flags(6)), ("1020", "1026"), "relatime; nosuid and nodev in memory: {said}");
}

#[test]
fn the_space_of_another_machine_is_its_own() {
    let mut lab = with_program();
    lab.view.machine.disk = DiskSpace { size: 5 << 30, free: 2 << 30 };
    lab.script("df -k / /tmp | awk 'NR > 1 { print $2, $3, $4 }'; df -i / | awk 'NR > 1 { print $2, $4 }'; stat -f -c '%b %a %S' .");
    assert_eq!(
        lab.output(),
        "5242880 3145728 2097152\n5242880 3145728 2097152\n327680 131072\n1310720 524288 4096\n"
    );
}

/// What is written does not show, and a disk of its own in memory has no other size.
#[test]
fn space_is_told_wherever_a_program_is() {
    let mut lab = with_program();
    let say = "stat -f -c '%b %f %a %c %d'";
    lab.script(&format!(
        "dd if=/dev/zero of=/tmp/big bs=1M count=20 2>/dev/null; {say} /tmp; mkdir -p /jail/bin /m; cp /bin/busybox /bin/machine /jail/bin; \
         cd /bin; {say} busybox; {say} ../etc/passwd; mount -t tmpfs -o size=1M none /m; cd /m; {say} .; \
         chroot /jail /bin/busybox {say} /bin/machine; chroot /jail /bin/busybox {say} /etc 2>/dev/null || echo none; \
         unshare -m sh -c 'mount -t tmpfs none /jail; mkdir /jail/in; {} /jail/in'; unshare -U {say} /; \
         mkdir /gone; cd /gone; rmdir /gone; {say} .; {say} x 2>/dev/null || echo none; cd /; \
         ln -s jail /to; {say} /to/; ln -s loop /loop; {say} /loop 2>&1; {say} /dev/stdin < /etc/passwd > /dev/null",
        say.replace('\'', "\""),
    ));
    let said = lab.output();
    let space = SPACE.strip_suffix(" 0").unwrap();
    let lines: Vec<_> = said.lines().collect();
    let expected = [
        space,
        space,
        space,
        space,
        space,
        "none",
        space,
        space,
        space,
        "none",
        space,
        "stat: can't read file system information for '/loop': Too many levels of symbolic links",
    ];
    assert_eq!(lines, expected, "{said}");
}

#[test]
fn mistakes_about_space_are_those_of_the_kernel() {
    let mut lab = with_program();
    lab.script("machine bad-space");
    let codes = [
        libc::EFAULT,
        libc::EFAULT,
        libc::EBADF,
        libc::EBADF,
        libc::ENAMETOOLONG,
        libc::ENOENT,
        libc::ENOENT,
        libc::ENOTDIR,
        libc::ENOSYS,
    ];
    assert_eq!(lab.output(), codes.map(|code| format!("{code} ")).concat() + "\n");
}

#[test]
fn real_programs_of_32_bits_have_the_same_space() {
    let mut lab = with_program();
    lab.script("machine i386-uname i386-space / i386-space /proc");
    let said = lab.output();
    if said.starts_with("uname ") {
        println!("SKIPPED: this kernel runs no programs of i386");
        return;
    }
    let lines: Vec<_> = said.lines().skip(1).collect();
    let root = "0 794c7630 268435456 67108864 2d2d2d2d|";
    let proc = "0 9fa0 0 0 2d2d2d2d|";
    let wrong = format!("-{} -{} -{}", libc::EINVAL, libc::EBADF, libc::ENOSYS);
    assert_eq!(lines, [root.repeat(4) + &wrong, proc.repeat(4) + &wrong], "{said}");
}

/// Directories with files in an upper layer, on a disk and in memory, and one that is merged.
const DIRECTORIES: &str = "mkdir /one /tmp/two; for dir in /one /tmp/two /etc; do \
    for name in b lib-1.so lib-10.so lib-2.so B a zz .hidden; do echo > $dir/$name; done; done; rm /etc/group /etc/passwd; ";

fn list(order: ReaddirOrder, script: &str) -> String {
    let mut lab = with_program();
    lab.view.machine.readdir = order;
    lab.script(&format!("{DIRECTORIES}{script}"));
    lab.output()
}

#[test]
fn directories_are_listed_by_name() {
    let said = list(
        ReaddirOrder::Sorted,
        "machine list /one list /tmp/two list /etc old-list /one; cd /one; ls -f 2>/dev/null | tr '\\n' ' ' || find; echo; \
         machine list /proc/self/fdinfo | wc -w; ls /proc | grep -c ^self; machine again /one",
    );
    let names = ". .. .hidden B a b lib-1.so lib-10.so lib-2.so zz 0";
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], [names, names], "{said}");
    assert_eq!(lines[2], ". .. .hidden B a b lib-1.so lib-10.so lib-2.so machine-id zz 0");
    assert_eq!(lines[3], names);
    assert_eq!(lines[5..8], ["7", "1", "the same"], "{said}");
    assert_eq!(lines[8], "24 .. -1 22", "{said}");
}

#[test]
fn real_programs_of_32_bits_list_by_name_too() {
    let said = list(ReaddirOrder::Sorted, "machine i386-uname i386-list /one");
    if said.starts_with("uname ") {
        println!("SKIPPED: this kernel runs no programs of i386");
        return;
    }
    assert!(said.ends_with("\n. .. .hidden B a b lib-1.so lib-10.so lib-2.so zz 0\n"), "{said}");
}

#[test]
fn a_seed_is_an_order() {
    let script = "machine list /one list /tmp/two; cd /one; tar -c . 2>/dev/null | md5sum > /dev/null; \
        mkdir /many; cd /many; seq 500 | xargs touch; machine list /many | tr ' ' '\\n' | sort -u | wc -l; \
        cd /; rm -r /many; test ! -e /many";
    let (one, two) = (list(ReaddirOrder::Shuffled(1), script), list(ReaddirOrder::Shuffled(2), script));
    let lines: Vec<_> = one.lines().collect();
    assert_eq!(lines[0], lines[1], "the order depends on the file system");
    assert_eq!(lines[2..], ["503"], "500 files, two directories, and a result: {one}");
    assert_eq!(one, list(ReaddirOrder::Shuffled(1), script));
    assert_ne!(one, two);
    let names = |said: &str| {
        let mut names: Vec<_> = said.lines().next().unwrap().split(' ').map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names(&one), names(&two));
}

/// 400 days and some hours.
const SHIFT: i64 = 400 * 86400 + 6 * 3600 + 780;

#[track_caller]
fn assert_near(text: &str, expected: i64) {
    let found: i64 = text.trim().parse().unwrap_or_else(|_| panic!("`{text}` is no time"));
    assert!((expected - 30..=expected + 1).contains(&found), "{found} is not {expected}");
}

#[test]
fn every_clock_of_the_day_is_shifted() {
    for shift in [SHIFT, -SHIFT] {
        let mut lab = with_program();
        lab.view.machine.clock = Clock::Shifted(shift);
        lab.script(
            "date +%s; machine clock; awk '$1 == \"btime\" { print $2 }' /proc/stat; touch /file; stat -c %Y /file; \
             unshare -U date +%s; machine clocks; cut -d . -f 1 /proc/uptime",
        );
        let said = lab.output();
        let (lines, shown) = (said.lines().collect::<Vec<_>>(), now() as i64 + shift);
        assert_near(lines[0], shown);
        assert_eq!(lines[1].split(' ').count(), 6);
        lines[1].split(' ').for_each(|time| assert_near(time, shown));
        assert_eq!(lines[2], "refused");
        assert_near(lines[3], shown - 3600);
        assert_near(lines[4], now() as i64);
        assert_near(lines[5], shown);
        lines[6].split(' ').for_each(|time| assert_near(time, 3600 + 29));
        assert_near(lines[7], 3600 + 29);
    }
}

#[test]
fn what_waits_for_a_time_of_the_day_waits_as_long() {
    for shift in [SHIFT, -SHIFT] {
        let mut lab = with_program();
        lab.view.machine.clock = Clock::Shifted(shift);
        lab.script("machine deadlines");
        let said = lab.output();
        let times: Vec<u64> = said.split_whitespace().map(|time| time.parse().unwrap()).collect();
        assert_eq!(times.len(), 4);
        assert!(times.iter().all(|time| (290..5000).contains(time)), "{said}");
    }
}

#[test]
fn a_clock_can_start_at_a_time() {
    const TIME: i64 = 1_767_225_600;
    let mut lab = with_program();
    lab.view.machine.clock = Clock::StartsAt(TIME);
    lab.view.machine.cpus = NonZeroU32::new(2);
    lab.script("awk '$1 == \"btime\" { print $2 }' /proc/stat; date +%s");
    let said = lab.output();
    let (boot, time) = said.trim().split_once('\n').unwrap();
    assert_eq!(boot, (TIME - 3600).to_string());
    assert_near(time, TIME + 29);
}

#[test]
fn real_programs_of_32_bits_have_the_same_clock() {
    let mut lab = with_program();
    lab.view.machine.clock = Clock::Shifted(-SHIFT);
    lab.script("machine i386-uname i386-clock");
    let said = lab.output();
    if said.starts_with("uname ") {
        println!("SKIPPED: this kernel runs no programs of i386");
        return;
    }
    let times: Vec<_> = said.lines().nth(1).unwrap().split(' ').collect();
    assert_eq!((times.len(), times[0]), (5, "0"), "{said}");
    times[1..].iter().for_each(|time| assert_near(time, now() as i64 - SHIFT));
}

/// Programs of this system, over its `/usr` as a root file system.
#[test]
fn real_languages_see_the_same_machine() {
    const PROGRAMS: [(&str, &str); 4] = [
        ("bash", "-c 'printf \"%(%s)T %s\\n\" -1 x'"),
        ("date", "'+%s x'"),
        ("perl", "-e 'print time, \" x\\n\"'"),
        ("python3", "-c 'import os, time; print(int(time.time()), os.uname().release, os.cpu_count())'"),
    ];
    let mut lab = Lab::new();
    symlink("/usr", lab.root.path().join("layers/host")).unwrap();
    lab.place.lowers = vec!["host".to_owned()];
    lab.view.machine.clock = Clock::Shifted(SHIFT);
    lab.view.machine.cpus = NonZeroU32::new(3);
    let is_there = |(name, _): &(&str, &str)| Path::new("/usr/bin").join(name).exists();
    let commands = PROGRAMS.iter().filter(|program| is_there(program));
    let commands: Vec<_> = commands.map(|(name, arguments)| format!("{name} {arguments}")).collect();
    if commands.len() < PROGRAMS.len() {
        println!("SKIPPED: of {PROGRAMS:?}, some are not here");
    }
    lab.script(&format!("ln -s / /usr; {}", commands.join("; ")));
    let said = lab.output();
    assert_eq!(said.lines().count(), commands.len(), "{said}");
    said.lines().for_each(|line| assert_near(line.split(' ').next().unwrap(), now() as i64 + SHIFT));
    let release = VisibleMachine::canonical().kernel.release;
    if commands.len() == PROGRAMS.len() {
        assert!(said.ends_with(&format!(" {release} 3\n")), "{said}");
    }
}

#[test]
fn a_step_sees_the_machine_of_the_recipe() {
    let sandbox = crate::harness::Sandbox::empty();
    let run = "mkdir /srv/d; touch /srv/d/b /srv/d/a /srv/d/c; { nproc; free -m | awk 'NR == 2 { print $2 }'; date +%F; \
        find /srv/d; } > /srv/seen";
    let machine = "machine = { cpus = 3, memory = \"6 GiB\", readdir = \"sorted\", clock = \"epoch\" }";
    let steps = format!("{{ name = \"seen\", run = \"{run}\", {machine} }},\n");
    crate::seeded::project(&sandbox.path(""), &sandbox.path("../cache"), &steps);
    sandbox.run(&["build", "--until", "ws/seen"]).succeeds();
    let said = sandbox.run(&["cat", "ws/seen", "/srv/seen"]).succeeds();
    let expected = ["3", "6144", "2026-01-01", "/srv/d", "/srv/d/a", "/srv/d/b", "/srv/d/c"];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_machine_that_cannot_be_shown_fails_the_stage() {
    let mut lab = Lab::new();
    lab.view.machine.kernel.release = "x".repeat(65);
    lab.script("true");
    let error = lab.run().0.unwrap_err();
    assert!(
        matches!(&error, SandboxError::Setup(reason) if reason.contains("no kernel can call itself")),
        "{error}"
    );
}

/// Tools that make other systems move and remove what they have mounted.
#[test]
fn calls_are_answered_without_proc() {
    let mut lab = Lab::new();
    let release = VisibleMachine::canonical().kernel.release;
    lab.script("umount -l /proc; uname -r; mount -t tmpfs none /proc; uname -r; umount /proc");
    assert_eq!(lab.output(), format!("{release}\n{release}\n"));
}

#[test]
fn many_processes_are_answered_at_once() {
    let mut lab = Lab::new();
    let release = VisibleMachine::canonical().kernel.release;
    lab.script(
        "for i in 1 2 3 4 5 6 7 8; do (for j in 1 2 3 4 5 6 7 8 9 10; do uname -r; done) & done; wait; \
         i=0; while [ $i -lt 50 ]; do (uname -r > /dev/null) & kill -9 $! 2>/dev/null; i=$((i+1)); done; wait",
    );
    assert_eq!(lab.output(), format!("{release}\n").repeat(80));
}

/// A regression: the process that the clock is tried with took a number.
#[test]
fn processes_have_the_same_numbers_on_each_machine() {
    let numbers = |clock| {
        let mut lab = with_program();
        lab.view.machine.clock = clock;
        lab.script("sh -c 'echo $$'; sh -c 'echo $$'");
        lab.output()
    };
    assert_eq!(numbers(Clock::Host), numbers(Clock::Shifted(1_000_000)));
}
