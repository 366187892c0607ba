//! The stand-alone proxy as a program, with real clients and the real mirror of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::apt::Apt;
use crate::running::Running;
use serde_json::Value;

/// A mirror that nobody can reach.
const NOWHERE: [&str; 4] =
    ["--mirror", "http://127.0.0.1:1/debian", "--security-mirror", "http://127.0.0.1:1/debian-security"];

/// An apt of its own updates, and fetches a package with all that it depends on.
fn fetch(dir: &Path, proxy: &str) -> Vec<(String, Vec<u8>)> {
    let apt = Apt::new(dir, proxy, "deb trixie");
    apt.get(&["update"]).unwrap();
    apt.get(&["install", "--download-only", "--yes", "hello"]).unwrap();
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
    let debs = fetch(&dir.path().join("first"), first.address());
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
    assert_eq!(fetch(&dir.path().join("second"), second.address()), debs);
    let log = second.stop();
    assert_eq!(verdicts(&log)[0], "stale");
    assert!(verdicts(&log)[1..].iter().all(|verdict| *verdict == "hit"), "{log:#?}");
    assert!(log.iter().all(|line| line["complete"] == true && line["v"] == 1), "{log:#?}");
}

/// Lines wait for others, but neither for long nor for ever.
#[test]
fn a_line_is_written_while_the_proxy_runs() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let proxy = Running::start(dir.path(), "log", &NOWHERE);
    proxy.get("http://example.org/debian/x");
    let since = Instant::now();
    while fs::read(dir.path().join("log")).unwrap().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(10), "nothing is written down");
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.get("http://example.org/debian/y");
    assert_eq!(verdicts(&proxy.stop()), ["refused"; 2]);
}

#[test]
fn real_sources_twice_the_second_time_without_a_mirror() {
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/gpgv").exists() {
        return eprintln!("SKIPPED: apt-get and gpgv are needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let take = |name: &str, proxy: &Running| {
        let apt = Apt::new(&dir.path().join(name), proxy.address(), "deb-src trixie");
        apt.get(&["update"]).unwrap();
        apt.get(&["source", "--download-only", "hostname"]).unwrap();
    };
    let first = Running::start(dir.path(), "first.log", &[]);
    take("first", &first);
    let log = first.stop();
    assert!(log.len() > 3 && log.iter().all(|line| line["verdict"] == "miss"), "{log:#?}");
    let second = Running::start(dir.path(), "second.log", &NOWHERE);
    take("second", &second);
    let log = second.stop();
    assert!(verdicts(&log)[1..].iter().all(|verdict| *verdict == "hit"), "{log:#?}");
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
            .map(|client| scope.spawn(move || fetch(&dir.path().join(client.to_string()), proxy.address())));
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

/// What a browser makes of a page: its DOM after all scripts, and a picture.
fn look_at(url: &str, dir: &Path) -> (String, Vec<u8>) {
    let picture = dir.join("page.png");
    let chromium = |argument: &str| {
        let mut command = Command::new("chromium");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", dir);
        // Its sandbox refuses root.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=800,600", argument, url]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let document = chromium("--dump-dom");
    chromium(&format!("--screenshot={}", picture.display()));
    (document, fs::read(picture).unwrap())
}

#[test]
fn real_browser_shows_the_status_page() {
    if !Path::new("/usr/bin/chromium").exists() {
        return eprintln!("SKIPPED: chromium is needed");
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let proxy = Running::start(dir.path(), "log", &[]);
    let root = "http://deb.debian.org/debian/dists/trixie/InRelease";
    let [first, second] = [proxy.get(root), proxy.get(root)];
    assert!(first == second && first.starts_with("-----BEGIN PGP SIGNED MESSAGE"), "{first}");
    proxy.get("http://nobody.example/&lt;script&gt;document.title='gone'&lt;/script&gt;");
    let (document, picture) = look_at(&format!("http://{}/", proxy.address()), dir.path());
    assert!(document.contains("<title>ibuild proxy</title>"), "{document}");
    // Each number of the page is the one that programs are told.
    let metrics = proxy.get("/metrics");
    let totals = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("ibuild_proxy_requests_total{verdict=\"")?.split_once("\"} "));
    let totals: Vec<_> = totals.collect();
    assert!(totals.contains(&("miss", "1")) && totals.contains(&("refused", "1")), "{totals:?}");
    for (word, number) in totals {
        assert!(document.contains(&format!("<tr><th>{word}</th><td>{number}</td>")), "{word}: {document}");
    }
    // Shown as it was asked for: not a tag, and not a letter of the page's own.
    let (_, problems) = document.split_once("<ul id=\"problems\">").expect("a list of problems");
    assert_eq!(problems.matches("<li>").count(), 1, "{document}");
    assert!(problems.contains("http://nobody.example/&amp;lt;script&amp;gt;"), "{document}");
    assert!(crate::png::colours(&picture) > 10, "nothing is drawn");
    // The browser itself asked for the page alone, so nothing of it is among the problems.
    assert!(proxy.stop().len() == 3, "an answer to the browser counts as one to a client");
}
