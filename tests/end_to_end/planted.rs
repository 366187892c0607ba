//! Scripts that make something else each time, planted on purpose: `ibuild verify` has to find each, in its stage, with its file
//! and its cause. In shell, Python, Perl and C, static and without any library.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use super::{World, chapter};

/// A stage: its name, the program that runs as its script, the file that differs, and the cause.
struct Planted {
    name: &'static str,
    script: &'static str,
    path: &'static str,
    cause: &'static str,
}

const fn planted(
    name: &'static str,
    script: &'static str,
    path: &'static str,
    cause: &'static str,
) -> Planted {
    Planted { name, script, path, cause }
}

const SHELL: &[Planted] = &[
    planted("date", "#!/bin/sh -e\ndate > /etc/built\n", "/etc/built", "clock"),
    planted("seconds", "#!/bin/sh -e\necho \"BUILD=$(date +%s)\" > /etc/build\n", "/etc/build", "clock"),
    planted("iso", "#!/bin/sh -e\nsleep 1\ndate -Is > /etc/iso\n", "/etc/iso", "clock"),
    planted(
        "sed",
        "#!/bin/sh -e\necho 'a\nb @T@\nc' > /etc/t\nsed -i \"s/@T@/$(date +%T.%N)/\" /etc/t\n",
        "/etc/t",
        "clock",
    ),
    planted("link", "#!/bin/sh -e\nln -s build-$(date +%s%N) /srv/current\n", "/srv/current", "clock"),
    planted(
        "touched",
        "#!/bin/sh -e\necho > /srv/old; touch -d \"@$(( $(date +%s%N) / 1000000 % 1000000000 ))\" /srv/old\n",
        "/srv/old",
        "clock",
    ),
    planted("random", "#!/bin/bash\necho $RANDOM$RANDOM > /etc/random\n", "/etc/random", "random-number"),
    planted(
        "mode",
        "#!/bin/bash\necho > /srv/mode; chmod 6$((RANDOM % 8))$((RANDOM % 8)) /srv/mode; chown $RANDOM /srv/mode\n",
        "/srv/mode",
        "random-number",
    ),
    planted("temporary", "#!/bin/sh -e\nmktemp -d > /etc/dir\n", "/etc/dir", "temporary-name"),
    planted("uuid", "#!/bin/sh -e\ncat /proc/sys/kernel/random/uuid > /etc/uuid\n", "/etc/uuid", "uuid"),
    planted("urandom", "#!/bin/sh -e\nhead -c 512 /dev/urandom > /srv/seed\n", "/srv/seed", "random-bytes"),
    planted(
        "token",
        "#!/bin/sh -e\nhead -c 16 /dev/urandom | md5sum | cut -c1-32 > /etc/token\n",
        "/etc/token",
        "random-bytes",
    ),
    planted(
        "inode",
        "#!/bin/sh -e\nfor n in $(seq 1 $(od -An -N1 -tu1 /dev/urandom)); do echo > /tmp/$n; done\necho > /srv/i; ls -i /srv/i > /etc/inode\n",
        "/etc/inode",
        "inode",
    ),
    planted("load", "#!/bin/sh -e\ncat /proc/loadavg > /etc/load\n", "/etc/load", "load"),
    planted(
        "elapsed",
        "#!/bin/bash -e\n{ time sleep 0.0$((RANDOM % 90 + 10)); } 2> /etc/elapsed\n",
        "/etc/elapsed",
        "elapsed",
    ),
    planted(
        "password",
        "#!/bin/sh -e\nuseradd planted\necho planted:secret | chpasswd\n",
        "/etc/shadow",
        "salt",
    ),
    planted("gzip", "#!/bin/sh -e\ncd /srv; seq 9 > z; sleep 1; gzip z\n", "/srv/z.gz", "compression-time"),
    planted(
        "tar",
        "#!/bin/sh -e\nmkdir /srv/d; seq 9 > /srv/d/a; sleep 1\ntar -C /srv -cf /srv/d.tar d\nrm -r /srv/d\n",
        "/srv/d.tar",
        "archive-times",
    ),
    planted(
        "tgz",
        "#!/bin/sh -e\nmkdir /srv/e; seq 9 > /srv/e/a; sleep 1\ntar -C /srv -czf /srv/e.tgz e\nrm -r /srv/e\n",
        "/srv/e.tgz",
        "archive-times",
    ),
    planted(
        "parallel",
        "#!/bin/bash\nseq 60 | xargs -P 8 -n 1 sh -c 'sleep 0.0$(od -An -N1 -tu1 /dev/urandom | tr -d \" \"); echo $0' > /etc/parallel\n",
        "/etc/parallel",
        "parallel-order",
    ),
    planted(
        "background",
        "#!/bin/bash\nfor n in $(seq 30); do\n(sleep 0.$((RANDOM % 90 + 10)); echo $n >> /etc/background) &\ndone\nwait\n",
        "/etc/background",
        "parallel-order",
    ),
    planted(
        "sshkey",
        "#!/bin/sh -e\nssh-keygen -q -N '' -t ed25519 -f /etc/planted_key\n",
        "/etc/planted_key",
        "key",
    ),
    planted(
        "tlskey",
        "#!/bin/sh -e\nopenssl genpkey -algorithm ed25519 -out /etc/tls.key\n",
        "/etc/tls.key",
        "key",
    ),
    planted(
        "opensslrand",
        "#!/bin/sh -e\nopenssl rand -base64 24 > /etc/rand\n",
        "/etc/rand",
        "random-bytes",
    ),
];

/// Every stage sees the same disk: only a run with another one shows this.
const SPACE: Planted =
    planted("space", "#!/bin/sh -e\ndf /tmp | tail -1 > /etc/space\n", "/etc/space", "disk-space");

const PYTHON: &[Planted] = &[
    planted(
        "pyset",
        "#!/usr/bin/python3\nopen('/etc/set', 'w').write(str({c * 3 for c in 'abcdefghijklmnopq'}))\n",
        "/etc/set",
        "hash-order",
    ),
    planted(
        "pyhash",
        "#!/usr/bin/python3\nopen('/etc/hash', 'w').write(str(hash('x')))\n",
        "/etc/hash",
        "hash-order",
    ),
    planted(
        "pyrandom",
        "#!/usr/bin/python3\nimport random\nopen('/etc/pyrandom', 'w').write(str(random.random()))\n",
        "/etc/pyrandom",
        "random-number",
    ),
    planted(
        "pyuuid",
        "#!/usr/bin/python3\nimport uuid\nopen('/etc/pyuuid', 'w').write(uuid.uuid4().hex)\n",
        "/etc/pyuuid",
        "uuid",
    ),
    planted(
        "pyrepr",
        "#!/usr/bin/python3\nopen('/etc/repr', 'w').write(repr(object()))\n",
        "/etc/repr",
        "address",
    ),
    planted(
        "pynow",
        "#!/usr/bin/python3\nimport datetime\nopen('/etc/now', 'w').write(datetime.datetime.now().isoformat())\n",
        "/etc/now",
        "clock",
    ),
    planted(
        "pytimer",
        "#!/usr/bin/python3\nimport time\nt = time.perf_counter(); sum(range(99999))\nopen('/etc/timer', 'w').write(f'took {time.perf_counter() - t} s')\n",
        "/etc/timer",
        "elapsed",
    ),
    planted(
        "pyc",
        "#!/bin/sh -e\nmkdir /srv/py; echo 'x = 1' > /srv/py/m.py; sleep 1\nenv -u SOURCE_DATE_EPOCH python3 -m py_compile /srv/py/m.py\nmv /srv/py/__pycache__/m.*.pyc /srv/py/m.pyc; rm -r /srv/py/__pycache__\n",
        "/srv/py/m.pyc",
        "bytecode-time",
    ),
    planted(
        "pysecret",
        "#!/usr/bin/python3\nimport secrets\nopen('/etc/secret', 'w').write(secrets.token_hex(24))\n",
        "/etc/secret",
        "random-bytes",
    ),
    planted(
        "pyzip",
        "#!/usr/bin/python3\nimport time, zipfile\nopen('/srv/m', 'w').write('x')\ntime.sleep(2)\nzipfile.ZipFile('/srv/m.zip', 'w').write('/srv/m')\n",
        "/srv/m.zip",
        "archive-times",
    ),
    planted(
        "pyxattr",
        "#!/usr/bin/python3\nimport os, time\nopen('/srv/xattr', 'w')\nos.setxattr('/srv/xattr', 'user.built', str(time.time()).encode())\n",
        "/srv/xattr",
        "clock",
    ),
    planted(
        "pypng",
        "#!/usr/bin/python3\nimport struct, time, zlib\nchunk = lambda n, d: struct.pack('>I', len(d)) + n + d + struct.pack('>I', zlib.crc32(n + d))\nt = time.time_ns() // 1000000 % 60000\nopen('/srv/p.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 0, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'\\0\\0')) + chunk(b'tIME', struct.pack('>HBBBBBH', 2026, 1, 1, 0, 0, 0, t)) + chunk(b'IEND', b''))\n",
        "/srv/p.png",
        "picture-metadata",
    ),
];

const PERL: &[Planted] = &[
    planted(
        "plkeys",
        "#!/usr/bin/perl\nmy %h = map { $_ => 1 } 'a' .. 'z'; open my $f, '>', '/etc/keys'; print $f join(' ', keys %h);\n",
        "/etc/keys",
        "hash-order",
    ),
    planted(
        "plrand",
        "#!/usr/bin/perl\nopen my $f, '>', '/etc/plrand'; print $f rand(), \"\\n\";\n",
        "/etc/plrand",
        "random-number",
    ),
    planted(
        "pltime",
        "#!/usr/bin/perl\nsleep 1; open my $f, '>', '/etc/pltime'; print $f scalar localtime();\n",
        "/etc/pltime",
        "clock",
    ),
    planted(
        "plref",
        "#!/usr/bin/perl\nmy $h = {}; open my $f, '>', '/etc/ref'; print $f \"$h\\n\";\n",
        "/etc/ref",
        "address",
    ),
];

/// Compiled here, without any library that could be replaced inside, and copied into the image.
const C: &[(&str, &str, &str, &str)] = &[
    (
        "ctime",
        "#include <stdio.h>\n#include <time.h>\nint main(void) { FILE *f = fopen(\"/srv/ctime\", \"wb\"); time_t t = time(0); fwrite(\"HEAD\", 4, 1, f); fwrite(&t, sizeof t, 1, f); return 0; }\n",
        "/srv/ctime",
        "clock",
    ),
    (
        "caddress",
        "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { FILE *f = fopen(\"/srv/caddress\", \"w\"); fprintf(f, \"%p\\n\", malloc(9)); return 0; }\n",
        "/srv/caddress",
        "address",
    ),
    (
        "crandom",
        "#include <stdio.h>\n#include <sys/random.h>\nint main(void) { char b[64]; getrandom(b, 64, 0); FILE *f = fopen(\"/srv/crandom\", \"w\"); fwrite(b, 64, 1, f); return 0; }\n",
        "/srv/crandom",
        "random-bytes",
    ),
];

/// As a Go program is: no C library at all, system calls alone.
const FREESTANDING: &str = r#"
static long call(long n, long a, long b, long c) { long r; __asm__ volatile ("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); return r; }
void _start(void) {
  long t[2]; call(228, 0, (long)t, 0);
  char text[32]; int at = 31; text[at] = '\n';
  long s = t[0]; do { text[--at] = '0' + s % 10; s /= 10; } while (s);
  long f = call(2, (long)"/srv/bare", 0101, 0644);
  call(1, f, (long)(text + at), 32 - at); call(60, 0, 0, 0);
}
"#;

#[test]
fn planted_differences_are_found_with_their_causes() {
    let world = World::new();
    chapter("planted differences: the project");
    let expected = write_project(&world);
    let run = |arguments: &[&str]| world.ibuild("one/planted", "cache").args(arguments).output().unwrap();
    chapter("planted differences: the build");
    super::expect_success(&run(&["build", "--until", "planted/end"]));
    chapter("planted differences: verify");
    let mut events = differences(&run(&["verify", "--json", "planted"]));
    let is_space = |event: &Value| event["event"] == "verified" && event["stage"] == "planted/space";
    let space: Vec<_> = events.extract_if(.., |event| is_space(event)).collect();
    assert!(space.len() == 1 && space[0]["outcome"] == "equal", "{space:#?}");
    let varied = differences(&run(&["verify", "--json", "--vary", "disk", "planted/space"]));
    events.extend(varied.into_iter().filter(is_space));
    let (mut missed, mut unnamed) = (Vec::new(), Vec::new());
    for (name, path, cause) in &expected {
        let stage = format!("planted/{name}");
        let event =
            events.iter().find(|event| event["event"] == "verified" && event["stage"] == stage.as_str());
        let files = event.and_then(|event| event["files"].as_array()).cloned().unwrap_or_default();
        match files.iter().find(|file| file["path"] == *path) {
            None => missed.push(format!("{name}: {event:?}")),
            Some(file) if file["cause"] != *cause => unnamed.push(format!("{name}: {cause}, told as {file}")),
            Some(_) => {}
        }
    }
    let is_planted = |stage: &str| expected.iter().any(|(name, ..)| format!("planted/{name}") == stage);
    let alarms: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "verified" && event["outcome"] != "equal")
        .filter(|event| !is_planted(event["stage"].as_str().unwrap()))
        .collect();
    eprintln!("{} planted, {} missed, {} causes wrong", expected.len(), missed.len(), unnamed.len());
    assert_eq!(missed, [] as [String; 0]);
    assert_eq!(unnamed, [] as [String; 0]);
    assert!(alarms.is_empty(), "false alarms: {alarms:#?}");
}

/// The events of a verification that finds something.
fn differences(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a recipe with a stage for each; tells names, paths and causes.
fn write_project(world: &World) -> Vec<(String, String, String)> {
    let dir = world.path("one/planted");
    fs::create_dir_all(dir.join("scripts")).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    let mut expected = Vec::new();
    let mut add = |name: &str, script: &str, path: &str, cause: &str| {
        fs::write(dir.join("scripts").join(name), script).unwrap();
        expected.push((name.to_owned(), path.to_owned(), cause.to_owned()));
    };
    for Planted { name, script, path, cause } in SHELL.iter().chain([&SPACE]).chain(PYTHON).chain(PERL) {
        add(name, script, path, cause);
    }
    for (name, source, path, cause) in C {
        compile(world, name, source, &["-static"]);
        add(name, &format!("#!/bin/sh -e\n/opt/{name}\n"), path, cause);
    }
    compile(world, "bare", FREESTANDING, &["-static", "-nostdlib", "-fno-stack-protector"]);
    add("bare", "#!/bin/sh -e\nsleep 1\n/opt/bare\n", "/srv/bare", "clock");
    let steps: String = expected
        .iter()
        .map(|(name, ..)| format!("  {{ name = \"{name}\", script = \"scripts/{name}\" }},\n"))
        .collect();
    let recipe = format!(
        "schema = 1\n[project]\nname = \"planted\"\nepoch = 1767225600\n\
         [archive.debian]\nsuites = [\"trixie\"]\n[rootfs.planted]\nsteps = [\n  \
         {{ name = \"bootstrap\", bootstrap = {{ archive = \"debian\", variant = \"minbase\" }} }},\n  \
         {{ name = \"tools\", packages = [\"python3\", \"openssh-client\", \"openssl\", \"passwd\"], recommends = false }},\n  \
         {{ name = \"programs\", copy = [{{ from = \"bin\", to = \"/opt\" }}] }},\n{steps}  \
         {{ name = \"end\", run = \"true\" }},\n]\n[image.planted]\nrootfs = \"planted\"\nformats = [\"rootfs.tar.zst\"]\n"
    );
    fs::write(dir.join("ibuild.toml"), recipe).unwrap();
    expected
}

fn compile(world: &World, name: &str, source: &str, options: &[&str]) {
    let dir = world.path("one/planted");
    let file = dir.join(format!("{name}.c"));
    fs::write(&file, source).unwrap();
    let status =
        Command::new("gcc").args(options).arg("-o").arg(dir.join("bin").join(name)).arg(&file).status();
    assert!(status.unwrap().success(), "gcc and the static C library are needed");
    fs::remove_file(file).unwrap();
}
