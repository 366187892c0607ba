//! `--profile`: what it builds, that the lock is one for all profiles, and who says which one is used. Needs root.

use crate::harness::Sandbox;

const STEPS: &str = r#"
  { name = "level", run = "echo {vars.level} > /srv/level" },
  { name = "extra", run = "echo extra > /srv/extra", profiles = ["debug"] },
  { name = "tools", packages = ["hello"], profiles = ["never"] },
  { name = "end", run = "ls /srv > /srv/list" },
"#;

const PROFILES: &str = "[vars]\nlevel = \"warn\"\n[profile.never]\n[profile.debug]\nvars = { level = \"debug\" }\n\
    formats = [\"rootfs.tar.zst\", \"oci\"]\n[image.ws]";

fn lab() -> Sandbox {
    let lab = Sandbox::empty();
    const SEED: &str = "{ name = \"seed\", run = \"true\" },\n";
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), SEED);
    lab.edit("ibuild.toml", SEED, STEPS);
    lab.edit("ibuild.toml", "[image.ws]", PROFILES);
    lab
}

#[test]
fn a_profile_builds_something_else_and_the_other_stays_fresh() {
    let lab = lab();
    lab.run(&["build"]).succeeds();
    let seen = |options: &[&str]| {
        let cat = |path: &str| lab.run(&[options, &["cat", "ws", path]].concat()).succeeds();
        (cat("/srv/level"), cat("/srv/list"))
    };
    assert_eq!(seen(&[]), ("warn\n".to_owned(), "level\nlist\n".to_owned()));
    let plan = lab.run(&["plan", "--profile", "debug"]).succeeds();
    assert!(plan.starts_with("profile `debug`\n") && plan.contains("ws/extra"), "{plan}");
    assert_eq!(lab.run(&["plan", "--json", "--profile=debug"]).json()["profile"], "debug");
    lab.run(&["build", "--profile", "debug"]).succeeds();
    assert!(lab.exists("out/ws.oci"));
    assert_eq!(seen(&["--profile", "debug"]), ("debug\n".to_owned(), "extra\nlevel\nlist\n".to_owned()));
    let plan = lab.run(&["plan"]).succeeds();
    assert!(plan.contains("nothing to do") && !plan.contains("profile"), "{plan}");
    lab.run(&["plan", "--profile", "debgu"]).fails_with(2, "did you mean `debug`?");
}

#[test]
fn the_lock_keeps_what_other_profiles_use() {
    let lab = lab();
    let digest = "2".repeat(64);
    let deb = |name: &str, stage: &str| {
        format!(
            "deb debian {name} 1.0 amd64 7 sha256:{digest} main pool/main/h/{name}/{name}_1.0_amd64.deb {stage}\n"
        )
    };
    let release = std::fs::read_to_string(lab.path("ibuild.lock")).unwrap();
    lab.write("ibuild.lock", &(release + &deb("gone", "ws/gone") + &deb("hello", "ws/tools")));
    lab.run(&["build"]).succeeds();
    let lock = std::fs::read_to_string(lab.path("ibuild.lock")).unwrap();
    assert!(lock.contains(&deb("hello", "ws/tools")) && !lock.contains("gone"), "{lock}");
    lab.run(&["build", "--profile", "debug"]).succeeds();
    assert_eq!(std::fs::read_to_string(lab.path("ibuild.lock")).unwrap(), lock);
}
