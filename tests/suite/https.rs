//! Archives by https: mirrors with an authority of their own, and scripts whose sources say `https://`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const HEAD: &str = r#"schema = 1
[project]
name = "https"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
components = ["main"]
"#;

/// How a command ended, and all that it said.
struct Ended {
    status: i32,
    all: String,
}

#[track_caller]
fn ibuild(dir: &Path, arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_ibuild"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", dir)
        .env("IBUILD_CACHE_DIR", dir.join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let all = [output.stdout, output.stderr].concat();
    Ended { status: output.status.code().unwrap(), all: String::from_utf8(all).unwrap() }
}

/// A server on loopback that has nothing, but a certificate of an authority of its own. Returns its port and the authority's
/// certificate.
fn empty_mirror() -> (u16, String) {
    let (authority, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&authority).unwrap().pem();
    let issuer = Issuer::new(parameters, authority);
    let of_host = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = of_host.signed_by(&key, &issuer).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut lines = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
            let mut line = String::new();
            // A client that does not believe the certificate leaves here.
            while lines.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let _ = lines.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (port, pem)
}

#[test]
fn a_mirror_with_an_authority_of_its_own() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (port, pem) = empty_mirror();
    let mirror = format!("https://127.0.0.1:{port}/debian");
    let local = dir.path().join("ibuild.local.toml");
    fs::write(dir.path().join("ibuild.toml"), format!("{HEAD}[rootfs.ws]\nsteps = [{{ name = \"b\", bootstrap = {{ archive = \"debian\", variant = \"minbase\" }} }}]\n")).unwrap();
    fs::write(dir.path().join("authority.pem"), pem).unwrap();

    fs::write(&local, format!("mirror = \"{mirror}\"\n")).unwrap();
    let strange = ibuild(dir.path(), &["lock"]);
    let why = "the certificate of `127.0.0.1` is not accepted: no authority that this machine believes has signed it";
    assert_eq!(strange.all.matches(why).count(), 1, "{}", strange.all);
    let hint = "name that one's certificate as `ca` in `ibuild.local.toml`";
    assert_eq!((strange.status, strange.all.matches(hint).count()), (3, 1), "{}", strange.all);

    fs::write(&local, format!("mirror = \"{mirror}\"\nca = \"authority.pem\"\n")).unwrap();
    let empty = ibuild(dir.path(), &["lock"]);
    assert!(empty.all.contains("the mirror does not have it (404 Not Found)"), "{}", empty.all);

    fs::write(&local, format!("mirror = \"{mirror}\"\nca = [\"none.pem\"]\n")).unwrap();
    let none = ibuild(dir.path(), &["lock"]);
    assert!(
        none.all.contains("none.pem`") && none.all.contains("-----BEGIN CERTIFICATE-----"),
        "{}",
        none.all
    );
    assert_eq!(none.status, 3, "{}", none.all);
}

/// Two systems in which apt installs the same, once by http and once by https; and one that asks somebody else.
fn recipe() -> String {
    let rootfs = |name: &str, script: &str| {
        format!(
            "[rootfs.{name}]\nsteps = [\n  {{ name = \"bootstrap\", bootstrap = {{ archive = \"debian\", \
             variant = \"minbase\" }} }},\n  {{ name = \"tools\", script = \"{script}\", network = \"packages\" }},\n]\n\
             [image.{name}]\nrootfs = \"{name}\"\nformats = [\"rootfs.tar.zst\"]\ndisk = {{ size = \"2 GiB\" }}\n"
        )
    };
    HEAD.to_owned() + &rootfs("plain", "plain") + &rootfs("secure", "secure") + &rootfs("other", "other")
}

const INSTALL: &str = "apt-get update && apt-get install --yes --no-install-recommends hello\n";

#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn real_apt_in_a_stage_by_https_leaves_no_trace() {
    assert!(nix::unistd::geteuid().is_root(), "stages need root");
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("ibuild.toml", &recipe());
    write("plain", &format!("#!/bin/sh -e\n{INSTALL}"));
    let sources = "/etc/apt/sources.list.d/debian.sources";
    write(
        "secure",
        &format!(
            "#!/bin/sh -e\nsed -i s,http://,https://, {sources}\ngrep -q https://deb.debian.org {sources}\n{INSTALL}\
             cat /run/ibuild-ca.pem\nsed -i s,https://,http://, {sources}\n"
        ),
    );
    write(
        "other",
        "#!/bin/sh -e\necho 'deb [trusted=yes] https://example.org/debian trixie main' >/etc/apt/sources.list\n\
         apt-get update --error-on=any\n",
    );
    let looked = ibuild(dir.path(), &["lock"]);
    if looked.all.contains("cannot be reached") {
        return eprintln!("SKIPPED: {}", looked.all);
    }
    let targets = ["--target", "plain.rootfs.tar.zst", "--target", "secure.rootfs.tar.zst"];
    let built = ibuild(dir.path(), &[&["build"][..], &targets].concat());
    assert_eq!(built.status, 0, "{}", built.all);
    let image = |name: &str| fs::read(dir.path().join(format!("out/{name}.rootfs.tar.zst"))).unwrap();
    assert!(image("plain") == image("secure"), "https leaves something behind");

    let log = ibuild(dir.path(), &["log", "secure/tools"]).all;
    let certificate = log.split_once("-----BEGIN CERTIFICATE-----\n").expect("the script shows it").1;
    let line = certificate.lines().nth(1).unwrap();
    assert!(log.contains("https://deb.debian.org") && line.len() == 64, "{log}");
    let kept = kept(&dir.path().join("cache/blobs"));
    assert!(
        kept.iter().any(|blob| contains(blob, "usr/bin/hello")),
        "the layers are not where they are looked for"
    );
    for trace in [line, "ibuild-ca", "zz-ibuild"] {
        assert!(!kept.iter().any(|blob| contains(blob, trace)), "`{trace}` is in a layer");
    }

    // The certificates are valid by the clock that the stage sees.
    let later = ibuild(dir.path(), &["verify", "--vary", "clock", "--stage", "secure/tools"]);
    assert_eq!(later.status, 0, "{}", later.all);

    let other = ibuild(dir.path(), &["build", "--target", "other.rootfs.tar.zst"]);
    assert_ne!(other.status, 0, "{}", other.all);
    assert!(other.all.contains("https to example.org:443 is not served"), "{}", other.all);
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What the store has of stages: tarballs of layers among it, unpacked.
fn kept(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(kept(&entry));
        } else {
            let bytes = fs::read(entry).unwrap();
            found.push(zstd::decode_all(&bytes[..]).unwrap_or(bytes));
        }
    }
    found
}
