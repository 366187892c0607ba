//! The stand-alone proxy as a program, with real clients and the real mirror of this machine.

#[path = "harness/running.rs"]
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use running::Running;
use serde_json::Value;

/// A mirror that nobody can reach.
const NOWHERE: [&str; 4] =
    ["--mirror", "http://127.0.0.1:1/debian", "--security-mirror", "http://127.0.0.1:1/debian-security"];

/// An apt of its own updates, and fetches a package with all that it depends on.
fn apt(dir: &Path, proxy: &str) -> Vec<(String, Vec<u8>)> {
    for sub in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    fs::write(dir.join("status"), "").unwrap();
    let source = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
    fs::write(dir.join("etc/sources.list"), source).unwrap();
    let root = dir.display();
    // It is read before everything else, and so keeps the host's own configuration out.
    let configuration = format!(
        "Acquire::http::Proxy \"http://{proxy}\";\nDir::Etc \"{root}/etc\";\nDir::State \"{root}/state\";\n\
         Dir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\nAPT::Architecture \"amd64\";\n\
         APT::Sandbox::User \"\";\nAcquire::Retries \"0\";\nAcquire::Languages \"none\";\n",
    );
    fs::write(dir.join("apt.conf"), configuration).unwrap();
    for arguments in [&["update"][..], &["install", "--download-only", "--yes", "hello"]] {
        let mut command = Command::new("apt-get");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("APT_CONFIG", dir.join("apt.conf")).current_dir(dir);
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && !text.contains("W:"), "{arguments:?}: {text}");
    }
    debs_in(&dir.join("cache/archives"))
}

/// The packages in a directory, by their names.
fn debs_in(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let archives = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = archives.filter(|entry| entry.path().extension().is_some_and(|e| e == "deb"));
    let named = files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()));
    let mut debs: Vec<_> = named.collect();
    debs.sort();
    debs
}

fn verdicts(log: &[Value]) -> Vec<&str> {
    log.iter().map(|line| line["verdict"].as_str().unwrap()).collect()
}

#[test]
fn real_apt_twice_the_second_time_without_a_mirror() {
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/gpgv").exists() {
        return eprintln!("SKIPPED: apt-get and gpgv are needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let first = Running::start(dir.path(), "first.log", &[]);
    let debs = apt(&dir.path().join("first"), first.address());
    assert!(debs.len() > 2 && debs.iter().any(|(name, _)| name.starts_with("hello_")), "{}", debs.len());
    let metrics = first.get("/metrics");
    assert!(
        metrics.contains(&format!("requests_total{{verdict=\"miss\"}} {}\n", debs.len() + 2)),
        "{metrics}"
    );
    let page = first.get("/");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    let log = first.stop();
    assert_eq!(verdicts(&log), vec!["miss"; debs.len() + 2], "{log:#?}");

    let second = Running::start(dir.path(), "second.log", &NOWHERE);
    assert_eq!(apt(&dir.path().join("second"), second.address()), debs);
    let log = second.stop();
    assert_eq!(verdicts(&log)[0], "stale");
    assert!(verdicts(&log)[1..].iter().all(|verdict| *verdict == "hit"), "{log:#?}");
    assert!(log.iter().all(|line| line["complete"] == true && line["v"] == 1), "{log:#?}");
}

#[test]
fn real_mmdebstrap_twice_the_second_time_without_a_mirror() {
    if !Path::new("/usr/bin/mmdebstrap").exists() {
        return eprintln!("SKIPPED: mmdebstrap is needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let make = |name: &str, proxy: &Running| {
        let out = dir.path().join(format!("{name}.tar"));
        let output = Command::new("mmdebstrap")
            .args(["--variant=extract", "--include=hello", "--mode=root"])
            .args(["trixie", out.to_str().unwrap(), "deb http://deb.debian.org/debian trixie main"])
            // What is given as an option is written down in the new system.
            .env("http_proxy", format!("http://{}", proxy.address()))
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(out).unwrap()
    };
    let first = Running::start(dir.path(), "first.log", &[]);
    let tree = make("first", &first);
    first.stop();
    let second = Running::start(dir.path(), "second.log", &NOWHERE);
    assert!(make("second", &second) == tree, "another tree");
    let log = second.stop();
    assert!(log.len() > 5 && log.iter().all(|line| line["verdict"] == "hit" || line["verdict"] == "stale"));
}

#[test]
fn real_debootstrap_twice_the_second_time_without_a_mirror() {
    if !Path::new("/usr/sbin/debootstrap").exists() {
        return eprintln!("SKIPPED: debootstrap is needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let make = |name: &str, proxy: &Running| {
        let output = Command::new("debootstrap")
            .args(["--variant=minbase", "--foreign", "--arch=amd64", "trixie"])
            .arg(dir.path().join(name))
            .arg("http://deb.debian.org/debian")
            .env("http_proxy", format!("http://{}", proxy.address()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        debs_in(&dir.path().join(name).join("var/cache/apt/archives"))
    };
    let first = Running::start(dir.path(), "first.log", &[]);
    let debs = make("first", &first);
    assert!(debs.iter().any(|(name, _)| name.starts_with("dpkg_")), "{} packages", debs.len());
    first.stop();
    let second = Running::start(dir.path(), "second.log", &NOWHERE);
    assert!(make("second", &second) == debs, "other packages");
    let log = second.stop();
    assert!(log.len() > debs.len() && log.iter().all(|line| line["verdict"] != "miss"), "{log:#?}");
}

/// Of each file there is one download, whoever asks for it first.
#[test]
fn real_apts_at_once_on_a_cold_store() {
    const CLIENTS: usize = 20;
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/gpgv").exists() {
        return eprintln!("SKIPPED: apt-get and gpgv are needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let proxy = Running::start(dir.path(), "log", &[]);
    let got: Vec<_> = std::thread::scope(|scope| {
        let (dir, proxy) = (&dir, &proxy);
        let clients = (0..CLIENTS)
            .map(|client| scope.spawn(move || apt(&dir.path().join(client.to_string()), proxy.address())));
        clients.collect::<Vec<_>>().into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(got.iter().all(|debs| *debs == got[0]), "clients got different files");
    let log = proxy.stop();
    let missed: Vec<_> =
        log.iter().filter(|line| line["verdict"] == "miss").map(|line| &line["url"]).collect();
    // The packages, the index and the root.
    assert_eq!(missed.len(), got[0].len() + 2, "{missed:#?}");
    assert_eq!(missed.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), missed.len());
    assert!(log.len() >= CLIENTS * missed.len(), "{} requests", log.len());
}
