//! What a stage tries in order to see the host, to change it, to take all of it, or to outlive its build. Each test is a
//! real sandbox. Those that would harm the machine if they succeeded stop by themselves, long before.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use ibuild::stages::sandbox::{End, Exceeded, Inject, InjectedContent, Look, SandboxError};

use nix::mount::{MntFlags, MsFlags, mount};

use crate::lab::Lab;

/// The program that makes any system call, in `/bin/attempt`.
fn with_attempt() -> Lab {
    let lab = Lab::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/attempt.c");
    let mut compiler = Command::new("gcc");
    let made = compiler.args(["-static", "-o"]).arg(base(&lab).join("bin/attempt")).arg(source).status();
    assert!(made.expect("install `gcc`").success());
    lab
}

fn base(lab: &Lab) -> PathBuf {
    lab.root.path().join("layers/base")
}

/// A call, and the error it is to give: always one that the call would not give of itself.
#[track_caller]
fn assert_refused(calls: &[(&str, String, i32)]) {
    let mut lab = with_attempt();
    let attempts: Vec<_> =
        calls.iter().map(|(name, call, _)| format!("echo -n '{name} '; attempt {call}")).collect();
    lab.script(&attempts.join("; "));
    let expected: Vec<_> = calls.iter().map(|(name, _, errno)| format!("{name} error {errno}")).collect();
    assert_eq!(lab.output().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn calls_that_reach_past_a_sandbox_are_refused() {
    let call = |name, number: i64, arguments: &str, errno| (name, format!("{number} {arguments}"), errno);
    assert_refused(&[
        call("keyctl", libc::SYS_keyctl, "0 -3 1", libc::ENOSYS),
        call("add_key", libc::SYS_add_key, "@user @x @y 1 -4", libc::ENOSYS),
        call("request_key", libc::SYS_request_key, "@user @x 0 0", libc::ENOSYS),
        call("bpf", libc::SYS_bpf, "0 0 0", libc::ENOSYS),
        call("perf_event_open", libc::SYS_perf_event_open, "0 0 0 0 0", libc::ENOSYS),
        call("userfaultfd", libc::SYS_userfaultfd, "0", libc::ENOSYS),
        call("io_uring_setup", libc::SYS_io_uring_setup, "1 0", libc::ENOSYS),
        call("io_uring_enter", libc::SYS_io_uring_enter, "-1 0 0 0 0 0", libc::ENOSYS),
        call("io_uring_register", libc::SYS_io_uring_register, "-1 0 0 0", libc::ENOSYS),
        call("fanotify_init", libc::SYS_fanotify_init, "0 0", libc::ENOSYS),
        call("fspick", libc::SYS_fspick, "-100 @/ 0", libc::ENOSYS),
        call("open_by_handle_at", libc::SYS_open_by_handle_at, "-1 0 0", libc::EPERM),
        call("kexec_load", libc::SYS_kexec_load, "0 99 0 0", libc::EPERM),
        call("finit_module", libc::SYS_finit_module, "-1 0 0", libc::EPERM),
        call("kexec_file_load", libc::SYS_kexec_file_load, "-1 -1 0 0 0", libc::EPERM),
        call("init_module", libc::SYS_init_module, "0 0 0", libc::EPERM),
        call("delete_module", libc::SYS_delete_module, "@none 0", libc::EPERM),
        call("swapon", libc::SYS_swapon, "@/none 0", libc::EPERM),
        call("swapoff", libc::SYS_swapoff, "@/none", libc::EPERM),
        call("quotactl", libc::SYS_quotactl, "-1 @/none 0 0", libc::EPERM),
        call("quotactl_fd", libc::SYS_quotactl_fd, "-1 0 0 0", libc::EPERM),
        call("acct", libc::SYS_acct, "@/none", libc::EPERM),
        call("reboot", libc::SYS_reboot, "0 0 0 0", libc::EPERM),
        call("syslog", libc::SYS_syslog, "10 0 0", libc::EPERM),
        call("vsock", libc::SYS_socket, "40 1 0", libc::EAFNOSUPPORT),
        call("TIOCSTI", libc::SYS_ioctl, "1 0x5412 0", libc::EPERM),
        // The kernel looks at the lower half only.
        call("TIOCSTI", libc::SYS_ioctl, "1 0x100005412 0", libc::EPERM),
        call("FIFREEZE", libc::SYS_ioctl, "1 0xc0045877 0", libc::EPERM),
        call("remount", libc::SYS_mount, "0 @/tmp 0 33 0", libc::EPERM),
        call("x32", 0x4000_0000 | libc::SYS_getpid, "", libc::ENOSYS),
        ("i386 keyctl", "i386 288 0 -3 1".to_owned(), libc::ENOSYS),
        ("i386 vsock", "i386 359 40 1 0".to_owned(), libc::EAFNOSUPPORT),
    ]);
}

#[test]
fn the_call_of_the_kernel_is_what_the_others_expect() {
    let mut lab = with_attempt();
    lab.script(&format!("attempt {} ; attempt i386 20; attempt {} 40 1", libc::SYS_getuid, libc::SYS_dup));
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((lines[0], lines[2]), ("result 0", "error 9"), "{said}");
    // As 64-bit programs do, those of 32 bits run, where the kernel runs any.
    assert!(lines[1].starts_with("result ") || lines[1] == "error 38", "{said}");
}

#[test]
fn nothing_is_inherited_from_who_started_the_build() {
    let leaked = File::open("/etc/passwd").unwrap();
    // The mask of new files is this thread's own as well: other tests make files meanwhile.
    let own = nix::sched::CloneFlags::CLONE_NEWUTS | nix::sched::CloneFlags::CLONE_FS;
    nix::sched::unshare(own).unwrap();
    // SAFETY: plain system calls on this test's own process, and on names that are its own since a moment ago.
    unsafe {
        libc::setdomainname(c"of-the-host".as_ptr(), 11);
        libc::fcntl(leaked.as_raw_fd(), libc::F_SETFD, 0);
        libc::dup2(leaked.as_raw_fd(), 77);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
        libc::umask(0o077);
        libc::setgroups(2, [7, 4711].as_ptr());
        libc::personality(0x0004_0000);
    }
    let mut lab = Lab::new();
    lab.script(
        "ls /proc/self/fd | tr '\\n' ' '; echo; umask; cat /proc/self/personality /proc/self/oom_score_adj; \
         grep -E '^(Uid|Gid|Groups|SigBlk|SigIgn|NoNewPrivs|CapInh|CapAmb):' /proc/self/status | tr -s '\\t ' ' '; \
         awk '/core file|Max locked/ { print $(NF-2), $(NF-1) }' /proc/self/limits; \
         cat /proc/self/cgroup | cut -d: -f3 | sort -u; cat /proc/sys/kernel/domainname",
    );
    let expected = "1 1\n8388608 8388608\n0 1 2 3 \n0022\n00000000\n500\nUid: 0 0 0 0\nGid: 0 0 0 0\nGroups: \nCapInh: 0000000000000000\n\
        CapAmb: 0000000000000000\nNoNewPrivs: 0\nSigBlk: 0000000000000000\nSigIgn: 0000000000000000\n";
    let said = lab.output();
    for line in expected.lines() {
        assert!(said.lines().any(|said| said == line.trim_end() || said == line), "no `{line}` in {said}");
    }
    assert!(said.ends_with("/\n(none)\n"), "the groups have names of the host: {said}");
    let domain = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    assert_eq!(domain, "of-the-host\n", "the host has lost its name");
}

#[test]
fn no_path_of_the_host_can_be_learnt() {
    let mut lab = Lab::new();
    lab.show("script", "script");
    lab.show("in/tree/input", "input");
    lab.show("in/one", "input");
    lab.place.from = vec!["base".to_owned()];
    lab.script(
        "cat /run/ibuild/script /run/ibuild/in/tree/input /run/ibuild/in/one; ls /run/ibuild/from/bin/sh; \
         echo x > /run/ibuild/script; rm /run/ibuild/in/tree/input; echo; cat /proc/self/mountinfo /proc/mounts",
    );
    let said = lab.output();
    assert!(said.starts_with("scriptinputinput/run/ibuild/from/bin/sh\n"), "{said}");
    let mounts: String = said.lines().filter(|line| line.contains("overlay")).collect();
    assert!(mounts.contains("lowerdir="), "{said}");
    let name = lab.root.path().file_name().unwrap().to_str().unwrap();
    for path in [name, "/var/tmp", "shown", "devtmpfs", "/dev/vd", "/dev/sd", "/dev/nvme", "../"] {
        assert!(!mounts.contains(path), "`{path}` of the host is in {mounts}");
        assert!(!said.lines().skip(2).any(|line| line.contains(path)), "`{path}` of the host is in {said}");
    }
    let shown = lab.root.path().join("run/shown");
    assert_eq!(fs::read_to_string(shown.join("script")).unwrap(), "script");
    assert!(shown.join("in/tree/input").exists());
}

/// What a step brings along lies in its work directory, beside everything else of it.
#[test]
fn neither_can_that_of_the_work_directory() {
    let mut lab = Lab::new();
    let run = lab.root.path().join("run");
    lab.show("command", "script");
    lab.show("pool/a.deb", "package");
    fs::create_dir_all(run.join("output/out")).unwrap();
    lab.script(
        "cd /run/ibuild; cat command pool/a.deb; echo x > command; echo x > pool/b; rm pool/a.deb; ls pool; \
         mkdir out/dir; echo made > out/dir/file; echo; cat /proc/self/mountinfo /proc/mounts",
    );
    let said = lab.output();
    assert!(said.starts_with("scriptpackage"), "{said}");
    let name = lab.root.path().file_name().unwrap().to_str().unwrap();
    for path in [name, "/var/tmp", "/layers", "/shown", "/output"] {
        assert!(!said.contains(path), "`{path}` of the host is in {said}");
    }
    assert_eq!(fs::read_to_string(run.join("output/out/dir/file")).unwrap(), "made\n");
    assert_eq!(fs::read_to_string(run.join("shown/command")).unwrap(), "script");
    assert_eq!(fs::read_dir(run.join("shown/pool")).unwrap().count(), 1);
}

#[test]
fn no_file_of_proc_names_the_host() {
    let mut lab = Lab::new();
    lab.script(
        "for dir in /proc /proc/1 /proc/self /proc/1/net /proc/sys/kernel; do \
             for file in $dir/*; do case $file in */pagemap|*/mem|*/clear_refs|*/auxv|/proc/self/exe) continue; esac; \
                 test -f $file && timeout 2 cat $file; done; done 2> /dev/null | tr '\\0' '\\n' | tr -cd '\\n -~'; \
         tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm",
    );
    let said = lab.output();
    assert!(said.len() > 10_000, "nothing was read: {said}");
    assert!(said.ends_with("init __stage-init init\n"), "{}", &said[said.len() - 200..]);
    let program = Path::new(env!("CARGO_BIN_EXE_ibuild"));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = lab.root.path().file_name().unwrap().to_str().unwrap();
    for word in [name, "/var/tmp", program.to_str().unwrap(), "(ibuild)", "Name:ibuild"] {
        if let Some(at) = said.find(word) {
            let around = at.saturating_sub(200)..(at + 200).min(said.len());
            panic!("`{word}` is in {}", &said[around]);
        }
    }
    let is_host = |line: &str| line == host.trim() && line != "localhost";
    assert!(!said.lines().any(is_host), "the host is called {host}");
}

#[test]
fn what_is_in_memory_is_empty_and_devices_are_few() {
    let mut lab = Lab::new();
    lab.script(
        "for dir in /run /tmp /dev/shm /run/lock; do stat -f -c %T $dir; ls $dir | tr '\\n' ' '; echo; done; \
         ls /dev | tr '\\n' ' '; ls /dev/pts; cat /proc/sys/kernel/ostype",
    );
    assert_eq!(
        lab.output().lines().collect::<Vec<_>>(),
        [
            "tmpfs",
            "ibuild lock ",
            "tmpfs",
            "",
            "tmpfs",
            "",
            "tmpfs",
            "",
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ptmx",
            "Linux",
        ]
    );
}

#[test]
fn niceness_and_cores_are_passed_on() {
    // SAFETY: plain system calls on this test's own thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 7);
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut one);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
    }
    let mut lab = Lab::new();
    lab.script("cut -d ' ' -f 19 /proc/self/stat; nproc");
    assert_eq!(lab.output(), "7\n1\n");
}

#[test]
fn waiting_for_the_disk_takes_no_time() {
    let mut lab = with_attempt();
    // The kernel would say that there is no such descriptor, and no such memory.
    let calls = [
        (libc::SYS_fsync, "-1"),
        (libc::SYS_fdatasync, "-1"),
        (libc::SYS_syncfs, "-1"),
        (libc::SYS_sync_file_range, "-1 0 0 0"),
        (libc::SYS_msync, "1 1 99"),
    ];
    lab.script(&calls.map(|(call, arguments)| format!("attempt {call} {arguments}")).join("; "));
    assert_eq!(lab.output(), "result 0\n".repeat(calls.len()));
}

#[test]
fn a_step_has_the_variables_of_every_step_and_its_own() {
    let sandbox = crate::harness::Sandbox::empty();
    let steps = "{ name = \"env\", run = \"env > /srv/env; busybox id -u >> /srv/env; date +%Z >> /srv/env\", env = { A = \"b c\", LANG = \"C\" } },\n";
    crate::seeded::project(&sandbox.path(""), &sandbox.path("../cache"), steps);
    sandbox.run(&["build", "--until", "ws/env"]).succeeds();
    let said = sandbox.run(&["cat", "ws/env", "/srv/env"]).succeeds();
    let mut lines: Vec<_> = said.lines().collect();
    // What a shell adds is not the step's.
    lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=") && !line.starts_with("_="));
    lines.sort_unstable();
    let expected = [
        "0",
        "A=b c",
        "DEBIAN_FRONTEND=noninteractive",
        "HOME=/root",
        "LANG=C",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE_DATE_EPOCH=1767225600",
        "TERM=dumb",
        "TZ=UTC",
        "UTC",
    ];
    assert_eq!(lines, expected);
}

/// Programs of images that run as root would be that on the host, too.
#[test]
fn only_the_owner_of_a_store_gets_at_the_files_of_images() {
    let sandbox = crate::harness::Sandbox::empty();
    crate::seeded::project(&sandbox.path(""), &sandbox.path("../cache"), "");
    for dir in ["layers", "runs", "failed", "spares", "tmp", "trash"] {
        let meta = fs::metadata(sandbox.path("../cache").join(dir)).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o700, "{dir}");
    }
}

#[test]
fn the_kernel_tells_nothing_of_the_host_and_takes_no_orders() {
    let mut lab = Lab::new();
    lab.script(
        "for name in cmdline kcore keys key-users kmsg modules partitions diskstats interrupts timer_list swaps \
             kallsyms iomem ioports softirqs zoneinfo vmallocinfo buddyinfo locks consoles dma; do \
             test ! -e /proc/$name || wc -c < /proc/$name; done | sort -u; \
         ls /proc/bus /proc/driver /proc/fs /proc/irq /proc/pressure /proc/tty/driver /sys 2>/dev/null | grep -v : | grep . ; dmesg | wc -l; \
         for name in sys/kernel/core_pattern sys/kernel/hostname sys/kernel/panic sysrq-trigger; do \
             echo x 2> /dev/null > /proc/$name && echo wrote $name; done; date +%Z; hostname; cat /proc/net/unix | wc -l",
    );
    let name = format!("ibuild-isolation-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _socket = UnixListener::bind_addr(&address).unwrap();
    assert!(fs::read_to_string("/proc/net/unix").unwrap().contains(&name));
    let said = lab.output();
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("dmesg:")).collect();
    // No bytes in any file, no lines of the kernel, nothing written, and of sockets only the title.
    assert_eq!(lines, ["0", "0", "UTC", "localhost", "1"], "{said}");
}

#[test]
fn init_cannot_be_looked_into_or_changed() {
    let mut lab = with_attempt();
    lab.script(&format!(
        "for name in exe root cwd fd/3 environ mem maps smaps numa_maps task/1/maps map_files; do \
             (readlink /proc/1/$name || cat /proc/1/$name || ls /proc/1/$name/) 2>/dev/null; done; \
         (exec 9> /proc/1/exe) 2>/dev/null && echo opened; nsenter -t 1 -m true 2>/dev/null && echo entered; \
         attempt {} 16 1 0 0; kill -9 1; kill -STOP 1; echo alive",
        libc::SYS_ptrace
    ));
    assert_eq!(lab.output(), format!("error {}\nalive\n", libc::EPERM));
}

/// The first disk of the host.
fn host_disk() -> (String, u32, u32) {
    let text = fs::read_to_string("/proc/partitions").unwrap();
    let line = text.lines().nth(2).expect("a disk");
    let fields: Vec<_> = line.split_whitespace().collect();
    (fields[3].to_owned(), fields[0].parse().unwrap(), fields[1].parse().unwrap())
}

#[test]
fn device_nodes_can_be_made_but_not_opened() {
    let (name, major, minor) = host_disk();
    let mut lab = Lab::new();
    lab.script(&format!(
        "mknod /disk b {major} {minor}; mkdir /m /n; mount -t tmpfs none /m; mknod /m/disk b {major} {minor}; \
         mknod /m/mem c 1 1; mount -t devtmpfs none /n; \
         for node in /disk /m/disk /m/mem /n/{name}; do head -c 1 $node > /dev/null 2>&1 && echo opened $node; done; \
         mount /disk /tmp 2> /dev/null && echo mounted; \
         mknod /null c 1 3; echo x > /null && echo works; head -c 3 /dev/urandom | wc -c"
    ));
    assert_eq!(lab.output(), "works\n3\n");
    let meta = fs::symlink_metadata(lab.upper("disk")).unwrap();
    assert_eq!(meta.rdev(), libc::makedev(major, minor), "the node is not in the layer");
    assert_eq!(fs::symlink_metadata(lab.upper("null")).unwrap().rdev(), libc::makedev(1, 3));
}

#[test]
fn the_hosts_devices_keep_their_modes() {
    let mode = || fs::metadata("/dev/null").unwrap().mode();
    let before = mode();
    let mut lab = Lab::new();
    lab.script(
        "chmod 600 /dev/null /dev/zero; chown 7 /dev/null; chmod 600 /proc/self/fd/0 /proc/kcore; rm -f /dev/null; \
         stat -c %a /dev/zero",
    );
    let said = lab.output();
    let after = mode();
    if after != before {
        fs::set_permissions("/dev/null", std::os::unix::fs::PermissionsExt::from_mode(before)).unwrap();
    }
    assert_eq!(after, before, "the host's `/dev/null` was changed");
    assert!(said.ends_with("600\n"), "{said}");
}

#[test]
fn mounts_stay_inside_and_tools_that_mount_work() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let mut lab = Lab::new();
    // As debootstrap and mmdebstrap do for the system that they make.
    lab.script(
        "mount --make-rshared /; mkdir -p /m/proc /m/dev /m/bin; cp /bin/busybox /m/bin; set -e; \
         mount -t proc proc /m/proc; mount -t tmpfs none /m/dev; mknod -m 666 /m/dev/null c 1 3; \
         chroot /m /bin/busybox sh -c 'echo > /dev/null; test -e /proc/self/exe'; \
         mount --bind /etc /tmp; mount -o remount,bind,ro /tmp; ! touch /tmp/x 2> /dev/null; \
         unshare -m -p -f mount -t proc proc /m/proc; unshare -U -r id -u; umount /m/proc; echo done",
    );
    assert_eq!(lab.output(), "0\ndone\n");
    assert_eq!(mounts(), before);
}

#[test]
fn setuid_programs_work() {
    let mut lab = Lab::new();
    lab.script(
        "cp /bin/busybox /bin/su-id; chmod 4755 /bin/su-id; ln -s su-id /bin/sid; \
         setpriv --reuid 107 --clear-groups /bin/sh -c 'id -u' 2>/dev/null || su tor -s /bin/sh -c 'id -u'; \
         stat -c %a /bin/su-id",
    );
    assert_eq!(lab.output(), "107\n4755\n");
}

#[test]
fn mount_points_that_lead_away_are_refused() {
    for name in ["proc", "sys", "dev", "run", "tmp"] {
        let mut lab = Lab::new();
        let victim = lab.root.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::remove_dir(base(&lab).join(name)).unwrap();
        symlink(&victim, base(&lab).join(name)).unwrap();
        lab.script("true");
        let error = lab.run().0.unwrap_err().to_string();
        assert!(error.contains(&format!("`/{name}` of the image is not a directory")), "{error}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn what_ibuild_writes_stays_in_the_image() {
    let mut lab = Lab::new();
    let victim = lab.root.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let up = format!("../../../../../../../..{}", victim.display());
    fs::remove_dir(base(&lab).join("usr/sbin")).unwrap();
    symlink(&victim, base(&lab).join("usr/sbin")).unwrap();
    symlink(&up, base(&lab).join("etc/away")).unwrap();
    symlink(victim.join("id"), base(&lab).join("etc/machine-id")).unwrap();
    let source = lab.root.path().join("source");
    fs::write(&source, "copied").unwrap();
    lab.view.inject = ["/usr/sbin/policy-rc.d", "/etc/away/injected"].map(inject).to_vec();
    lab.copy(&source, "/etc/away/copied", Look::default());
    let (ended, _) = lab.run();
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{ended:?}");
    assert!(!victim.join("id").exists());
}

fn inject(path: &str) -> Inject {
    Inject { path: path.into(), content: InjectedContent::Text("ours".to_owned()), mode: 0o755 }
}

#[test]
fn what_is_read_back_may_be_anything() {
    for trick in ["mkfifo", "mknod"] {
        let mut lab = Lab::new();
        lab.view.inject = vec![inject("/etc/injected")];
        let node = if trick == "mkfifo" { "p" } else { "c 1 5" };
        lab.script(&format!(
            "cd /etc; rm machine-id injected; mknod machine-id {node}; mknod injected {node}; \
             ln -s /dev/zero /var/lib/dbus/machine-id"
        ));
        lab.output();
        assert!(!fs::symlink_metadata(lab.upper("etc/injected")).unwrap().is_file());
        assert!(!fs::symlink_metadata(lab.upper("etc/machine-id")).unwrap().is_file());
    }
}

#[test]
fn a_flood_of_output_is_cut_in_the_middle() {
    const MIB: u64 = 1 << 20;
    let mut lab = Lab::new();
    lab.script("echo begin; yes | head -c 120000000; echo the end; : > /proc/self/fd/1");
    let (ended, said) = lab.run();
    assert_eq!(ended.unwrap().end, End::SUCCESS);
    assert!((64 * MIB..66 * MIB).contains(&(said.len() as u64)), "{} bytes", said.len());
    assert!(said.starts_with("begin\n") && said.ends_with("the end\n"));
    assert_eq!(said.lines().filter(|line| line.starts_with("... ibuild leaves")).count(), 1);
}

#[track_caller]
fn assert_exceeds(lab: &Lab, limit: Exceeded) {
    let (ended, said) = lab.run();
    match ended {
        Err(SandboxError::Exceeded(exceeded)) => assert_eq!(exceeded, limit),
        other => panic!("{other:?}: {said}"),
    }
}

#[test]
fn a_fork_bomb_ends_its_stage() {
    // The second takes the refusal for an answer: then what it makes depends on the limit.
    for bomb in [
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); sleep 4714 & done; wait",
        "(i=0; while [ $i -lt 300 ]; do i=$((i+1)); sleep 0.2 & done) 2> /dev/null; true",
    ] {
        let mut lab = Lab::new();
        lab.policy.limits.processes = Some(64);
        lab.script(bomb);
        assert_exceeds(&lab, Exceeded::Processes(64));
    }
    let mut lab = Lab::new();
    lab.policy.limits.processes = Some(64);
    lab.script("for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait; echo fine");
    assert_eq!(lab.output(), "fine\n");
}

#[test]
fn memory_has_an_end() {
    const LIMIT: u64 = 64 << 20;
    for hog in ["dd if=/dev/zero of=/dev/null bs=200M count=1", "dd if=/dev/zero of=/tmp/x bs=1M count=200"] {
        let mut lab = Lab::new();
        lab.policy.limits.memory = Some(LIMIT);
        lab.script(&format!("{hog}; true"));
        assert_exceeds(&lab, Exceeded::Memory(LIMIT));
    }
    let mut lab = Lab::new();
    lab.policy.limits.memory = Some(LIMIT);
    // What is only read or written to the disk goes out of memory again.
    lab.script("dd if=/dev/zero of=/x bs=1M count=150 2> /dev/null; cat /x > /dev/null; echo fine");
    assert_eq!(lab.output(), "fine\n");
}

#[test]
fn the_disk_has_an_end() {
    const LIMIT: u64 = 32 << 20;
    for filler in
        ["dd if=/dev/zero of=/x bs=1M count=150; sleep 4715", "dd if=/dev/zero of=/x bs=1M count=40"]
    {
        let mut lab = Lab::new();
        lab.policy.limits.disk = Some(LIMIT);
        lab.script(filler);
        assert_exceeds(&lab, Exceeded::Disk(LIMIT));
    }
    let mut lab = Lab::new();
    lab.policy.limits.disk = Some(LIMIT);
    lab.script("dd if=/dev/zero of=/x bs=1M count=20; truncate -s 1G /holes");
    lab.output();
}

/// Gives this thread mounts of its own, so that a test may change what the builder finds on the host.
fn own_mounts() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

/// A disk of 64 MB. While it is mounted, the directory that it is in cannot be removed.
struct SmallDisk<'p>(&'p Path);

impl<'p> SmallDisk<'p> {
    fn mount(place: &'p Path) -> Self {
        fs::create_dir(place).unwrap();
        mount(Some("none"), place, Some("tmpfs"), MsFlags::empty(), Some("size=64m")).unwrap();
        Self(place)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn the_disk_of_the_store_is_never_filled() {
    own_mounts();
    let mut lab = Lab::new();
    let small = lab.root.path().join("small");
    let _disk = SmallDisk::mount(&small);
    fs::create_dir_all(small.join("run/upper")).unwrap();
    lab.place.run_dir = small.join("run");
    lab.script("dd if=/dev/zero of=/x bs=1M count=30 2> /dev/null; sleep 0.3; echo fine");
    assert_eq!(lab.output(), "fine\n");
    fs::remove_dir_all(small.join("run")).unwrap();
    fs::create_dir_all(small.join("run/upper")).unwrap();
    lab.script("dd if=/dev/zero of=/x bs=1M count=100; sleep 4716");
    let ended = lab.run().0;
    assert!(matches!(ended, Err(SandboxError::DiskFull(reserve)) if reserve == 1 << 20), "{ended:?}");
}

#[test]
fn what_cannot_be_limited_is_said() {
    own_mounts();
    let cgroups = Path::new("/sys/fs/cgroup");
    while nix::mount::umount2(cgroups, MntFlags::MNT_DETACH).is_ok() {}
    let (_, major, minor) = host_disk();
    let mut lab = Lab::new();
    lab.policy.limits.memory = Some(64 << 20);
    lab.policy.limits.processes = Some(64);
    // Nothing filters devices either: then none can be opened where the stage writes.
    lab.script(&format!(
        "mknod /disk b {major} {minor}; head -c 1 /disk > /dev/null 2>&1 && echo opened; true"
    ));
    let (ended, said) = lab.run();
    assert_eq!(ended.unwrap().unlimited, ["memory", "the number of processes"]);
    assert_eq!(said, "");
}

/// Groups of this machine that sandboxes have now.
fn groups() -> Vec<String> {
    let mut command = Command::new("find");
    let found = command.args(["/sys/fs/cgroup", "-type", "d", "-name", "ibuild.*"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn control_groups_go_with_their_sandbox_and_after_a_kill_with_the_next() {
    let mut lab = Lab::new();
    lab.policy.limits.processes = Some(64);
    lab.script(
        "mkdir /m; mount -t cgroup -o pids none /m || mount -t cgroup2 none /m; cat /m/pids.max; ls /m",
    );
    let mine = format!("ibuild.{}-", std::process::id());
    let parent = std::thread::scope(|scope| {
        lab.policy.timeout = None;
        let mut other = Lab::new();
        other.policy.limits.processes = Some(64);
        other.script("sleep 1");
        let run = scope.spawn(move || other.output());
        let place = loop {
            if let Some(place) = groups().into_iter().find(|name| name.contains(&mine)) {
                break place;
            }
            assert!(!run.is_finished(), "there was no group");
        };
        run.join().unwrap();
        PathBuf::from(place).parent().unwrap().to_owned()
    });
    // As a builder leaves it that was killed: nobody has the lock.
    let stale = parent.join("ibuild.1-999999");
    fs::create_dir_all(stale.join("stage")).unwrap();
    let (_, said) = lab.run();
    assert!(!said.contains("64"), "a stage sees the group that limits it: {said}");
    assert!(!stale.exists());
    assert!(!groups().iter().any(|name| name.contains(&mine)), "{:?}", groups());
}
