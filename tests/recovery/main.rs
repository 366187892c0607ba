//! What a store knows is true and survives: a lost index, damaged files, and another state of the archive. Over a real
//! bootstrap, from an archive so small that it takes a tenth of a second.

mod archive;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../harness/signer.rs"]
mod signer;
#[allow(dead_code, reason = "other tests need the rest")]
#[path = "../archives/vendor.rs"]
mod vendor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use archive::Archive;

/// Every kind of step, and what stands on more than one.
const STEPS: &str = r#"
  { name = "tools", packages = ["tool", "lib"] },
  { name = "more", packages = ["tool", "extra"] },
  { name = "files", copy = [{ from = "files", to = "/srv/files" }] },
  { name = "script", script = "scripts/10-x" },
  { name = "run", run = "mkdir /srv/run && cat /run/ibuild/in/files/a > /srv/run/a", inputs = ["files"] },
  { name = "fetch", run = "wget -q -O /srv/tool $URL/pool/tool.deb", network = "packages", env = { URL = "[URL]" } },
  { name = "idle", run = "touch /srv/idle", network = "packages" },
  { name = "from", copy-from = { rootfs = "other", paths = ["/opt/other"] } },
  { name = "sane", check = "test -e /opt/other" },
"#;

/// The stages that each image of that project needs: the two of `base` and `other`, nine steps and itself.
const NEEDED: usize = 12;
/// With both images.
const RESULTS: usize = NEEDED + 1;

struct Lab {
    dir: tempfile::TempDir,
    archive: Archive,
}

/// How a command ended, and all that it said.
struct Ended {
    status: i32,
    all: String,
}

impl Ended {
    #[track_caller]
    fn says(self, status: i32, texts: &[&str]) -> String {
        assert_eq!(self.status, status, "{}", self.all);
        for text in texts {
            assert!(self.all.contains(text), "no {text:?} in {}", self.all);
        }
        self.all
    }
}

impl Lab {
    /// A project of these steps over a base, and its archive with `packages`.
    fn new(steps: &str, packages: &[(&str, &str)]) -> Self {
        let lab = Self { dir: tempfile::tempdir_in("/var/tmp").unwrap(), archive: Archive::new() };
        lab.archive.publish(1, packages);
        let url = lab.archive.vendor.url("a");
        lab.write("vendor.asc", lab.archive.vendor.armoured_key());
        lab.write("files/a", "a");
        lab.write("files/deep/b", "b");
        lab.write("scripts/10-x", "#!/bin/sh\necho x > /srv/x\n");
        let recipe = format!(
            "schema = 1\n[project]\nname = \"lab\"\nepoch = 1767225600\n\
             [archive.a]\nurl = \"{url}\"\nsuites = [\"mini\"]\nkey = \"vendor.asc\"\n\
             [rootfs.base]\nsteps = [{{ name = \"bootstrap\", bootstrap = {{ archive = \"a\" }} }}]\n\
             [rootfs.other]\nfrom = \"base\"\nsteps = [{{ name = \"mk\", run = \"mkdir -p /opt/other/deep\" }}]\n\
             [rootfs.ws]\nfrom = \"base\"\nsteps = [{steps}]\n\
             [image.ws]\nrootfs = \"ws\"\nformats = [\"rootfs.tar.zst\", \"oci\"]\ndisk = {{ size = \"1 GiB\" }}\n"
        );
        lab.write("ibuild.toml", recipe.replace("[URL]", &url));
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn ibuild(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_ibuild"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path())
            .env("IBUILD_CACHE_DIR", self.path("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let all = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        Ended { status: output.status.code().unwrap(), all }
    }

    /// Builds both images, for each of which so many stages have to run.
    #[track_caller]
    fn builds(&self, ran: usize) -> String {
        let targets = ["build", "--target", "ws.rootfs.tar.zst", "--target", "ws.oci"];
        self.ibuild(&targets).says(0, &[&format!(" {ran} run")])
    }

    /// Lets the archive move to the state of another day.
    fn moves(&self, day: u32, packages: &[(&str, &str)]) {
        self.archive.publish(day, packages);
        self.ibuild(&["update"]).says(0, &[]);
    }

    /// A check that finds nothing says nothing but what it looked at.
    #[track_caller]
    fn is_sound(&self) {
        let said = self.ibuild(&["cache", "fsck"]).says(0, &["are whole"]);
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    fn lose_index(&self) {
        fs::remove_dir_all(self.path("cache/index")).unwrap();
    }
}

const PACKAGES: [(&str, &str); 3] = [("tool", "misc"), ("lib", "libs"), ("extra", "misc")];

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A regression: all results that had used packages counted as damaged, were lost with the index, and their files removed.
#[test]
fn a_store_is_sound_and_a_lost_index_loses_no_result() {
    let lab = Lab::new(STEPS, &PACKAGES);
    lab.builds(NEEDED);
    lab.is_sound();
    lab.builds(0);
    let (lock, results) =
        (fs::read(lab.path("ibuild.lock")).unwrap(), files_below(&lab.path("cache/results")));
    assert_eq!(results.len(), RESULTS);
    assert!(String::from_utf8_lossy(&lock).contains("ws/tools"), "{}", String::from_utf8_lossy(&lock));

    // By a build, which looks for what it needs.
    lab.lose_index();
    lab.builds(0);
    lab.is_sound();

    // By a check, which says so and finds no other fault.
    lab.lose_index();
    let texts = ["found    13 results in files beside the index", "13 results and ", "1 fault was found"];
    let said = lab.ibuild(&["cache", "fsck"]).says(1, &texts);
    assert_eq!(said.lines().count(), texts.len(), "{said}");
    lab.builds(0);
    lab.is_sound();
    assert_eq!(fs::read(lab.path("ibuild.lock")).unwrap(), lock, "what stages were made of is known");
    assert_eq!(files_below(&lab.path("cache/results")), results);
}

#[test]
fn a_damaged_results_file_costs_its_stage_and_nothing_else() {
    let lab = Lab::new(STEPS, &PACKAGES);
    lab.builds(NEEDED);
    let files = files_below(&lab.path("cache/results"));
    for (number, file) in files.iter().enumerate() {
        let whole = fs::read(file).unwrap();
        // Torn, of another version, empty: it cannot be read, and so it is not there.
        let damaged = match number % 3 {
            0 => whole[..whole.len() / 2].to_vec(),
            1 => [b"ibuild result 9\n", &whole[16..]].concat(),
            _ => Vec::new(),
        };
        fs::write(file, damaged).unwrap();
    }
    // Nothing is lost yet: the index has all of it, and files are made again from it.
    let said = lab.ibuild(&["cache", "fsck"]).says(1, &["13 faults were found and put right"]);
    assert_eq!(said.matches("damaged  file of the result of ").count(), RESULTS, "{said}");
    lab.builds(0);
    lab.is_sound();
    lab.lose_index();
    lab.builds(0);
}

/// A regression: stages that ran were counted as found, the counter went past its end, and a stage that waited for its own
/// process said that it waits for another one.
#[test]
fn a_build_that_mends_what_is_damaged_tells_what_it_does() {
    let lab = Lab::new(STEPS, &PACKAGES);
    lab.builds(NEEDED);
    for dir in files_below(&lab.path("cache/blobs")) {
        let mut bytes = fs::read(&dir).unwrap();
        if let Some(byte) = bytes.get_mut(20) {
            *byte ^= 0xff;
            fs::remove_file(&dir).unwrap();
            fs::write(&dir, bytes).unwrap();
        }
    }
    fs::remove_dir_all(lab.path("out")).unwrap();
    for layer in fs::read_dir(lab.path("cache/layers")).unwrap() {
        fs::remove_dir_all(layer.unwrap().path()).unwrap();
    }
    // Each finds out about some of it.
    assert_ne!(lab.ibuild(&["shell", "ws/from", "--", "/bin/true"]).status, 0);
    let said = lab.ibuild(&["build", "--target", "ws.rootfs.tar.zst"]).says(0, &["built ws.rootfs.tar.zst"]);
    assert!(!said.contains("waits for another"), "{said}");
    let ran = said.lines().filter(|line| line.starts_with("ran ")).count();
    assert!(said.contains(&format!("  {ran} run, ")), "{ran} ran: {said}");
    let counters = said.split('[').skip(1).filter_map(|rest| rest.split_once(']')?.0.split_once('/'));
    for (settled, total) in counters {
        let [settled, total] = [settled, total].map(|number| number.parse::<usize>().unwrap());
        assert!(settled <= total && total == NEEDED, "{said}");
    }
    lab.ibuild(&["build", "--target", "ws.rootfs.tar.zst"]).says(0, &[" 0 run"]);
}

/// Steps that may install, in each of the ways that there are.
const INSTALLING: &str = r#"
  { name = "tools", packages = ["tool", "lib"] },
  { name = "again", packages = ["tool", "extra"] },
  { name = "nothing", packages = ["lib"] },
  { name = "fetch", run = "wget -q -O /srv/tool $URL/pool/tool.deb", network = "packages", env = { URL = "[URL]" } },
  { name = "idle", run = "touch /srv/idle", network = "packages" },
"#;

impl Lab {
    /// What was built step by step is what is built from nothing.
    #[track_caller]
    fn is_as_from_nothing(&self) {
        let image = |dir: &str| fs::read(self.path(dir).join("ws.rootfs.tar.zst")).unwrap();
        let clean = ["--cache-dir", "clean-cache", "build", "--target", "ws.rootfs.tar.zst", "-o", "clean"];
        self.ibuild(&clean).says(0, &[]);
        assert!(image("out") == image("clean"), "a result was found that is another");
        fs::remove_dir_all(self.path("clean-cache")).unwrap();
    }
}

/// Names that are installed already are no reason to run, and it is told what became of each stage that was about to.
#[test]
fn an_update_that_changes_nothing_runs_nothing() {
    let lab = Lab::new(INSTALLING, &PACKAGES);
    lab.builds(7);
    for day in [2, 3] {
        lab.moves(day, &PACKAGES);
        let said = lab.builds(0);
        for stage in ["base/bootstrap", "ws/tools", "ws/again", "ws/nothing", "ws/fetch", "ws/idle"] {
            assert!(said.contains(&format!("run     {stage} ")), "{said}");
            let line = said.lines().find(|line| line.starts_with(&format!("cached  {stage} ")));
            assert!(
                line.is_some_and(|line| line.ends_with("a result was found, so it did not run")),
                "{said}"
            );
        }
        lab.builds(0);
    }
    lab.ibuild(&["explain", "ws/again"]).says(0, &["but the packages are the same"]);
    lab.is_as_from_nothing();
    lab.is_sound();
    lab.lose_index();
    lab.builds(0);
    lab.is_sound();
}

/// A regression: these made another image, and were called the same because the packages are.
#[test]
fn an_update_that_changes_what_apt_sees_of_the_same_packages_runs_their_steps() {
    let lab = Lab::new(INSTALLING, &PACKAGES);
    lab.builds(7);
    let [tool, lib, extra] = PACKAGES;
    for (day, packages) in [(2, [("tool", "metapackages"), lib, extra]), (3, [lib, tool, extra])] {
        lab.moves(day, &packages);
        let said = lab.ibuild(&["build", "--target", "ws.rootfs.tar.zst"]).says(0, &["ran     ws/tools "]);
        assert!(said.contains("cached  base/bootstrap "), "{said}");
        lab.is_as_from_nothing();
    }
}

/// A regression: nothing found out which tarball was to blame, so every later build failed as well.
#[test]
fn a_damaged_tarball_is_made_again_for_an_oci_image() {
    let lab = Lab::new("{ name = \"run\", run = \"seq 100000 > /srv/x\" }", &[]);
    let digest = |ended: Ended| {
        let all = ended.says(0, &["built ws.oci"]);
        all.split_whitespace().find(|word| word.starts_with("b3:")).unwrap().to_owned()
    };
    let clean = digest(lab.ibuild(&["build", "--target", "ws.oci"]));
    let shown = lab.ibuild(&["cache", "show", "ws/run", "--json"]).says(0, &["\"blob\""]);
    let blob = shown.lines().rfind(|line| line.contains("\"blob\"")).unwrap();
    let blob = blob.split('"').nth(3).unwrap();
    let file = lab.path("cache/blobs").join(&blob[..2]).join(&blob[2..]);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&file, bytes).unwrap();
    let built = lab.ibuild(&["build", "--target", "ws.oci", "--from", "ws.oci"]);
    assert_eq!(digest(built), clean);
    lab.is_sound();
}

/// A regression: targets that were made beside a stage that failed were published, and nobody compared them with the lock.
#[test]
fn what_is_made_beside_a_failure_is_of_the_lock() {
    let lab = Lab::new("{ name = \"run\", run = \"touch /srv/x\" }", &[]);
    let bad = "[rootfs.bad]\nfrom = \"base\"\nsteps = [{ name = \"s\", run = \"false\" }]\n\
               [image.bad]\nrootfs = \"bad\"\nformats = [\"rootfs.tar.zst\"]\ndisk = { size = \"1 GiB\" }\n";
    let recipe = fs::read_to_string(lab.path("ibuild.toml")).unwrap();
    lab.write("ibuild.toml", recipe + bad);
    // Of what is installed the lock knows nothing yet.
    lab.ibuild(&["lock"]).says(0, &["0 packages"]);
    let target = "ws.rootfs.tar.zst";
    let build = ["build", "--keep-going", "--target", target, "--target", "bad"];
    let locked = [&build[..], &["--locked"]].concat();
    lab.ibuild(&locked)
        .says(1, &["stage `bad/s` failed", "no target is published: the build uses other packages"]);
    assert!(!lab.path("out").join(target).exists());
    lab.ibuild(&build).says(1, &["stage `bad/s` failed", "built ws.rootfs.tar.zst"]);
    assert!(fs::read_to_string(lab.path("ibuild.lock")).unwrap().contains("\ndeb "));
    fs::remove_file(lab.path("out").join(target)).unwrap();
    lab.ibuild(&locked).says(1, &["stage `bad/s` failed", "built ws.rootfs.tar.zst"]);
    assert!(lab.path("out").join(target).exists());
}
