//! README's recipe, pasted, and README's commands, typed, over Debian itself. `tests/documents` does the same in seconds, over an
//! archive that has nothing of Debian in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::documents::{assert_shown, blocks, readme, sessions};

#[test]
fn readme_is_true_of_debian() {
    assert!(nix::unistd::geteuid().is_root(), "this story needs root");
    let dir = tempfile::Builder::new().prefix("ibuild-readme-").tempdir_in("/var/tmp").unwrap();
    let (project, bin, cache) =
        (dir.path().join("project"), dir.path().join("bin"), dir.path().join("cache"));
    [&project, &bin].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    symlink(env!("CARGO_BIN_EXE_ibuild"), bin.join("ibuild")).unwrap();
    let readme = readme();
    fs::write(project.join("ibuild.toml"), blocks(&readme, "toml")[0]).unwrap();
    for shown in sessions(&readme) {
        let output = Command::new("/bin/sh")
            .args(["-c", &format!("exec 2>&1; {}", shown.command)])
            .current_dir(&project)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()))
            .env("HOME", dir.path())
            .env("IBUILD_CACHE_DIR", &cache)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).replace(cache.to_str().unwrap(), "/var/cache/ibuild");
        eprintln!("$ {}\n{said}", shown.command);
        assert_shown(&shown, &said);
    }
}
