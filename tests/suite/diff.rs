//! `ibuild diff`, and the past of a stage by `@N`, over a root file system of one busybox. Needs root.

use serde_json::Value;

use crate::harness::Sandbox;

const STEPS: &str = r#"
  { name = "words", run = "printf 'one\ntwo\nthree\n' > /srv/words; echo x > /srv/gone; chmod 644 /srv/words" },
  { name = "status", run = "mkdir -p /var/lib/dpkg; cat /run/ibuild/in/status > /var/lib/dpkg/status", inputs = ["status"] },
"#;

fn status(packages: &[(&str, &str)]) -> String {
    let paragraph = |(name, version): &(&str, &str)| {
        format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: all\n\n")
    };
    packages.iter().map(paragraph).collect()
}

/// Built twice, with an edit between.
fn lab() -> Sandbox {
    let lab = Sandbox::empty();
    lab.write("status", &status(&[("a", "1.0"), ("b", "2.0"), ("c", "3.0")]));
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab.run(&["build"]).succeeds();
    lab.edit("ibuild.toml", "two", "TWO");
    lab.edit("ibuild.toml", "echo x > /srv/gone; chmod 644", "ln -s words /srv/link; chmod 600");
    lab.write("status", &status(&[("a", "1.1"), ("b", "1.9"), ("d", "1")]));
    lab.run(&["build"]).succeeds();
    lab
}

#[test]
fn two_builds_of_a_stage_are_compared() {
    let lab = lab();
    let said = lab.run(&["diff", "ws/words@1", "ws/words"]).succeeds();
    let expected = "- /srv/gone  file 0644 0:0 2 B\n\
                    + /srv/link  link 0777 0:0 -> words\n\
                    ~ /srv/words  content (14 B), mode 0644 -> 0600\n\
                    @@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n\
                    3 files differ\n";
    assert_eq!(said, expected);
    let said = lab.run(&["diff", "--stat", "words", "words"]).succeeds();
    assert_eq!(said, "no difference\n");
    assert_eq!(lab.run(&["cat", "words@1", "/srv/words"]).succeeds(), "one\ntwo\nthree\n");
    assert!(lab.run(&["ls", "words@1", "/srv"]).succeeds().contains("gone"));
}

#[test]
fn packages_and_images_are_compared() {
    let lab = lab();
    let said = lab.run(&["diff", "--stat", "ws.rootfs.tar.zst@1", "ws.rootfs.tar.zst"]).succeeds();
    let packages: Vec<_> = said.lines().filter(|line| line.starts_with("package")).collect();
    let expected = [
        "package upgraded  a:all  1.0 -> 1.1",
        "package downgraded  b:all  2.0 -> 1.9",
        "package removed  c:all  3.0",
        "package installed  d:all  1",
    ];
    assert_eq!(packages, expected);
    assert!(said.ends_with("4 files differ, 4 packages\n"), "{said}");
    let json = lab.run(&["diff", "--json", "ws.rootfs.tar.zst@1", "ws.rootfs.tar.zst"]).json();
    assert_eq!((&json["v"], json["files"].as_array().unwrap().len()), (&Value::from(1), 4));
    assert_eq!(json["packages"][2]["change"], "removed");
    let words = json["files"].as_array().unwrap().iter().find(|file| file["path"] == "/srv/words").unwrap();
    assert_eq!((&words["change"], &words["old"]["mode"]), (&"changed".into(), &"0644".into()));
    assert!(words["diff"].as_str().unwrap().contains("-two\n+TWO\n"), "{words}");
}

#[test]
fn builds_are_listed_and_summed_up() {
    let lab = lab();
    let builds = lab.run(&["builds", "--json"]).json();
    let builds = builds["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 2);
    assert_eq!(
        (&builds[0]["build"], &builds[0]["run"], &builds[0]["cached"]),
        (&2.into(), &3.into(), &1.into())
    );
    let manifest = std::fs::read_to_string(lab.path("out/ws.rootfs.tar.zst.manifest.json")).unwrap();
    assert!(manifest.contains(builds[0]["blake3"][0].as_str().unwrap()), "{builds:#?}");
    assert_eq!(lab.run(&["builds", "--last", "1"]).succeeds().lines().count(), 2);
    let stats = lab.run(&["stats", "--json"]).json();
    assert_eq!((&stats["builds"], &stats["run"], &stats["cached"]), (&2.into(), &6.into(), &2.into()));
    let said = lab.run(&["stats"]).succeeds();
    assert!(said.starts_with("2 builds: 6 stages ran, 2 came out of the store (25 %)\n"), "{said}");
    assert!(said.contains("ws/words"), "{said}");
}

#[test]
fn what_is_not_there_is_told() {
    let lab = lab();
    lab.run(&["diff", "ws/words@9", "ws/words"]).fails(
        2,
        "error: there is no build 9 builds back that needed `ws/words`\n\
         hint: builds in which nothing ran are not counted; 0 is the last one\n",
    );
    let unknown = lab.run(&["diff", "ws/wrds", "ws/words"]);
    assert!(unknown.status == 2 && unknown.stderr.contains("`ws/words`"), "{unknown:?}");
}
