//! The jobs of docs/ci.md, line by line, in a repository of README's project: on a push with a tag, twice, the second time on another runner.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Lab;
use crate::documents::blocks;

/// `ibuild test` boots machines of a real Debian: the end-to-end test does that.
const NOT_HERE: &str = "ibuild test ";

/// The commands of a GitHub job (`- run: COMMAND`), or of a GitLab job (lines of `script:`).
fn commands(yaml: &str) -> Vec<String> {
    let github = yaml.lines().filter_map(|line| line.trim().strip_prefix("- run: "));
    let script = yaml.lines().skip_while(|line| line.trim() != "script:").skip(1);
    let gitlab = script.map_while(|line| line.strip_prefix("    - "));
    github.chain(gitlab).map(str::to_owned).collect()
}

/// As a runner does it: each command of GitHub in a shell of its own, those of GitLab in one.
fn job(lab: &Lab, yaml: &str, gpg: &Path, store: &str) {
    let commands: Vec<_> = commands(yaml).into_iter().filter(|it| !it.starts_with(NOT_HERE)).collect();
    assert!(commands.len() > 4, "{yaml}");
    let scripts = if yaml.contains("- run: ") { commands } else { vec![commands.join("\n")] };
    for script in scripts {
        let mut shell = lab.shell(&script);
        let names = [
            ("BEFORE", "HEAD~1"),
            ("GITHUB_REF_NAME", "v1.0"),
            ("CI_PIPELINE_SOURCE", "push"),
            ("CI_COMMIT_BEFORE_SHA", "HEAD~1"),
            ("CI_COMMIT_TAG", "v1.0"),
            ("IBUILD_CACHE_DIR", store),
        ];
        let output = shell.envs(names).env("GNUPGHOME", gpg).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A key for releases, and a history of two commits.
fn prepare(lab: &Lab, gpg: &Path) {
    let run = |script: &str| {
        let output = lab.shell(script).env("GNUPGHOME", gpg).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(gpg.join("gpg.conf"), "batch\npinentry-mode loopback\npassphrase ''\n").unwrap();
    run("gpg --quick-generate-key release@example.org ed25519 sign never");
    run("ibuild build && rm -r out && git init -q && printf '%s\\n' out store.ibuild release > .gitignore");
    let commit = "git add -A && git -c user.name=me -c user.email=me@example.org commit -qm";
    run(&format!("{commit} one && echo >> ibuild.toml && {commit} two"));
}

#[test]
fn jobs_are_run() {
    let document = include_str!("../../docs/ci.md");
    let jobs = blocks(document, "yaml");
    assert_eq!(jobs.len(), 2);
    for yaml in jobs {
        let (lab, gpg) = (Lab::new(), tempfile::tempdir_in("/var/tmp").unwrap());
        prepare(&lab, gpg.path());
        let project = lab.dir.path().join("project");
        job(&lab, yaml, gpg.path(), "../one");
        assert!(project.join("release/SHA256SUMS.gpg").is_file() && project.join("store.ibuild").is_file());
        // The next runner has nothing but the file of the cache; the release is the same and gets new signatures.
        fs::remove_dir_all(project.join("out")).unwrap();
        job(&lab, yaml, gpg.path(), "../two");
        let kill = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", gpg.path()).status();
        assert!(kill.unwrap().success());
    }
}
