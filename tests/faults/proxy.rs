//! The stand-alone proxy, killed at any moment. No client ever has a wrong file, and what one has had whole is there afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use fastrand::Rng;
use ibuild::cache::Sha256;

use crate::archive::{Fetched, SignedArchive, get, sha256, update};
use crate::chance;
use crate::upstream::Reply;

/// New packages for every life of the proxy.
const NEW: usize = 6;
const CLIENTS: usize = 4;

#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn a_killed_proxy_keeps_nothing_wrong_and_loses_nothing_whole() {
    let (mut archive, dir) = (SignedArchive::new(), tempfile::tempdir_in("/var/tmp").unwrap());
    let store = dir.path().join("cache");
    let (mut rng, mut had) = (chance::rng(), BTreeSet::new());
    let rounds = chance::rounds(10, 200);
    for round in 0..rounds {
        let paths: Vec<_> =
            (0..NEW).map(|number| add_package(&mut archive, &mut rng, round, number)).collect();
        archive.publish(round);
        let proxy = archive.serve(dir.path());
        let (address, whole) = (proxy.address().to_owned(), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let (mut order, address, whole) = (paths.clone(), &address, &whole);
                    rng.shuffle(&mut order);
                    scope.spawn(move || fetch_in_order(address, &order, whole))
                })
                .collect();
            let enough = rng.usize(..NEW * CLIENTS);
            while whole.lock().unwrap().len() < enough && !clients.iter().all(ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(rng.u64(..40)));
            proxy.kill();
        });
        for (path, digest) in whole.into_inner().unwrap() {
            assert!(
                archive.packages().any(|(known, right)| *known == path && *right == digest),
                "{path} is wrong"
            );
            had.insert(path);
        }
        let kept = kept(&store);
        let lost: Vec<_> = archive
            .packages()
            .filter(|(path, digest)| had.contains(*path) && !kept.contains(digest))
            .collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        paths.iter().for_each(|path| archive.lose(path));
    }
    assert!(
        (1..rounds * NEW).contains(&had.len()),
        "{} files: the kills come too early or too late",
        had.len()
    );
    assert_store_is_sound(dir.path(), &store);
    archive.upstream.stop();
    let proxy = archive.serve(dir.path());
    for (path, digest) in archive.packages().filter(|(path, _)| had.contains(*path)) {
        match get(proxy.address(), path) {
            Fetched::Whole(bytes) => assert_eq!(sha256(&bytes), *digest, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    proxy.kill();
    // The last one's start has swept away what the killed ones left.
    assert_eq!(fs::read_dir(store.join("tmp")).unwrap().count(), 0);
}

/// A package that the mirror serves somehow, at the second or third try at the latest.
fn add_package(archive: &mut SignedArchive, rng: &mut Rng, round: usize, number: usize) -> String {
    let path = format!("pool/main/p/p{number}_{round}_amd64.deb");
    let most = if rng.bool() { 100_000 } else { 4_000_000 };
    let good: Vec<u8> = (0..rng.usize(1000..most)).map(|_| rng.u8(..)).collect();
    let bad: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
    let (cut, pause) = (rng.usize(..good.len()), Duration::from_millis(rng.u64(..150)));
    let mut replies = match rng.u8(..6) {
        0 => Vec::new(),
        1 => vec![Reply::Cut(good.clone(), cut)],
        2 => vec![Reply::Cut(bad, cut)],
        3 => vec![Reply::File(bad)],
        4 => vec![Reply::Reset(good.len()), Reply::Status(503)],
        _ => vec![Reply::Slow(good.clone(), pause)],
    };
    replies.push(if rng.bool() { Reply::File(good.clone()) } else { Reply::Slow(good.clone(), pause) });
    archive.add(&path, &good, replies);
    path
}

/// Adds to `whole` the files that came as wholes, with the digests that they have.
fn fetch_in_order(proxy: &str, paths: &[String], whole: &Mutex<Vec<(String, Sha256)>>) {
    update(proxy);
    for path in paths {
        if let Fetched::Whole(bytes) = get(proxy, path) {
            whole.lock().unwrap().push((path.clone(), sha256(&bytes)));
        }
    }
}

/// Everything that has a name in the store. Its name has to be its digest.
fn kept(store: &Path) -> BTreeSet<Sha256> {
    let below =
        |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files = below(&store.join("packages")).into_iter().flat_map(|prefix| below(&prefix));
    let digest_of = |file: &Path| {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let named = name(file.parent().unwrap()) + &name(file);
        let digest = sha256(&fs::read(file).unwrap());
        assert_eq!(digest.hex(), named);
        digest
    };
    files.map(|file| digest_of(&file)).collect()
}

fn assert_store_is_sound(dir: &Path, store: &Path) {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_ibuild"));
    let verify = verify.args(["packages", "verify"]).current_dir(dir).env("IBUILD_CACHE_DIR", store);
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains(" 0 damaged"), "{said}");
}
