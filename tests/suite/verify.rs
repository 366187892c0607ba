//! `ibuild verify` over a root file system of one busybox. Needs root.

use serde_json::Value;

use crate::harness::Sandbox;

/// All stages but the bootstrap, which nobody can run: it was put into the store by hand.
const STAGES: [&str; 5] = ["ws/same", "ws/clock", "ws/dice", "ws/name", "ws/sane"];

const NOISE: &str = r#"
  { name = "same", run = "echo same > /srv/same" },
  { name = "clock", run = "mkdir /srv/c; date +%s > /srv/c/built; echo x > /srv/c/x" },
  { name = "dice", run = "head -c 24 /dev/urandom | od -An -tx1 > /srv/dice; chmod 6$((RANDOM % 7))0 /srv/same" },
  { name = "name", run = "mktemp -p /srv tmp.XXXXXX; mkdir -m 700 /srv/d" },
  { name = "sane", check = "test -e /srv/dice" },
"#;

fn lab(steps: &str) -> Sandbox {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), steps);
    lab
}

/// The same, built more than a second ago: the clock of a busybox has whole seconds.
fn built() -> Sandbox {
    let lab = lab(NOISE);
    lab.run(&["build", "--target", "ws.rootfs.tar.zst"]).succeeds();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    lab
}

/// What is said of each stage, by its name.
fn verified(lab: &Sandbox, more: &[&str]) -> (i32, Vec<Value>) {
    let outcome = lab.run(&[&["verify", "--json"], more].concat());
    let events = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (outcome.status, events.filter(|event| event["event"] == "verified").collect())
}

fn of<'v>(events: &'v [Value], stage: &str) -> &'v Value {
    events.iter().find(|event| event["stage"] == stage).unwrap_or_else(|| panic!("{stage}: {events:#?}"))
}

#[test]
fn each_difference_is_found_in_its_stage_with_its_cause() {
    let lab = built();
    let (status, events) = verified(&lab, &STAGES);
    assert_eq!(status, 1);
    for equal in ["ws/same", "ws/sane"] {
        assert_eq!(of(&events, equal)["outcome"], "equal");
    }
    let clock = of(&events, "ws/clock");
    assert_eq!(clock["files"].as_array().unwrap().len(), 1, "{clock:#}");
    assert_eq!(clock["files"][0]["path"], "/srv/c/built");
    assert_eq!(clock["files"][0]["cause"], "clock");
    assert_eq!(clock["files"][0]["call"]["line"], 1);
    let dice = of(&events, "ws/dice");
    let file = |path: &str| {
        let files = dice["files"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).cloned().unwrap_or_default()
    };
    assert_eq!(file("/srv/dice")["cause"], "random-bytes", "{dice:#}");
    let name = of(&events, "ws/name");
    let aspects: Vec<_> =
        name["files"].as_array().unwrap().iter().map(|file| file["aspects"][0].clone()).collect();
    assert_eq!(aspects.len(), 2, "{name:#}");
    assert!(aspects.contains(&"missing".into()) && aspects.contains(&"extra".into()), "{name:#}");
    assert!(
        name["files"].as_array().unwrap().iter().all(|file| file["cause"] == "temporary-name"),
        "{name:#}"
    );
}

/// What is compared is thrown away: results, logs and the plan are what they were, but for the word that a stage differed.
#[test]
fn nothing_in_the_store_changes() {
    let lab = built();
    let state = || {
        let built = lab.run(&["cat", "ws/dice", "/srv/dice"]).stdout;
        let ls = lab.run(&["cache", "ls", "--json"]).json();
        let keys: Vec<_> = ls["stages"].as_array().unwrap().iter().map(|it| it["key"].clone()).collect();
        (
            built,
            keys,
            lab.run(&["log", "ws/name"]).succeeds(),
            lab.run(&["plan", "--json"]).json()["run"].clone(),
        )
    };
    let before = state();
    let outcome = lab.run(&[&["verify"], &STAGES[..]].concat());
    assert_eq!(outcome.status, 1, "{outcome:?}");
    assert_eq!(state(), before);
    let fsck = lab.run(&["cache", "fsck"]).succeeds();
    assert!(fsck.contains("no damage") || !fsck.contains("removed"), "{fsck}");
}

#[test]
fn people_read_what_differs_and_what_to_do() {
    let lab = built();
    let outcome = lab.run(&["verify", "ws/clock", "ws/same"]);
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let said = &outcome.stdout;
    assert!(
        said.starts_with("ws/clock  1 file differs\n  /srv/c/built  content\n    @@ -1 +1 @@\n"),
        "{said}"
    );
    assert!(said.contains("    cause: the time of day\n    where: `run` line 1: mkdir "), "{said}");
    assert!(said.contains("    cure:  take `$SOURCE_DATE_EPOCH`"), "{said}");
    assert!(said.ends_with("1 of 2 stages are reproducible\n"), "{said}");
    let error = "error: 1 stage is not reproducible; the first is `ws/clock`\n";
    assert!(outcome.stderr.ends_with(error), "{}", outcome.stderr);
    let equal = lab.run(&["verify", "ws/same"]).succeeds();
    assert_eq!(equal, "1 stage is reproducible\n");
}

#[test]
fn reports_are_written_for_servers_and_for_people() {
    let lab = built();
    let report = ["--junit", "junit.xml", "--report", "report.html", "--keep", "kept"];
    lab.run(&[&["verify", "ws/clock", "ws/same"][..], &report].concat());
    let read = |name: &str| std::fs::read_to_string(lab.path(name)).unwrap();
    let junit = read("junit.xml");
    assert!(junit.contains("tests=\"2\" failures=\"1\""), "{junit}");
    assert!(junit.contains("<failure message=\"not reproducible: /srv/c/built\">"), "{junit}");
    crate::harness::assert_balanced(junit.split_once('\n').unwrap().1);
    let page = read("report.html");
    assert!(
        !page.contains("Revision") && page.contains("Built 20") && page.contains("Verified 20"),
        "{page}"
    );
    assert!(page.contains("/srv/c/built") && page.contains("the time of day"), "{page}");
    assert!(!page.contains("http"), "a page of its own fetches nothing");
    let (first, second) = (read("kept/ws/clock/1/srv/c/built"), read("kept/ws/clock/2/srv/c/built"));
    assert_ne!(first, second);
    assert_eq!(lab.run(&["cat", "ws/clock", "/srv/c/built"]).stdout, first);
    assert!(!lab.exists("kept/ws/clock/1/srv/c/x"));
}

#[test]
fn only_what_is_new_since_a_build_or_a_revision_is_verified() {
    let lab = built();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(lab.path("")).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    };
    lab.run(&["build", "--target", "ws.rootfs.tar.zst"]).succeeds();
    git(&["init", "-q"]);
    git(&["add", "--force", "--all"]);
    git(&["commit", "-qm", "first"]);
    lab.edit("ibuild.toml", "test -e /srv/dice", "test -e /srv/dice -a -e /srv/c");
    lab.edit("ibuild.toml", "mkdir -m 700 /srv/d", "mkdir -m 700 /srv/e");
    lab.run(&["build", "--target", "ws.rootfs.tar.zst"]).succeeds();
    for (since, expected) in [("HEAD", 3), ("@1", 3), ("@0", 0), ("1", 3), ("2", 0)] {
        let (status, events) = verified(&lab, &["--since", since, "ws.rootfs.tar.zst"]);
        assert_eq!(events.len(), expected, "--since {since}: {events:#?}");
        assert_eq!(status, i32::from(expected > 0), "--since {since}");
    }
    lab.run(&["verify", "--since", "nowhere"]).fails(
        2,
        "error: `nowhere` is neither a build nor a revision of git here\n\
         hint: a number or `@N` names a build, `HEAD~1` or `main` a revision; a shallow clone has few of them\n",
    );
    lab.run(&["verify", "--since", "99"])
        .fails(2, "error: there is no build `99` of this project\nhint: the last one is 2, or `@0`\n");
}

#[test]
fn a_sample_is_drawn_again_by_its_seed() {
    let lab = built();
    let names = |seed: &str| {
        let (_, events) = verified(&lab, &[&["--sample", "50%", "--seed", seed], &STAGES[..]].concat());
        events.iter().map(|event| event["stage"].to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names("7"), names("7"));
    assert!((0..6).any(|seed| names(&seed.to_string()) != names("7")));
}

/// A stage that fails only sometimes is as little reproducible as one that makes something else.
#[test]
fn a_stage_that_fails_the_second_time_is_told_apart() {
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let until = now() + 6;
    let steps = format!(
        "{{ name = \"luck\", run = \"test $(date +%s) -lt {until}\" }}, {{ name = \"sane\", check = \"true\" }},"
    );
    let lab = lab(&steps);
    lab.run(&["build", "--until", "ws/sane"]).succeeds();
    while now() <= until {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let (status, events) = verified(&lab, &["ws/luck", "ws/sane"]);
    assert_eq!(status, 1);
    assert_eq!(of(&events, "ws/luck")["outcome"], "failed");
    assert_eq!(of(&events, "ws/sane")["outcome"], "equal");
    let plan = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    assert!(!plan.contains("failed"), "a failure of a verification is none of the stage: {plan}");
}

#[test]
fn mistakes_are_told() {
    let lab = lab(NOISE);
    let unknown = lab.run(&["verify", "ws/clok"]);
    assert!(unknown.status == 2 && unknown.stderr.contains("`ws/clock`"), "{unknown:?}");
    let share = lab.run(&["verify", "--sample", "200%"]);
    assert!(share.status == 2 && share.stderr.contains("above 0 and at most 1"), "{share:?}");
}

const MACHINE: &str = r#"
  { name = "many", run = "mkdir /srv/d; for n in $(seq 40); do echo > /srv/d/file-$n; done" },
  { name = "order", run = "find /srv/d > /srv/order; find /srv/d | sort > /srv/sorted" },
  { name = "cpus", run = "nproc > /srv/cpus; echo fixed > /srv/other" },
  { name = "memory", run = "awk '/MemTotal/ { print int($2 / 1048576) }' /proc/meminfo > /srv/memory" },
  { name = "disk", run = "df -k / | awk 'NR > 1 { print $4 }' > /srv/disk" },
  { name = "month", run = "date +%Y%m > /srv/month" },
  { name = "kernel", run = "uname -r > /srv/kernel; hostname > /srv/host; umask > /srv/umask" },
  { name = "picky", run = "test $(nproc) -ne 13" },
  { name = "fixed", run = "nproc > /srv/fixed", machine = { cpus = 2 } },
"#;

#[test]
fn what_depends_on_the_machine_is_found_and_named() {
    let lab = lab(MACHINE);
    let stages = ["many", "order", "cpus", "memory", "disk", "month", "kernel", "picky", "fixed"]
        .map(|name| format!("ws/{name}"));
    let stages: Vec<_> = stages.iter().map(String::as_str).collect();
    lab.run(&["build", "--until", "ws/fixed"]).succeeds();
    let (status, events) = verified(&lab, &stages);
    assert_eq!(status, 0, "{events:#?}");
    let (status, events) = verified(&lab, &[&["--vary", "all"], &stages[..]].concat());
    assert_eq!(status, 1);
    for (name, path, varied, cause) in [
        ("order", "/srv/order", "readdir", "directory-order"),
        ("cpus", "/srv/cpus", "cpus", "cpus"),
        ("memory", "/srv/memory", "memory", "memory"),
        ("disk", "/srv/disk", "disk", "disk-space"),
        ("month", "/srv/month", "clock", "clock"),
    ] {
        let event = of(&events, &format!("ws/{name}"));
        assert_eq!(event["files"].as_array().unwrap().len(), 1, "{event:#}");
        let file = &event["files"][0];
        assert_eq!(
            (&file["path"], &file["varied"], &file["cause"]),
            (&path.into(), &[varied].into(), &cause.into()),
            "{event:#}"
        );
    }
    let picky = of(&events, "ws/picky");
    assert_eq!((&picky["outcome"], &picky["varied"]), (&"failed".into(), &["cpus"].into()), "{picky:#}");
    for name in ["many", "kernel", "fixed"] {
        assert_eq!(of(&events, &format!("ws/{name}"))["outcome"], "equal", "{events:#?}");
    }
}

/// A difference that a recipe accepts is shown everywhere, and is no failure.
#[test]
fn differences_are_remembered_and_can_be_accepted() {
    let lab = built();
    assert_eq!(lab.run(&["verify", "ws/clock", "ws/same"]).status, 1);
    let plan = lab.run(&["plan", "ws.rootfs.tar.zst"]).succeeds();
    assert!(
        plan.contains("ws/clock           not reproducible: /srv/c/built (1 of 1 runs differed)\n"),
        "{plan}"
    );
    let explained = lab.run(&["explain", "ws/clock"]).succeeds();
    assert!(explained.contains("  not reproducible: /srv/c/built (1 of 1 runs differed)\n"), "{explained}");
    let graph = lab.run(&["graph", "--format", "json"]).json();
    let differed = |stage: &str| {
        let stages = graph["stages"].as_array().unwrap();
        stages.iter().find(|it| it["stage"] == stage).unwrap()["differed"].clone()
    };
    assert_eq!((differed("ws/clock"), differed("ws/same")), (["/srv/c/built"].into(), Value::Null));
    assert!(lab.run(&["graph", "--format", "mermaid"]).succeeds().contains("≠ ws/clock"));
    let ls = lab.run(&["cache", "ls", "--json"]).json();
    let listed = ls["stages"].as_array().unwrap().iter().find(|it| it["stage"] == "ws/clock").unwrap();
    assert_eq!((&listed["compared"], &listed["differed"]), (&1.into(), &1.into()));
    lab.edit("ibuild.toml", "name = \"clock\", run", "name = \"clock\", reproducible = false, run");
    let accepted = lab.run(&["verify", "ws/clock", "ws/same"]);
    assert_eq!(accepted.status, 0, "{accepted:?}");
    assert!(accepted.stderr.contains("waived  ws/clock"), "{accepted:?}");
    let sum = "1 of 2 stages are reproducible; 1 difference that `reproducible = false` accepts\n";
    assert!(accepted.stdout.ends_with(sum), "{accepted:?}");
    let built = lab.run(&["build", "ws.rootfs.tar.zst"]);
    let note = "note    ws.rootfs.tar.zst  not reproducible: `ws/clock` says `reproducible = false`\n";
    assert!(built.stderr.contains(note), "{built:?}");
    assert!(built.stdout.contains("0 run"), "it is in no key: {built:?}");
}

/// The results of somebody else are compared by their digests: another store, or what lies beside an image.
#[test]
fn somebody_elses_results_are_compared_without_their_bytes() {
    let lab = built();
    let against = |other: &str| lab.run(&["verify", "ws.rootfs.tar.zst", "--against", other]);
    let same = against("out").succeeds();
    assert!(same.ends_with("7 stages: 7 same\n"), "{same}");
    std::fs::create_dir(lab.path("theirs")).unwrap();
    let copy = |from: &str, to: &str| std::fs::copy(lab.path(from), lab.path(to)).unwrap();
    copy("out/ws.rootfs.tar.zst.manifest.json", "theirs/ws.rootfs.tar.zst.manifest.json");
    assert_eq!(against("theirs/ws.rootfs.tar.zst.manifest.json").status, 0);
    // What lies beside the manifest counts, whatever that says.
    lab.write("theirs/ws.rootfs.tar.zst", "something else");
    let other = against("theirs");
    assert_eq!(other.status, 1, "{other:?}");
    assert!(
        other.stderr.ends_with("error: the first stage that differs is `ws.rootfs.tar.zst`\n"),
        "{other:?}"
    );
    std::fs::remove_file(lab.path("theirs/ws.rootfs.tar.zst")).unwrap();
    let manifest = std::fs::read_to_string(lab.path("theirs/ws.rootfs.tar.zst.manifest.json")).unwrap();
    let (at, _) = manifest.match_indices("\"b3:").nth(2).unwrap();
    let edited = format!("{}{}{}", &manifest[..at + 4], "0123456789ab", &manifest[at + 16..]);
    lab.write("theirs/ws.rootfs.tar.zst.manifest.json", &edited);
    let other = against("theirs");
    assert!(other.stdout.contains("differs ws/clock  b3:"), "{other:?}");
    assert!(other.stderr.ends_with("error: the first stage that differs is `ws/clock`\n"), "{other:?}");
    let store = lab.path("../cache").to_str().unwrap().to_owned();
    assert!(against(&store).succeeds().ends_with("7 stages: 7 same\n"));
    comparison_is_written(&lab);
    lab.write("empty/x", "");
    assert_eq!(against("empty").status, 2);
    assert_eq!(against("nowhere").status, 2);
    lab.write("theirs/ws.rootfs.tar.zst.manifest.json", "{}");
    assert_eq!(against("theirs").status, 2);
}

/// After `theirs` was edited: `ws/clock` differs there. Of another target of this project nothing is known there.
fn comparison_is_written(lab: &Sandbox) {
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(lab.path("")).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
        let said = command.output().unwrap();
        assert!(said.status.success(), "{arguments:?}");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "ibuild.toml"]);
    git(&["commit", "-qm", "first"]);
    let files = ["--against", "theirs", "--junit", "there.xml", "--report", "there.html"];
    let outcome = lab.run(&[&["verify", "ws.rootfs.tar.zst"][..], &files].concat());
    assert_eq!(outcome.status, 1, "{outcome:?}");
    let read = |name: &str| std::fs::read_to_string(lab.path(name)).unwrap();
    let junit = read("there.xml");
    assert!(junit.contains("tests=\"7\" failures=\"1\" errors=\"0\" skipped=\"0\""), "{junit}");
    assert!(junit.contains("name=\"clock\"") && junit.contains("<failure message=\"b3:"), "{junit}");
    crate::harness::assert_balanced(junit.split_once('\n').unwrap().1);
    let page = read("there.html");
    let revision = git(&["rev-parse", "--short", "HEAD"]);
    assert!(page.contains(&format!("Revision <code>{revision}")) && page.contains("Built 20"), "{page}");
    assert!(page.contains("<code>ws/clock</code></td><td class=\"differs\">differs</td><td>b3:"), "{page}");
    let nowhere = lab.run(&["verify", "--against", "theirs", "--junit", "no/such/dir.xml"]);
    assert!(nowhere.stderr.contains("cannot write `no/such/dir.xml`"), "{nowhere:?}");
}

#[test]
fn what_every_stage_sees_alike_is_varied_on_request() {
    let lab = lab(MACHINE);
    let (_, events) = verified(&lab, &["--vary", "kernel,host-name", "ws/kernel", "ws/cpus"]);
    let paths = of(&events, "ws/kernel")["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].clone())
        .collect::<Vec<_>>();
    assert_eq!(paths, ["/srv/host", "/srv/kernel"]);
    assert_eq!(of(&events, "ws/cpus")["outcome"], "equal");
    let wrong = lab.run(&["verify", "--vary", "colour"]);
    assert!(wrong.status == 2 && wrong.stderr.contains("`all`, `clock`"), "{wrong:?}");
}

#[test]
fn what_differs_by_itself_is_not_blamed_on_the_machine() {
    // What differs by itself is not blamed on the machine, whatever it is called in each run.
    let noise = built();
    let (_, events) = verified(&noise, &["--vary", "all", "ws/name", "ws/dice"]);
    for event in &events {
        let files = event["files"].as_array().unwrap();
        assert!(
            !files.is_empty() && files.iter().all(|file| file["varied"] == serde_json::json!([])),
            "{event:#}"
        );
    }
}
