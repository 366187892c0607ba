//! The real apt, the real mirror of this machine, and the proxy between them on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ibuild_cache::{MemoryIndex, Store};
use ibuild_debian::{Base, Timestamp};
use ibuild_packages::{
    Acceptance, Archive, ArchiveView, CA_PATH, CacheStatus, FallbackSources, Fetcher, Gpgv, Lock,
    MirrorOverride, Mirrors, NullFetchObserver, Origin, PackageError, Patience, Proxy, ServeGuard, StageTls,
    Upstream, Verifier, VerifyError, apt_conf, minbase, record,
};

/// Says why a test cannot run here. `.config/nextest.toml` shows the output of tests named `real_` even if they
/// pass, so that this is seen.
fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

fn trixie() -> Archive {
    Archive {
        name: "debian".to_owned(),
        suites: vec!["trixie".to_owned(), "trixie-updates".to_owned()],
        origin: Origin::Debian { security: Some("trixie-security".to_owned()) },
        components: vec!["main".to_owned()],
        architecture: "amd64".to_owned(),
        foreign: Vec::new(),
    }
}

struct Setup {
    dir: tempfile::TempDir,
    store: Store,
    lock: Lock,
    online: Fetcher,
}

/// The current state of the archive, recorded; `None`, and said so, if this machine has no means.
fn setup() -> Option<Setup> {
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/gpgv").exists() {
        skip("apt-get and gpgv are needed");
        return None;
    }
    let mirrors = match Mirrors::of_host(&MirrorOverride::default()) {
        Ok(mirrors) => mirrors,
        Err(e) => {
            skip(&format!("{e} ({})", e.hint().unwrap_or_default()));
            return None;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), |_| MemoryIndex::default()).unwrap();
    let online = fetcher(&store, Upstream::Mirrors(mirrors));
    let mut lock = Lock::default();
    let nothing = Lock::default();
    let acceptance = Acceptance { now: Timestamp::now(), lock: &nothing, tolerated: &[] };
    match record(&store, &trixie(), &online, &Gpgv::default(), acceptance) {
        Ok(releases) => lock.set_archive("debian", releases),
        Err(PackageError::Fetch(e)) => {
            skip(&format!("{e}: {}", e.reason));
            return None;
        }
        Err(e) => panic!("{e:?}"),
    }
    Some(Setup { dir, store, lock, online })
}

fn fetcher(store: &Store, upstream: Upstream) -> Fetcher {
    Fetcher::new(store, upstream, Patience::default(), Arc::new(NullFetchObserver)).unwrap()
}

impl Setup {
    /// An apt of its own, with nothing of the host's but its programs and keyring.
    fn apt(&self, name: &str, fetcher: &Fetcher) -> Apt {
        let view = ArchiveView::open(&self.store, &trixie(), &self.lock, fetcher, &Gpgv::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = self.dir.path().join(name);
        for dir in
            ["etc/apt/apt.conf.d", "etc/apt/preferences.d", "state/lists/partial", "cache/archives/partial"]
        {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::write(root.join("status"), "").unwrap();
        let tls = StageTls::new(&view, std::time::SystemTime::now(), Duration::from_secs(600)).unwrap();
        let ca = root.join("ca.pem");
        std::fs::write(&ca, tls.authority()).unwrap();
        std::fs::write(root.join("debian.sources"), trixie().sources(&[])).unwrap();
        let conf = apt_conf(listener.local_addr().unwrap().port());
        std::fs::write(root.join("proxy.conf"), conf.replace(CA_PATH, ca.to_str().unwrap())).unwrap();
        let guard = Proxy::new(fetcher).serve(listener, name, Arc::new(view), tls).unwrap();
        Apt { root, guard }
    }
}

struct Apt {
    root: PathBuf,
    guard: ServeGuard,
}

impl Apt {
    /// Its sources with another word.
    fn edit_sources(&self, old: &str, new: &str) {
        let path = self.root.join("debian.sources");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    }

    fn run(&self, arguments: &[&str]) {
        let root = self.root.display();
        let options = [
            format!("Dir::Etc={root}/etc/apt"),
            format!("Dir::Etc::sourcelist={root}/debian.sources"),
            format!("Dir::State={root}/state"),
            format!("Dir::State::status={root}/status"),
            format!("Dir::Cache={root}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
        ];
        let mut command = Command::new("apt-get");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("APT_CONFIG", self.root.join("proxy.conf")).current_dir(&self.root);
        for option in &options {
            command.args(["-o", option]);
        }
        let output = command.args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && !text.contains("W:"), "{arguments:?}: {text}");
    }
}

#[test]
fn real_apt_twice_the_second_time_without_a_mirror() {
    let Some(setup) = setup() else { return };
    let first = setup.apt("first", &setup.online);
    first.run(&["update"]);
    first.run(&["download", "hello"]);
    let verdicts: Vec<_> = first.guard.finish().into_iter().map(|fetch| fetch.verdict).collect();
    assert!(verdicts.contains(&CacheStatus::Miss), "{verdicts:?}");

    let offline = fetcher(&setup.store, Upstream::Offline(FallbackSources::default()));
    let second = setup.apt("second", &offline);
    second.run(&["update"]);
    second.run(&["download", "hello"]);
    let fetches = second.guard.finish();
    assert!(fetches.iter().all(|fetch| fetch.verdict == CacheStatus::Hit), "{fetches:#?}");
    let deb = |root: &Path| {
        let files = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        std::fs::read(files.into_iter().find(|path| path.extension().is_some_and(|e| e == "deb")).unwrap())
            .unwrap()
    };
    assert_eq!(deb(&first.root), deb(&second.root));
}

#[test]
fn real_apt_by_https() {
    let Some(setup) = setup() else { return };
    let plain = setup.apt("plain", &setup.online);
    plain.run(&["update"]);
    let secure = setup.apt("secure", &setup.online);
    secure.edit_sources("http://", "https://");
    secure.run(&["update"]);
    secure.run(&["download", "hello"]);
    let fetches = secure.guard.finish();
    assert!(fetches.iter().all(|fetch| fetch.address.starts_with("https://")), "{fetches:#?}");
    let lists = |apt: &Path| {
        let entries = std::fs::read_dir(apt.join("state/lists")).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file());
        let mut files: Vec<_> =
            files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect();
        files.sort();
        files
    };
    assert!(lists(&plain.root) == lists(&secure.root), "what apt keeps differs");
}

#[test]
fn real_archive_has_a_minimal_system() {
    let Some(setup) = setup() else { return };
    let view =
        ArchiveView::open(&setup.store, &trixie(), &setup.lock, &setup.online, &Gpgv::default()).unwrap();
    let debs = minbase(&setup.store, &view, &["ca-certificates".parse().unwrap()], &setup.online).unwrap();
    let names: Vec<_> = debs.iter().map(|deb| deb.name.as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for name in
        ["apt", "base-files", "ca-certificates", "debian-archive-keyring", "dpkg", "libc6", "mawk", "openssl"]
    {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let offline = fetcher(&setup.store, Upstream::Offline(FallbackSources::default()));
    let remembered = minbase(&setup.store, &view, &["ca-certificates".parse().unwrap()], &offline).unwrap();
    assert_eq!(remembered, debs);
}

#[test]
fn real_signatures_are_judged() {
    let Some(setup) = setup() else { return };
    let signed = setup.online.fetch_root(&Base::Main, "dists/trixie/InRelease").unwrap();
    let verified = Gpgv::default().verify(&signed).unwrap();
    assert!(verified.text.contains("\nCodename: trixie\n") && !verified.signers.is_empty());

    let tampered = String::from_utf8(signed.clone()).unwrap().replace("Codename: trixie", "Codename: trixiE");
    assert!(matches!(Gpgv::default().verify(tampered.as_bytes()), Err(VerifyError::Bad(_))));
    let unsigned = Gpgv::default().verify(verified.text.as_bytes());
    assert!(matches!(unsigned, Err(VerifyError::Form(_))), "{unsigned:?}");
    let nobody = setup.dir.path().join("empty.gpg");
    std::fs::write(&nobody, "").unwrap();
    assert!(matches!(Gpgv::new(&nobody).verify(&signed), Err(VerifyError::UnknownKey { .. })));
}
