//! Real sandboxes over a root file system that is one busybox. They need root, overlayfs and namespaces.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use ibuild::stages::SANDBOX;
use ibuild::stages::sandbox::{
    BUILD_MACHINE_ID, Cancel, End, InitProgram, Inject, InjectedContent, Look, NetworkSpec, PROXY_PORT,
    Payload, SandboxError, Supervisor,
};

use crate::lab::Lab;

#[test]
fn the_environment_is_what_was_declared() {
    let mut lab = Lab::new();
    lab.view.env.insert("LANG".to_owned(), "C.UTF-8".to_owned());
    lab.view.payload = Payload::Exec { argv: vec!["/bin/env".to_owned()] };
    let said = lab.output();
    let mut lines: Vec<_> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["LANG=C.UTF-8", "PATH=/bin"]);
}

#[test]
fn nothing_of_the_host_is_seen() {
    let mut lab = Lab::new();
    lab.script(
        "hostname; ls /sys | wc -l; ls -d /proc/[0-9]* | wc -l; grep -c : /proc/net/dev; umask; \
         ls /run /tmp; cat /proc/kmsg; echo kmsg $?; echo 1 > /proc/sys/kernel/panic; echo sysctl $?",
    );
    let said = lab.output();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "localhost");
    assert_eq!(lines[1], "0", "the host's devices are in /sys: {said}");
    assert!(lines[2].parse::<u32>().unwrap() <= 4, "foreign processes: {said}");
    assert_eq!(lines[3], "1", "there is more than a loopback interface: {said}");
    assert_eq!(lines[4], "0022");
    assert!(said.contains("kmsg 0") && said.contains("sysctl 1"), "{said}");
}

#[test]
fn only_changes_are_in_the_upper_directory() {
    let mut lab = Lab::new();
    lab.script("echo new > /etc/new; echo x > /tmp/x; echo x > /run/x; rm /etc/group; echo x > /dev/shm/x");
    lab.output();
    let etc: Vec<_> = fs::read_dir(lab.upper("etc")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(etc.contains(&"new".into()) && etc.contains(&"group".into()));
    assert_eq!(fs::symlink_metadata(lab.upper("etc/group")).unwrap().rdev(), 0);
    for absent in ["tmp/x", "run/x", "dev/shm"] {
        assert!(!lab.upper(absent).exists(), "{absent}");
    }
}

#[test]
fn status_and_signals_are_told() {
    let mut lab = Lab::new();
    lab.script("exit 7");
    assert_eq!(lab.run().0.unwrap().end, End::Exited(7));
    let mut lab = Lab::new();
    lab.script("exit 255");
    assert_eq!(lab.run().0.unwrap().end, End::Exited(255));
    let mut lab = Lab::new();
    lab.script("kill -KILL $$");
    assert_eq!(lab.run().0.unwrap().end, End::Killed(9));
    // Neither a real-time signal nor an orphan that ends by one is anything special.
    let mut lab = Lab::new();
    lab.script("(sh -c 'kill -40 $$' &); sleep 0.2; kill -41 $$");
    assert_eq!(lab.run().0.unwrap().end, End::Killed(41));
}

#[test]
fn a_missing_program_is_explained() {
    let mut lab = Lab::new();
    lab.view.payload = Payload::Exec { argv: vec!["/usr/bin/python3".to_owned()] };
    let error = lab.run().0.unwrap_err().to_string();
    assert_eq!(error, "there is no `/usr/bin/python3` in the root file system");
    let mut lab = Lab::new();
    lab.view.payload = Payload::Exec { argv: vec!["/etc/passwd".to_owned()] };
    let error = lab.run().0.unwrap_err().to_string();
    assert_eq!(error, "`/etc/passwd` is no program in the root file system, or is not executable");
}

#[test]
fn what_is_left_running_is_killed_and_named() {
    let mut lab = Lab::new();
    lab.script("trap '' TERM HUP; setsid sleep 4711 & setsid sh -c 'trap \"\" TERM; sleep 4711' & sleep 0.2");
    let ended = lab.run().0.unwrap();
    assert!(ended.survivors.contains(&"sleep".to_owned()), "{:?}", ended.survivors);
    assert!(!host_has("4711"), "a process outlived its sandbox");
}

/// Whether any process of the host has this argument.
fn host_has(argument: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let mine = format!("\0{argument}\0").into_bytes();
    lines.into_iter().any(|line| line.windows(mine.len()).any(|window| window == mine))
}

/// A regression: a time that no clock reaches ended the build as a mistake of ibuild.
#[test]
fn a_timeout_may_be_longer_than_any_clock() {
    let mut lab = Lab::new();
    lab.policy.timeout = Some(Duration::MAX);
    lab.script("echo done");
    assert_eq!(lab.output(), "done\n");
}

#[test]
fn time_out_and_cancel_kill_everything() {
    let mut lab = Lab::new();
    lab.policy.timeout = Some(Duration::from_millis(300));
    lab.script("trap '' TERM; sleep 4712");
    assert!(matches!(lab.run().0, Err(SandboxError::TimedOut(_))));
    assert!(!host_has("4712"));
    let mut lab = Lab::new();
    lab.script("sleep 4713");
    let (supervisor, cancel) = lab.supervisor();
    let ended = std::thread::scope(|scope| {
        let run = scope.spawn(|| supervisor.run(&lab.spec(), None, |_| Ok(())));
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
        run.join().unwrap()
    });
    assert!(matches!(ended, Err(SandboxError::Interrupted)));
    assert!(!host_has("4713"));
}

/// The processes that this one started and that are inits of stages. One that has ended has no command line.
fn inits() -> Vec<i32> {
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(children).collect::<String>();
    let is_init = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("__stage-init"))
    };
    tasks.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_init).collect()
}

#[track_caller]
fn wait_for_inits(count: usize) -> Vec<i32> {
    for _ in 0..1000 {
        let found = inits();
        if found.len() == count {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} inits instead of {count}", inits().len());
}

/// Waits until nothing is left of a process but its status: it loses its memory before it lets go of its socket.
fn wait_for_end(pid: i32) {
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !state().rsplit_once(')').unwrap().1.starts_with(" Z") {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As one that is being killed: it is still there and hears nothing any more.
#[test]
fn an_init_that_hears_nothing_is_replaced() {
    let mut lab = Lab::new();
    lab.script("exit 3");
    let deaf = lab.root.path().join("deaf");
    let script = format!(
        "if [ -e {0} ]; then exec {1} __stage-init; fi; exec <&-; : >{0}; sleep 1",
        deaf.display(),
        env!("CARGO_BIN_EXE_ibuild")
    );
    let init = InitProgram { program: "/bin/sh".into(), arguments: vec!["-c".to_owned(), script] };
    let supervisor = Supervisor::new(init, Cancel::default());
    supervisor.get_ready();
    while !deaf.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(supervisor.run(&lab.spec(), None, |_| Ok(())).unwrap().end, End::Exited(3));
}

#[test]
fn an_init_is_started_ahead_and_goes_with_its_supervisor() {
    let mut lab = Lab::new();
    lab.script("true");
    let supervisor = lab.supervisor().0;
    supervisor.get_ready();
    supervisor.get_ready();
    let first = wait_for_inits(1);
    let end = |lab: &Lab| supervisor.run(&lab.spec(), None, |_| Ok(())).unwrap().end;
    assert_eq!(end(&lab), End::SUCCESS);
    let [spare] = wait_for_inits(1)[..] else { unreachable!() };
    assert_ne!(first, [spare], "an init runs one stage only");
    // One that is gone is no reason for a stage to fail.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(spare), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for_end(spare);
    let root = lab.root.path();
    fs::rename(root.join("run"), root.join("before")).unwrap();
    fs::create_dir_all(root.join("run/upper")).unwrap();
    lab.script("exit 3");
    assert_eq!(end(&lab), End::Exited(3));
    wait_for_inits(1);
    drop(supervisor);
    wait_for_inits(0);
}

#[test]
fn the_hosts_mounts_stay_as_they_were() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let mut lab = Lab::new();
    lab.script("mkdir /m && mount -t tmpfs none /m && mount --bind /etc /m; exit 3");
    assert_eq!(lab.run().0.unwrap().end, End::Exited(3));
    assert_eq!(mounts(), before);
}

#[test]
fn sync_is_free_and_dangerous_rights_are_gone() {
    let mut lab = Lab::new();
    lab.script("grep -E '^(Seccomp|CapBnd):' /proc/self/status; sync; echo synced");
    let said = lab.output();
    assert!(said.contains("Seccomp:\t2") && said.contains("synced"), "{said}");
    let bounding = said.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let bounding = u64::from_str_radix(bounding, 16).unwrap();
    for (bit, name) in
        [(16, "sys_module"), (17, "sys_rawio"), (22, "sys_boot"), (25, "sys_time"), (34, "syslog")]
    {
        assert_eq!(bounding >> bit & 1, 0, "{name} is left");
    }
}

#[test]
fn the_proxy_is_the_only_way_out() {
    let mut lab = Lab::new();
    lab.view.network = NetworkSpec::Proxy;
    lab.script(&format!(
        "echo hello | nc 127.0.0.1 {PROXY_PORT}; nc -w 1 192.0.2.1 80 < /dev/null; echo outside $?"
    ));
    let log = lab.root.path().join("log");
    let file = fs::File::create(&log).unwrap();
    let serve = |listener: std::net::TcpListener| {
        Ok(std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 6];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(b"heard ").unwrap();
            stream.write_all(&heard).unwrap();
        }))
    };
    lab.supervisor().0.run(&lab.spec(), Some(&file), serve).unwrap();
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("heard hello") && said.contains("outside 1"), "{said}");
    assert!(said.contains("unreachable"), "{said}");
}

/// What every stage sees of its surroundings, whatever its root file system is. A change here without another version would
/// let results that were made in other surroundings be found.
#[test]
fn surroundings_have_a_version() {
    let mut lab = Lab::new();
    lab.view.env.insert("LANG".to_owned(), "C.UTF-8".to_owned());
    lab.script(
        "env | sort; id; umask; hostname; cat /proc/sys/kernel/domainname; pwd; ls -ln /dev | awk '{ print $1, $3, $4, $5, $NF }'; \
         awk '{ for (i = 7; i <= NF; i++) if ($i == \"-\") print $5, $(i + 1) }' /proc/self/mountinfo | grep -v ' /proc/.' | grep -v '^/proc/.'; \
         stat -c '%n %a %u %g' / /dev /dev/shm /proc /run /run/ibuild /run/lock /sys /tmp; ls -a /run /tmp /sys; \
         grep -E '^(SigBlk|SigIgn|NoNewPrivs|Seccomp|CapInh|CapAmb):' /proc/self/status; \
         awk '/core file|open files|stack size|Max (locked|pending)/ { print $(NF-2) }' /proc/self/limits; \
         cat /proc/self/coredump_filter /proc/version /proc/sys/kernel/osrelease /proc/sys/kernel/random/boot_id; \
         uname -srv; cut -c 1-3 /proc/uptime; stat -f -c '%n %t %s %S %b %f %a %c %d %i' / /tmp /dev/shm /proc /sys",
    );
    let said = lab.output();
    let digest = blake3::hash(said.as_bytes()).to_hex();
    let pinned = (9, "d054348b2f57b9be6b4db0275541d9e2e813733fb57270412fcff7226b05c7b1");
    assert_eq!((SANDBOX, digest.as_str()), pinned, "raise SANDBOX and put the new digest here: {said}");
}

#[test]
fn what_is_shown_can_be_read_and_not_written() {
    let mut lab = Lab::new();
    lab.show("script", "shown");
    lab.show("in/data/file", "input");
    lab.script(
        "cat /run/ibuild/script /run/ibuild/in/data/file; cd /run/ibuild; touch of-the-stage; \
         for file in script in/new in/data/file; do echo x 2>/dev/null > $file && echo wrote $file; done; true",
    );
    assert_eq!(lab.output(), "showninput");
    assert_eq!(fs::read_dir(lab.upper("")).unwrap().flatten().filter(|e| e.file_name() == "run").count(), 0);
}

#[test]
fn what_is_injected_is_gone_unless_it_was_changed() {
    let inject = |path: &str| Inject {
        path: path.into(),
        content: InjectedContent::Text("ours".to_owned()),
        mode: 0o755,
    };
    let mut lab = Lab::new();
    lab.view.inject = vec![
        inject("/usr/sbin/policy-rc.d"),
        inject("/etc/changed"),
        inject("/etc/removed"),
        inject("/etc/passwd"),
        inject("/no/such/directory"),
    ];
    lab.script(
        "cat /usr/sbin/policy-rc.d /etc/changed; echo theirs > /etc/changed; rm /etc/removed; cat /etc/machine-id; \
         cp /etc/machine-id /var/lib/dbus/machine-id; head -1 /etc/passwd",
    );
    let said = lab.output();
    assert!(said.starts_with("oursours") && said.contains(BUILD_MACHINE_ID), "{said}");
    assert!(said.contains("root:x:0:0"), "a file of the image was replaced: {said}");
    assert!(!lab.upper("usr/sbin/policy-rc.d").exists());
    assert!(!lab.upper("etc/removed").exists());
    assert_eq!(fs::read_to_string(lab.upper("etc/changed")).unwrap(), "theirs\n");
    assert_eq!(fs::read_to_string(lab.upper("etc/machine-id")).unwrap(), "");
    assert_eq!(fs::read_link(lab.upper("var/lib/dbus/machine-id")).unwrap(), Path::new("/etc/machine-id"));
}

/// Nothing shows when the sandbox was made.
#[test]
fn what_is_injected_has_the_epochs_time() {
    let mut lab = Lab::new();
    let content = InjectedContent::Text("ours".to_owned());
    lab.view.inject = vec![Inject { path: "/usr/sbin/policy-rc.d".into(), content, mode: 0o755 }];
    lab.script("stat -c %Y /usr/sbin/policy-rc.d /etc/machine-id");
    let epoch = lab.view.epoch.to_string();
    assert_eq!(lab.output().lines().collect::<Vec<_>>(), [epoch.as_str(), epoch.as_str()]);
}

/// A regression: init followed such links with its own rights.
#[test]
fn links_of_processes_lead_to_nothing_that_is_injected() {
    let mut lab = Lab::new();
    let base = lab.root.path().join("layers/base");
    fs::remove_dir(base.join("usr/sbin")).unwrap();
    symlink("/proc/self/cwd", base.join("usr/sbin")).unwrap();
    let content = InjectedContent::Text("ours".to_owned());
    lab.view.inject = vec![Inject { path: "/usr/sbin/policy-rc.d".into(), content, mode: 0o755 }];
    lab.script("ls /policy-rc.d /usr/sbin/policy-rc.d 2>/dev/null; true");
    assert_eq!(lab.output(), "");
}

/// A regression: init read names of processes from whatever the payload had put there, a pipe for example.
#[test]
fn a_payload_that_hides_proc_is_ended_as_any_other() {
    let mut lab = Lab::new();
    lab.script(
        "mount -t proc p /mnt 2>/dev/null || { mkdir -p /mnt; mount -t proc p /mnt; }; mount -t tmpfs t /proc; \
         mkdir /proc/5 /proc/6; mkfifo /proc/5/comm; echo '5 (x) S 1' > /proc/5/stat; \
         echo invented > /proc/6/comm; echo '6 (x) S 1' > /proc/6/stat; sleep 1000 & until grep -q sleep /mnt/$!/comm; do :; done",
    );
    let (ended, said) = lab.run();
    let ended = ended.unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((ended.end, ended.survivors), (End::SUCCESS, vec!["sleep".to_owned()]), "{said}");
}

#[test]
fn a_machine_id_that_a_script_sets_stays() {
    let mut lab = Lab::new();
    lab.script("echo b08dfa6083e7567a1921a715000001fb > /etc/machine-id");
    lab.output();
    let kept = fs::read_to_string(lab.upper("etc/machine-id")).unwrap();
    assert_eq!(kept.trim(), "b08dfa6083e7567a1921a715000001fb");
}

fn copy_lab(rules: &[(&str, &str, Look)]) -> Lab {
    let mut lab = Lab::new();
    let source = lab.root.path().join("source");
    fs::create_dir_all(source.join("tree/etc/sub")).unwrap();
    fs::create_dir_all(source.join("tree/lib")).unwrap();
    fs::write(source.join("tree/etc/plain"), "plain").unwrap();
    fs::set_permissions(source.join("tree/etc/plain"), fs::Permissions::from_mode(0o660)).unwrap();
    fs::write(source.join("tree/etc/sub/tool"), "tool").unwrap();
    fs::set_permissions(source.join("tree/etc/sub/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(source.join("tree/lib/linked"), "through a link").unwrap();
    symlink("../target", source.join("tree/etc/link")).unwrap();
    fs::write(source.join("single"), "single").unwrap();
    rules.iter().for_each(|(from, to, look)| lab.copy(&source.join(from), to, look.clone()));
    lab
}

/// What is copied is what was hashed, or nothing.
#[test]
fn a_source_that_changes_before_it_is_copied_is_found_out() {
    let edits: [fn(&Path); 5] = [
        |source| fs::write(source.join("tree/etc/plain"), "other").unwrap(),
        |source| fs::write(source.join("tree/etc/plain"), "plainer").unwrap(),
        |source| fs::remove_file(source.join("tree/etc/plain")).unwrap(),
        |source| {
            fs::remove_file(source.join("tree/etc/plain")).unwrap();
            symlink("/etc/passwd", source.join("tree/etc/plain")).unwrap();
        },
        |source| {
            fs::rename(source.join("tree/etc"), source.join("away")).unwrap();
            symlink("../away", source.join("tree/etc")).unwrap();
        },
    ];
    for edit in edits {
        let lab = copy_lab(&[("tree", "/srv", Look::default())]);
        edit(&lab.root.path().join("source"));
        let error = lab.run().0.unwrap_err();
        assert!(matches!(&error, SandboxError::SourceChanged(path) if path.starts_with("etc/")), "{error}");
    }
}

#[test]
fn copies_belong_to_root_and_have_plain_modes() {
    let lab = copy_lab(&[("tree", "/", Look::default())]);
    lab.output();
    let mode = |path: &str| fs::symlink_metadata(lab.upper(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("etc/plain"), 0o644);
    assert_eq!(mode("etc/sub/tool"), 0o755);
    assert_eq!(mode("etc/sub"), 0o755);
    assert_eq!(fs::metadata(lab.upper("etc/plain")).unwrap().uid(), 0);
    assert_eq!(fs::read_link(lab.upper("etc/link")).unwrap(), Path::new("../target"));
    // `/lib` is a link in the image, and stays one.
    assert_eq!(fs::read_to_string(lab.upper("usr/lib/linked")).unwrap(), "through a link");
    assert!(!lab.upper("lib").exists());
}

#[test]
fn owners_are_those_of_the_image_and_later_copies_win() {
    let look = Look {
        owner: Some("tor".to_owned()),
        group: Some("115".to_owned()),
        mode: Some(0o440),
        dirs: Some(0o2750),
    };
    let lab = copy_lab(&[
        ("single", "/etc/plain", Look::default()),
        ("tree/etc", "/var/new/dir", look.clone()),
        ("tree/etc/plain", "/etc/plain", look),
    ]);
    lab.output();
    let meta = fs::metadata(lab.upper("var/new/dir/plain")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (107, 115, 0o440));
    assert_eq!(fs::metadata(lab.upper("var/new/dir/sub")).unwrap().mode() & 0o7777, 0o2750);
    assert_eq!(fs::read_to_string(lab.upper("etc/plain")).unwrap(), "plain");
}

#[test]
fn an_unknown_owner_is_an_error() {
    let owner = Some("nobody-here".to_owned());
    let look = Look { owner, ..Look::default() };
    let lab = copy_lab(&[("single", "/etc/x", look)]);
    let error = lab.run().0.unwrap_err().to_string();
    assert!(error.contains("there is no `nobody-here` in the image's `/etc/passwd`"), "{error}");
}

#[test]
fn a_chain_that_is_too_long_is_refused_and_not_cut() {
    let mut lab = Lab::new();
    lab.place.lowers = (0..2000).map(|n| format!("layer-{n}")).collect();
    lab.script("true");
    let error = lab.run().0.unwrap_err().to_string();
    assert!(error.contains("2000 layers"), "{error}");
}

/// A regression: init has the project's directory open while it copies, and a link of the tree led through it to the host.
#[test]
fn links_of_processes_lead_no_copy_out_of_the_tree() {
    for number in 3..20 {
        let mut lab = Lab::new();
        let (victim, source) = (lab.root.path().join("victim"), lab.root.path().join("source"));
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("kept"), "kept").unwrap();
        fs::create_dir(&source).unwrap();
        fs::write(source.join("kept"), "lost").unwrap();
        let link = format!("/proc/self/fd/{number}/../victim");
        symlink(link, lab.root.path().join("layers/base/srv")).unwrap();
        lab.copy(&source, "/srv", Look::default());
        assert!(lab.run().0.is_err(), "the link leads somewhere");
        assert_eq!(fs::read_to_string(victim.join("kept")).unwrap(), "kept", "descriptor {number}");
    }
}
