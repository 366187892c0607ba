//! Secrets of steps, over a root file system of one busybox: what sees them, every way in which a script leaks one, keys, and
//! errors. Needs root.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Outcome, Sandbox};

const TOKEN: &str = "s3cr3t/T0k+n-value_4711";
const S: &str = "/run/ibuild/secrets/TOKEN";

/// A project with one step that has the secret, and what is above it.
fn lab(run: &str, above: &str) -> Sandbox {
    let step = format!("{{ name = \"uses\", secrets = [\"TOKEN\"], run = '''\n{run}\n''' }},\n{above}\n");
    with_steps(&step)
}

fn with_steps(steps: &str) -> Sandbox {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), &steps.replace("$S", S));
    give(&lab, &format!("{TOKEN}\n"));
    lab
}

/// Beside the project and the store, where it may be.
fn give(lab: &Sandbox, value: &str) {
    lab.write("../given/token", value);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(lab.path("../given/token"), mode).unwrap();
}

const GIVEN: [&str; 2] = ["--secret", "TOKEN=../given/token"];
const BUILD: [&str; 2] = ["build", "ws.rootfs.tar.zst"];

fn build(lab: &Sandbox) -> Outcome {
    lab.run(&[&BUILD[..], &GIVEN].concat())
}

fn log(lab: &Sandbox) -> String {
    fs::read_to_string(lab.path("../cache/logs/seeded/ws/uses.log")).unwrap()
}

/// What a tool of the host writes of its input: its encodings are not ours.
fn tool(line: &str, input: &str) -> Vec<u8> {
    let mut command = Command::new("sh");
    let mut child = command.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// The secret in every form, without the letters that depend on what stands around it.
fn forms() -> Vec<Vec<u8>> {
    let mut forms = vec![TOKEN.as_bytes().to_vec()];
    for digits in ["", " | tr a-f A-F"] {
        forms.push(tool(&format!("od -An -v -tx1{digits} | tr -d ' \\n'"), TOKEN));
    }
    for before in ["", "x", "xy"] {
        for alphabet in ["", " | tr +/ -_"] {
            let text = tool(&format!("base64 -w0{alphabet}"), &format!("{before}{TOKEN}"));
            forms.push(text[4..text.len() - 4].to_vec());
        }
    }
    forms
}

fn is_in(bytes: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// The secret is in no file, name or link of the project and the store, compressed ones included.
#[track_caller]
fn assert_nowhere(lab: &Sandbox) {
    let (forms, mut count) = (forms(), 0);
    for top in ["", "../cache", "../home"] {
        look(&lab.path(top), &forms, &mut count);
    }
    assert!(count > 10, "the files are not where this test looks");
}

#[track_caller]
fn look(dir: &Path, forms: &[Vec<u8>], count: &mut usize) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        assert!(!is_in(path.as_os_str().as_bytes(), forms), "the name {}", path.display());
        if kind.is_dir() {
            look(&path, forms, count);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            assert!(!is_in(target.as_os_str().as_bytes(), forms), "the link {}", path.display());
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let unpacked = zstd::decode_all(bytes.as_slice()).unwrap_or_default();
            assert!(!is_in(&bytes, forms) && !is_in(&unpacked, forms), "{}", path.display());
            *count += 1;
        }
    }
}

#[test]
fn this_test_would_see_a_secret() {
    let lab = lab("true", "");
    for form in forms() {
        let packed = zstd::encode_all(form.as_slice(), 3).unwrap();
        for bytes in [form.clone(), packed] {
            fs::write(lab.path("../cache/x"), bytes).unwrap();
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_nowhere(&lab)));
            assert!(seen.is_err(), "{}", String::from_utf8_lossy(&form));
        }
    }
    fs::remove_file(lab.path("../cache/x")).unwrap();
    assert_nowhere(&lab);
}

#[test]
fn only_the_steps_that_ask_see_it_and_only_while_they_run() {
    let lab = lab(
        "ls -ln /run/ibuild/secrets; stat -c '%a %u %Y' /run/ibuild/secrets $S; wc -c < $S
         grep ' /run/ibuild/secrets ' /proc/mounts; grep -c . /proc/swaps || true
         if echo x > $S; then echo written; fi; if rm -f $S; then echo removed; fi
         su -s /bin/sh nobody -c 'cat /run/ibuild/secrets/TOKEN' || echo refused
         env; cat /proc/1/cmdline /proc/1/environ; sha256sum < $S > /srv/sum",
        "{ name = \"other\", run = \"if ls /run/ibuild/secrets; then exit 1; fi; test -e /srv/sum\" },",
    );
    build(&lab).succeeds();
    let said = log(&lab);
    assert!(said.contains("755 0 1767225600\n400 0 1767225600\n24\n"), "{said}");
    assert!(said.contains("ramfs /run/ibuild/secrets ramfs ro,nosuid,nodev,noexec"), "{said}");
    assert!(!said.contains("written") && !said.contains("removed"), "{said}");
    let sum = String::from_utf8(tool("sha256sum", &format!("{TOKEN}\n"))).unwrap();
    assert_eq!(lab.run(&["cat", "ws/uses", "/srv/sum"]).succeeds(), sum);
    assert_nowhere(&lab);
}

const DUMPED: &str = "in a dump of bytes";
const ESCAPED: &str = "with escapes, as in a URL, JSON or HTML";

/// Each ends the build with status 1, and with an error that names the place, the secret and the form.
const CAUGHT: &[(&str, &str, &str)] = &[
    ("cat $S > /srv/a", "`/srv/a`", "as it is"),
    ("cp $S /srv/x; mv /srv/x /etc/innocent", "`/etc/innocent`", "as it is"),
    ("base64 $S > /srv/a", "`/srv/a`", "in base64"),
    ("(printf x; cat $S) | base64 > /srv/a", "`/srv/a`", "in base64"),
    ("(printf xy; cat $S) | base64 | tr +/ -_ | fold -w 10 > /srv/a", "`/srv/a`", "in base64"),
    ("xxd -p $S > /srv/a", "`/srv/a`", "in hexadecimal digits"),
    ("od -An -v -tx1 $S | tr a-f A-F > /srv/a", "`/srv/a`", "in hexadecimal digits"),
    ("echo curl -H \"$(cat $S)\" > /srv/.ash_history", "`/srv/.ash_history`", "as it is"),
    ("echo \"https://s3cr3t%2FT0k%2Bn-value_4711@host/\" > /srv/a", "`/srv/a`", ESCAPED),
    ("fold -w 5 $S > /srv/a", "`/srv/a`", "as it is"),
    ("od $S > /srv/a", "`/srv/a`", DUMPED),
    ("od -c $S > /srv/a", "`/srv/a`", DUMPED),
    ("od -x $S > /srv/a", "`/srv/a`", DUMPED),
    ("od -b $S > /srv/a", "`/srv/a`", DUMPED),
    ("od -t x1 $S > /srv/a", "`/srv/a`", DUMPED),
    ("(printf xyz; cat $S) | xxd > /srv/a", "`/srv/a`", DUMPED),
    ("(printf xyz; cat $S) | hexdump -C > /srv/a", "`/srv/a`", DUMPED),
    ("hexdump $S > /srv/a", "`/srv/a`", DUMPED),
    ("echo 's3cr3t/T0k%2Bn%2dvalue_4711' > /srv/a", "`/srv/a`", ESCAPED),
    (r#"sed 's,/,\\/,; s,+,\\u002b,' $S > /srv/a"#, "`/srv/a`", ESCAPED),
    ("sed 's,/,\\&#47;,; s,+,\\&#x2B;,' $S > /srv/a", "`/srv/a`", ESCAPED),
    ("mkdir -p \"/srv/$(cat $S)\"", "the name of `/srv/[secret TOKEN]`", "as it is"),
    ("touch \"/srv/$(base64 -w0 $S)\"", "the name of `/srv/[secret TOKEN]", "in base64"),
    ("ln -s \"$(cat $S)\" /srv/link", "the target of the link `/srv/link`", "as it is"),
    ("(head -c 9 $S; sleep 0.1; tail -c +10 $S) > /srv/two", "`/srv/two`", "as it is"),
    ("cp $S /srv/a; ln /srv/a /srv/b; rm /srv/a", "`/srv/b`", "as it is"),
    ("(head -c 1048570 /dev/zero; cat $S) > /srv/border", "`/srv/border`", "as it is"),
    ("dd if=$S of=/srv/sparse bs=1 seek=3000000000", "`/srv/sparse`", "as it is"),
    ("(env -i TOKEN=\"$(cat $S)\" env) > /srv/environment", "`/srv/environment`", "as it is"),
];

#[test]
fn what_a_layer_would_have_fails_the_step_and_is_kept_nowhere() {
    for (run, place, form) in CAUGHT {
        let lab = lab(run, "");
        let ended = build(&lab);
        let expected = format!("error: stage `ws/uses` failed\n  caused by: {place}");
        assert_eq!(ended.status, 1, "{run}: {}", ended.stderr);
        assert!(ended.stderr.contains(&expected), "{run}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!(" has the secret `TOKEN`, {form}\n")),
            "{run}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains("hint: what a step makes is kept and published"), "{}", ended.stderr);
        assert!(!is_in(ended.stderr.as_bytes(), &forms()), "{run}: {}", ended.stderr);
        assert_nowhere(&lab);
        let failed = lab.run(&["shell", "--failed", "ws/uses", "--", "true"]);
        assert!(failed.stderr.contains("is not kept: "), "{run}: {}", failed.stderr);
        let explained = lab.run(&["explain", "ws/uses"]);
        assert!(!is_in(explained.stdout.as_bytes(), &forms()), "{run}");
    }
}

/// Each is said, and nothing of it is in the log or on the terminal.
const MASKED: &[(&str, &str)] = &[
    ("echo <$(cat $S)>", "<[secret TOKEN]>"),
    ("export TOKEN=\"$(cat $S)\"; env", "TOKEN=[secret TOKEN]\n"),
    ("set -x; true \"$(cat $S)\"", "+ true [secret TOKEN]\n"),
    ("cat $S >&2; base64 $S; xxd -p $S", "[secret TOKEN]\n"),
    ("fold -w 5 $S", "[secret TOKEN]\n"),
    ("od $S; od -c $S; od -t x1 $S; xxd $S; hexdump -C $S", "[secret TOKEN]\n"),
    ("sed 's,/,%2F,' $S", "[secret TOKEN]\n"),
    ("sed 's,+,\\\\u002b,' $S", "[secret TOKEN]\n"),
    ("sed 's,/,\\\\/,' $S", "[secret TOKEN]\n"),
    ("sed 's,/,\\&#47;,' $S", "[secret TOKEN]\n"),
    ("sh -c 'printf s3cr3t/T0; sleep 0.3; printf k+n-value_4711'", "[secret TOKEN]"),
    ("printf 's3cr3t/T0k+n-value_471'", "s3cr3t/T0k+n-value_471"),
    ("sh -c 'echo $0' \"$(cat $S)\"", "[secret TOKEN]\n"),
];

#[test]
fn output_is_masked_in_logs_errors_and_events() {
    for (run, expected) in MASKED {
        let text = run.replace('<', "\\<").replace('>', "\\>").replace("\\>&2", ">&2");
        let lab = lab(&format!("{text}\nexit 3"), "");
        for more in [&[][..], &["--json"], &["--debug", "-vv"]] {
            let ended = lab.run(&[&BUILD[..], &GIVEN, more].concat());
            assert_eq!(ended.status, 1, "{}", ended.stderr);
            let said = ended.stderr + &ended.stdout;
            assert!(!is_in(said.as_bytes(), &forms()), "{run}: {said}");
            assert!(log(&lab).contains(expected), "{run}: {}", log(&lab));
        }
        assert_nowhere(&lab);
    }
}

/// None of these is in the layer: it passes, and there is nothing to find.
const NOT_KEPT: &[&str] = &[
    "cp $S /srv/a; rm /srv/a",
    "cp $S /tmp/a; cp $S /run/a; cp $S /dev/shm/a",
    "cp $S /var/log/dpkg.log || (mkdir -p /var/log; cp $S /var/log/dpkg.log)",
    "mkfifo /srv/pipe; (cat $S > /srv/pipe &); cat /srv/pipe > /dev/null",
    "cd /srv; ulimit -c unlimited 2>/dev/null || true; T=\"$(cat $S)\" sh -c 'kill -ABRT $$' || true; ls",
    "sh -c 'exec sleep 1000' \"$(cat $S)\" & sleep 0.1",
    "export TOKEN=\"$(cat $S)\"",
];

#[test]
fn what_is_not_kept_is_nowhere() {
    for run in NOT_KEPT {
        let lab = lab(run, "");
        let ended = build(&lab);
        assert!(!is_in(ended.stderr.as_bytes(), &forms()), "{run}: {}", ended.stderr);
        ended.succeeds();
        assert_nowhere(&lab);
    }
}

/// docs/secrets.md says so: a script that wants to can always.
#[test]
fn what_cannot_be_caught_is_documented() {
    let document = include_str!("../../docs/secrets.md");
    for (run, row) in [
        ("gzip < $S > /srv/a", "compressed"),
        ("base64 $S | base64 > /srv/a", "in two encodings, one within the other, as `base64 \\| base64`"),
        ("sed 's,/,%2F,; s,+,\\&#43;,' $S > /srv/a", "in two kinds of escapes beside each other"),
        ("od -t u1 $S > /srv/a", "in binary or decimal digits"),
        ("xxd $S | sed 's/^/key: /' > /srv/a", "in a dump with something in front of its lines"),
        (
            "xxd $S | tr ' ' _ > /srv/a",
            "in a dump by `xxd -e` or of a format of its own, or one that `od` shortened with `*`",
        ),
        ("sed 's/./&\\x00/g' $S > /srv/a", "in another encoding, as UTF-16 or quoted-printable"),
        ("rev $S > /srv/a", "changed letter by letter"),
        ("head -c 12 $S > /srv/a; tail -c +13 $S > /srv/b", "in parts, in several files"),
        ("sha256sum $S > /srv/a", "a digest of it"),
    ] {
        build(&lab(run, "")).succeeds();
        assert!(document.contains(&format!("| {row} |")), "{row}");
    }
}

#[test]
fn what_a_failed_step_had_made_is_kept_unless_it_has_the_secret() {
    let clean = lab("echo innocent > /srv/a; exit 3", "");
    assert_eq!(build(&clean).status, 1);
    let seen = clean.run(&["shell", "--failed", "ws/uses", "--", "cat", "/srv/a"]);
    assert_eq!(seen.stdout, "innocent\n", "{}", seen.stderr);
    let leaky = lab("cat $S > /srv/a; exit 3", "");
    let ended = build(&leaky);
    assert!(ended.stderr.contains("what it had made is not kept: it has a secret"), "{}", ended.stderr);
    assert_nowhere(&leaky);
}

#[test]
fn a_killed_build_leaves_nothing_of_it() {
    let lab = lab("cat $S > /dev/null; echo begun; exec sleep 1000", "");
    let mut child = lab.command(&[&BUILD[..], &GIVEN].concat()).spawn().unwrap();
    let (start, path) = (Instant::now(), lab.path("../cache/logs/seeded/ws/uses.log"));
    while !fs::read_to_string(&path).is_ok_and(|said| said.contains("begun")) {
        assert!(start.elapsed() < Duration::from_secs(60), "the stage does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    let line = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(!is_in(&line, &forms()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(["0", "1"].contains(&core.split_whitespace().nth(4).unwrap()), "{core}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_nowhere(&lab);
}

/// The lines of a key are found one by one, its armour, which certificates have as well, is not.
#[test]
fn lines_of_a_secret_count_and_armour_does_not() {
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----\n";
    let lab = lab("head -n 2 $S | tail -n 1; head -n 1 $S > /srv/begin; sed -n 3p $S > /srv/third", "");
    give(&lab, key);
    let ended = build(&lab);
    assert!(
        ended.stderr.contains("caused by: `/srv/third` has the secret `TOKEN`, its line 3, as it is"),
        "{}",
        ended.stderr
    );
    assert_eq!(log(&lab), "[secret TOKEN]\n");
    lab.edit("ibuild.toml", "; sed -n 3p", "; true ");
    lab.edit("ibuild.toml", " > /srv/third", "");
    build(&lab).succeeds();
}

fn ran(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines().filter_map(|line| line.strip_prefix("run     "));
    lines.filter_map(|line| line.split("  ").next()).collect()
}

#[test]
fn another_value_is_a_hit_unless_it_affects_the_output() {
    let by_name = lab("wc -c < $S > /srv/a", "");
    assert!(ran(&build(&by_name)).contains(&"ws/uses"));
    give(&by_name, "another value of the token");
    assert_eq!(ran(&build(&by_name)), [] as [&str; 0]);
    // All is there: nobody needs the secret.
    by_name.run(&BUILD).succeeds();

    let by_value = with_steps(
        "{ name = \"uses\", secrets = [{ name = \"TOKEN\", affects-output = true }], run = 'wc -c < $S > /srv/a' },\n",
    );
    build(&by_value).succeeds();
    assert_eq!(ran(&build(&by_value)), [] as [&str; 0]);
    give(&by_value, "another value of the token");
    let again = build(&by_value);
    assert!(again.stderr.contains("run     ws/uses  secret TOKEN: something else\n"), "{}", again.stderr);
    assert_eq!(by_value.run(&["cat", "ws/uses", "/srv/a"]).succeeds(), "26\n");
    let told = by_value.run(&["explain", "ws/uses", GIVEN[0], GIVEN[1]]).succeeds();
    assert!(told.contains("secret TOKEN: something else") && !told.contains("another value"), "{told}");
    give(&by_value, TOKEN);
    assert!(ran(&build(&by_value)).contains(&"ws/uses"), "without the newline it is another value");
    assert_nowhere(&by_value);
}

fn keys(lab: &Sandbox) -> Vec<String> {
    let ls = lab.run(&["cache", "ls", "--json"]).json();
    let stages = ls["stages"].as_array().unwrap().iter();
    stages.filter(|it| it["stage"] == "ws/uses").map(|it| it["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_by_value_is_of_one_store_and_a_key_by_name_of_all() {
    let step =
        |secret: &str| format!("{{ name = \"uses\", secrets = [{secret}], run = 'wc -c < $S > /srv/a' }},\n");
    let key = |secret: &str| {
        let lab = with_steps(&step(secret));
        build(&lab).succeeds();
        let keys = keys(&lab);
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys
    };
    assert_eq!(key("\"TOKEN\""), key("\"TOKEN\""));
    let by_value = "{ name = \"TOKEN\", affects-output = true }";
    assert_ne!(key(by_value), key(by_value));
}

#[test]
fn a_missing_secret_is_an_error_before_any_work() {
    let above = "{ name = \"more\", secrets = [\"TOKEN\", \"LICENCE\"], run = \"true\" },";
    let lab = lab("true", above);
    let hint = "hint: give it with `--secret LICENCE=FILE`, or with `LICENCE = \"FILE\"` under `[secrets]` in `ibuild.local.toml`\n";
    lab.run(&BUILD).fails(
        2,
        "error: the secrets `LICENCE` and `TOKEN` are not given: `ws/uses` needs `TOKEN`, `ws/more` may need `TOKEN` and `LICENCE`\n\
         hint: give it with `--secret TOKEN=FILE`, or with `TOKEN = \"FILE\"` under `[secrets]` in `ibuild.local.toml`\n",
    );
    build(&lab).fails(2, &format!("error: the secret `LICENCE` is not given: `ws/more` may need it\n{hint}"));
    lab.run(&["build", "--until", "ws/uses", GIVEN[0], GIVEN[1]]).succeeds();
    build(&lab).fails(2, &format!("error: the secret `LICENCE` is not given: `ws/more` needs it\n{hint}"));
    let plan = lab.run(&["plan", "ws.rootfs.tar.zst", GIVEN[0], GIVEN[1]]).succeeds();
    assert!(plan.ends_with("secret  ws/more needs `TOKEN`; `LICENCE`, which is not given\n"), "{plan}");
    let plan = lab.run(&["plan", "ws.rootfs.tar.zst", "--json"]).json();
    assert_eq!(plan["secrets"][0]["stage"], "ws/more");
    assert_eq!(plan["secrets"][0]["secrets"][0]["given"], false);
    // What is there needs none; what is asked for again does.
    lab.run(&["build", "--until", "ws/uses"]).succeeds();
    let forced = lab.run(&["build", "--until", "ws/uses", "--from", "ws/uses"]);
    assert_eq!((forced.status, forced.stderr.contains("`ws/uses` needs it")), (2, true), "{}", forced.stderr);
}

#[test]
fn settings_have_secrets_too() {
    let lab = lab("wc -c < $S > /srv/a", "");
    lab.write("ibuild.local.toml", "[secrets]\nTOKEN = \"../given/token\"\nUNUSED = \"nowhere\"\n");
    lab.run(&BUILD).succeeds();
    assert_eq!(lab.run(&["cat", "ws/uses", "/srv/a"]).succeeds(), "24\n");
    lab.edit("ibuild.toml", "wc -c", "wc  -c");
    fs::remove_file(lab.path("../given/token")).unwrap();
    let missing = lab.run(&BUILD);
    assert_eq!(missing.status, 2);
    assert!(
        missing.stderr.contains("given/token` cannot be the secret `TOKEN`: there is no such file\n"),
        "{}",
        missing.stderr
    );
    // Who does not need it does not hear of that.
    lab.run(&["ls", "ws/uses"]).succeeds();
    lab.run(&["plan"]).succeeds();
    lab.write("../given/token", "readable by all others");
    let noted = lab.run(&BUILD);
    assert!(noted.stderr.contains("can be read by other users: `chmod 600` it"), "{}", noted.stderr);
    noted.succeeds();
}

#[test]
fn wrong_secrets_are_usage_errors() {
    let lab = lab("true", "");
    let check = |given: &str, expected: &str| {
        let ended = lab.run(&["build", "--secret", given]);
        assert_eq!(ended.status, 2, "{given}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{given}: {}", ended.stderr);
    };
    check("TOKN=../given/token", "error: no step asks for the secret `TOKN`\nhint: did you mean `TOKEN`?\n");
    check("TOKEN=../given", "`../given` cannot be the secret `TOKEN`: it is a directory");
    check("TOKEN=/dev/zero", "it is neither a file nor a pipe");
    check("TOKEN", "write `NAME=FILE`");
    lab.write("../given/short", "1234567\n");
    check(
        "TOKEN=../given/short",
        "it has 7 bytes without the white space at its ends, and a secret has at least 8",
    );
    let twice = lab.run(&["build", GIVEN[0], GIVEN[1], GIVEN[0], GIVEN[1]]);
    assert!(twice.stderr.contains("error: the secret `TOKEN` is given twice"), "{}", twice.stderr);
}

#[test]
fn a_pipe_gives_a_secret() {
    let lab = lab("wc -c < $S > /srv/a", "");
    let line =
        format!("exec {} verify ws/uses --secret TOKEN=<(printf %s {TOKEN})", env!("CARGO_BIN_EXE_ibuild"));
    let mut command = Command::new("bash");
    command.args(["-c", &line]).current_dir(lab.path("")).env("IBUILD_CACHE_DIR", lab.path("../cache"));
    let output = command.output().unwrap();
    lab.finish(output).succeeds();
    assert_eq!(lab.run(&["cat", "ws/uses", "/srv/a"]).succeeds(), format!("{}\n", TOKEN.len()));
}

#[test]
fn shells_and_verifications_have_it_if_it_is_given() {
    let lab = lab("wc -c < $S > /srv/a; head -c 8 /dev/urandom > /srv/b", "");
    build(&lab).succeeds();
    let shell = |more: &[&str]| {
        lab.run(
            &[&["shell"], more, &["ws/uses", "--", "sh", "-c", "wc -c < /run/ibuild/secrets/TOKEN"]].concat(),
        )
    };
    assert_eq!(shell(&GIVEN).stdout, "24\n");
    assert_ne!(shell(&[]).status, 0);
    let without = lab.run(&["verify", "ws/uses"]);
    assert_eq!(
        (without.status, without.stderr.contains("`ws/uses` needs it")),
        (2, true),
        "{}",
        without.stderr
    );
    let with = lab.run(&["verify", "ws/uses", GIVEN[0], GIVEN[1], "--keep", "kept"]);
    assert_eq!(with.status, 1, "{}", with.stderr);
    assert!(with.stdout.contains("ws/uses  1 file differs\n  /srv/b  content\n"), "{}", with.stdout);
    assert_nowhere(&lab);
}

/// A run that leaks only when it is verified shows and keeps nothing of it.
#[test]
fn a_second_run_is_searched_as_well() {
    let lab =
        lab("if [ -s $S ] && [ $(wc -c < $S) -gt 24 ]; then cat $S > /srv/a; else echo x > /srv/a; fi", "");
    build(&lab).succeeds();
    give(&lab, &format!("{TOKEN}\n\n"));
    let verified = lab.run(&["verify", "ws/uses", GIVEN[0], GIVEN[1], "--keep", "kept"]);
    let said = verified.stdout + &verified.stderr;
    assert_eq!(verified.status, 1, "{said}");
    assert!(said.contains("`/srv/a` has the secret `TOKEN`, as it is"), "{said}");
    assert!(!is_in(said.as_bytes(), &forms()));
    assert_nowhere(&lab);
}

#[test]
fn a_check_and_a_script_of_a_directory_have_secrets() {
    let lab = Sandbox::empty();
    for (name, text) in [("10-with", format!("test -s {S}")), ("20-without", format!("test ! -e {S}"))] {
        let name = format!("scripts/{name}");
        lab.write(&name, &format!("#!/bin/sh -e\n{text}\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(lab.path(&name), mode).unwrap();
    }
    let steps = "{ scripts = [\"scripts\"], settings.10-with = { secrets = [\"TOKEN\"] } },\n\
         { name = \"sane\", secrets = [\"TOKEN\"], check = 'cat $S; cp $S /srv/a' },\n";
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), &steps.replace("$S", S));
    give(&lab, TOKEN);
    build(&lab).succeeds();
    assert_nowhere(&lab);
}
