//! Files that a recipe names by digest, at addresses that misbehave.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ibuild_cache::{Cancel, MemoryIndex, Store};
use ibuild_debian::Url;
use ibuild_packages::{
    FallbackSources, Gpgv, PackageError, PinnedError, PinnedFile, PinnedReason, SignedFile, SignedFileError,
    Upstream, VerifyError,
};

use crate::archive::{Setup, fetcher, noise, sha256};
use crate::signer::Signer;
use crate::upstream::{FakeUpstream, Reply};

/// A fake server with the replies of each of its addresses.
fn served(replies: &[&[Reply]]) -> (Setup, Vec<Url>) {
    let setup = Setup::new();
    let mut urls = Vec::new();
    for (number, replies) in replies.iter().enumerate() {
        setup.upstream.reply(&format!("/f{number}"), replies.to_vec());
        urls.push(setup.upstream.url(&format!("f{number}")));
    }
    (setup, urls)
}

fn wanted(bytes: &[u8], urls: &[Url]) -> PinnedFile {
    PinnedFile { sha256: sha256(bytes), urls: urls.to_vec() }
}

/// Fetches `bytes`. Whatever comes of it, nothing else is stored.
fn fetch(setup: &Setup, bytes: &[u8], urls: &[Url]) -> Result<(), PinnedError> {
    let result = setup.fetcher.fetch_pinned(&wanted(bytes, urls), &Cancel::default());
    let stored = setup.store.packages().read(&sha256(bytes)).unwrap();
    assert_eq!(stored.as_deref(), result.is_ok().then_some(bytes));
    assert_eq!(setup.store.packages().list().unwrap().len(), usize::from(result.is_ok()));
    result
}

#[track_caller]
fn check(bytes: &[u8], replies: &[&[Reply]], ranges: &[&[Option<&str>]]) {
    let (setup, urls) = served(replies);
    fetch(&setup, bytes, &urls).unwrap();
    for (number, ranges) in ranges.iter().enumerate() {
        let seen = setup.upstream.seen(&format!("/f{number}"));
        let seen: Vec<_> = seen.iter().map(|seen| seen.range.as_deref()).collect();
        assert_eq!(seen, *ranges, "address {number}");
    }
}

#[test]
fn one_address_after_the_other() {
    let (bytes, other) = (noise(1, 50_000), noise(2, 50_000));
    let whole = || Reply::File(bytes.clone());
    for bad in [
        Reply::Status(404),
        Reply::Status(403),
        Reply::File(other.clone()),
        Reply::File(bytes[..40_000].to_vec()),
        Reply::File(vec![]),
        Reply::Redirect("ftp://elsewhere/f".to_owned()),
    ] {
        check(&bytes, &[&[bad], &[whole()]], &[&[None], &[None]]);
    }
    // One whose trouble may pass is asked again only if nobody else has it.
    check(&bytes, &[&[Reply::Status(503), whole()], &[Reply::Status(404)]], &[&[None, None], &[None]]);
    check(&bytes, &[&[Reply::Status(503), whole()], &[whole()]], &[&[None], &[None]]);
    // Redirects are followed, but not for ever.
    let (setup, urls) = served(&[&[Reply::Redirect("/f1".to_owned())], &[whole()]]);
    fetch(&setup, &bytes, &urls[..1]).unwrap();
    let (setup, urls) = served(&[&[Reply::Redirect("/f0".to_owned())]]);
    assert!(matches!(fetch(&setup, &bytes, &urls), Err(PinnedError::One { .. })));
}

#[test]
fn a_body_of_any_kind() {
    let bytes = noise(3, 50_000);
    check(&bytes, &[&[Reply::Chunked(bytes.clone())]], &[&[None]]);
    check(&bytes, &[&[Reply::NoLength(bytes.clone())]], &[&[None]]);
    check(&bytes, &[&[Reply::Slow(bytes.clone(), Duration::from_millis(50))]], &[&[None]]);
    check(&[], &[&[Reply::WholeFile(vec![])]], &[&[None]]);
}

#[test]
fn a_cut_body_is_continued_at_the_same_address() {
    let bytes = noise(3, 50_000);
    let cut = |at| Reply::Cut(bytes.clone(), at);
    let rest = Some("bytes=20000-");
    check(&bytes, &[&[cut(20_000), Reply::File(bytes.clone())], &[]], &[&[None, rest], &[]]);
    // A server without ranges sends all of it again.
    check(&bytes, &[&[cut(20_000), Reply::WholeFile(bytes.clone())]], &[&[None, rest]]);
    // Busy in between, it still has the rest afterwards, or all.
    check(&bytes, &[&[cut(20_000), Reply::Status(503), Reply::File(bytes.clone())]], &[&[None, rest, None]]);
    // What breaks again and again is left for the next address, which is asked for the whole.
    let (setup, urls) = served(&[&[cut(20_000)], &[Reply::File(bytes.clone())]]);
    fetch(&setup, &bytes, &urls).unwrap();
    assert_eq!(setup.upstream.seen("/f1")[0].range, None);
}

#[test]
fn parts_of_two_versions_are_not_put_together() {
    let (old, new) = (noise(4, 50_000), noise(5, 50_000));
    let version = |bytes: &[u8], tag, cut| Reply::Version(bytes.to_vec(), tag, cut);
    let (setup, urls) = served(&[&[version(&old, "\"1\"", Some(20_000)), version(&new, "\"2\"", None)]]);
    fetch(&setup, &new, &urls).unwrap();
    let seen = setup.upstream.seen("/f0");
    assert_eq!(
        (seen[1].range.as_deref(), seen[1].if_range.as_deref()),
        (Some("bytes=20000-"), Some("\"1\""))
    );
    // The same version goes on.
    let (setup, urls) = served(&[&[version(&new, "\"2\"", Some(20_000)), version(&new, "\"2\"", None)]]);
    fetch(&setup, &new, &urls).unwrap();
    assert_eq!(setup.upstream.seen("/f0").len(), 2);
    // A weak tag names no bytes.
    let (setup, urls) = served(&[&[version(&new, "W/\"2\"", Some(20_000)), Reply::File(new.clone())]]);
    fetch(&setup, &new, &urls).unwrap();
    assert_eq!(setup.upstream.seen("/f0")[1].if_range, None);
    // A server that says nothing about versions: the digest notices, and the file is asked for whole.
    let replies = [Reply::Cut(old, 20_000), Reply::File(new.clone()), Reply::File(new.clone())];
    check(&new, &[&replies], &[&[None, Some("bytes=20000-"), None]]);
}

#[test]
fn a_wrong_digest_names_both() {
    let (bytes, other) = (noise(1, 5000), noise(2, 5000));
    let (setup, urls) = served(&[&[Reply::File(other.clone())], &[Reply::Status(404)]]);
    let error = fetch(&setup, &bytes, &urls[..1]).unwrap_err();
    let PinnedError::One { url, reason } = &error else { panic!("{error}") };
    assert_eq!(*url, urls[0].to_string());
    let text = reason.to_string();
    assert_eq!(
        text,
        format!("its SHA-256 is {}, and the recipe says {}", sha256(&other).hex(), sha256(&bytes).hex())
    );
    assert!(error.hint().unwrap().contains("somebody has put another file there"));
    assert_eq!(setup.upstream.seen("/f0").len(), 1, "it is not asked for again and again");
    let error = fetch(&setup, &bytes, &urls).unwrap_err();
    assert!(matches!(&error, PinnedError::Every { failures, .. }
        if matches!(failures[0].1, PinnedReason::WrongDigest { .. }) && failures.len() == 2));
    let text = error.to_string();
    for part in [sha256(&bytes).hex(), sha256(&other).hex(), urls[0].to_string(), "404".to_owned()] {
        assert!(text.contains(&part), "{text}");
    }
}

#[test]
fn what_the_store_has_is_not_fetched() {
    let bytes = noise(1, 5000);
    let (setup, urls) = served(&[&[Reply::File(bytes.clone())]]);
    fetch(&setup, &bytes, &urls).unwrap();
    fetch(&setup, &bytes, &[setup.upstream.url("somewhere/else")]).unwrap();
    let offline = fetcher(&setup.store, Upstream::Offline(FallbackSources::default()));
    offline.fetch_pinned(&wanted(&bytes, &urls), &Cancel::default()).unwrap();
    assert_eq!(setup.upstream.seen("/f0").len(), 1);
    // Damaged, it is none.
    let path = setup.store.packages().path(&sha256(&bytes));
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&path, noise(9, 5000)).unwrap();
    let error = offline.fetch_pinned(&wanted(&bytes, &urls), &Cancel::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&urls[0].to_string()) && text.contains(&sha256(&bytes).hex()), "{text}");
    fetch(&setup, &bytes, &urls).unwrap();
    assert_eq!(setup.upstream.seen("/f0").len(), 2);
}

#[test]
fn another_store_has_it() {
    let bytes = noise(1, 5000);
    let (setup, urls) = served(&[&[Reply::Status(404)]]);
    let other = tempfile::tempdir().unwrap();
    let store = Store::open(other.path(), |_| MemoryIndex::default()).unwrap();
    store.packages().put(&bytes).unwrap();
    let places = FallbackSources::parse(&[other.path().display().to_string()], &[]).unwrap();
    let offline = fetcher(&setup.store, Upstream::Offline(places));
    offline.fetch_pinned(&wanted(&bytes, &urls), &Cancel::default()).unwrap();
    assert_eq!(setup.store.packages().read(&sha256(&bytes)).unwrap().unwrap(), bytes);
}

#[test]
fn several_callers_share_one_download() {
    let bytes = noise(1, 50_000);
    let (setup, urls) = served(&[&[Reply::Slow(bytes.clone(), Duration::from_millis(200))]]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| setup.fetcher.fetch_pinned(&wanted(&bytes, &urls), &Cancel::default()).unwrap());
        }
    });
    assert_eq!(setup.upstream.seen("/f0").len(), 1);
}

#[test]
fn who_gives_up_does_not_wait() {
    let bytes = noise(1, 50_000);
    let (setup, urls) = served(&[&[Reply::Drip(bytes.clone(), Duration::from_millis(20))]]);
    let (cancel, begin) = (Cancel::default(), Instant::now());
    let result = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| setup.fetcher.fetch_pinned(&wanted(&bytes, &urls), &cancel));
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel();
        fetching.join().unwrap()
    });
    assert!(matches!(result, Err(PinnedError::Interrupted)));
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(setup.store.packages().list().unwrap().is_empty());
}

/// It is never silent for long, and would go on for minutes.
#[test]
fn who_sends_byte_by_byte_is_left() {
    let bytes = noise(1, 5000);
    let drip = Reply::Drip(bytes.clone(), Duration::from_millis(50));
    let (setup, urls) = served(&[&[drip], &[Reply::File(bytes.clone())]]);
    let begin = Instant::now();
    fetch(&setup, &bytes, &urls).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(setup.upstream.seen("/f1").len(), 1);
}

/// A file of the store that is verified with a key of a file of the project.
fn verify(setup: &Setup, bytes: &[u8], signature: &[u8], keyring: &Path) -> Result<(), SignedFileError> {
    setup.upstream.reply("/f.asc", [Reply::WholeFile(signature.to_vec())]);
    let sha256 = setup.store.packages().put(bytes).unwrap().digest;
    let verifier = Gpgv::with_key(keyring, Path::new("keys/tool.asc"));
    let (url, signatures) = (setup.upstream.url("f"), [setup.upstream.url("f.asc")]);
    let file = SignedFile { sha256, url: &url, signatures: &signatures, verifier: &verifier };
    match file.verify(&setup.store, &setup.fetcher) {
        Err(PackageError::SignedFile { source, .. }) => Err(*source),
        other => {
            other.unwrap();
            Ok(())
        }
    }
}

#[test]
fn signatures_are_judged_by_gpgv() {
    let (maker, mallory) = (Signer::new("Maker"), Signer::new("Mallory"));
    let dir = tempfile::tempdir().unwrap();
    let keyring = dir.path().join("maker.gpg");
    fs::write(&keyring, maker.binary_key()).unwrap();
    let bytes = noise(1, 5000);
    let detached = |signer: &Signer, options: &[&str], bytes: &[u8]| {
        signer.gpg(&[options, &["--detach-sign"]].concat(), bytes)
    };
    for form in [&["--armor"][..], &[]] {
        let setup = Setup::new();
        verify(&setup, &bytes, &detached(&maker, form, &bytes), &keyring).unwrap();
        // What was good once needs no network; another file of the same maker does.
        verify(&setup, &bytes, b"gone", &keyring).unwrap();
        assert_eq!(setup.upstream.seen("/f.asc").len(), 1);
        let other = verify(&setup, b"another file", &detached(&maker, form, &bytes), &keyring);
        assert!(matches!(other, Err(SignedFileError::Verify(VerifyError::Bad(_)))), "{other:?}");
        let foreign = verify(&Setup::new(), &bytes, &detached(&mallory, form, &bytes), &keyring).unwrap_err();
        assert!(
            foreign.to_string().starts_with("no key in `keys/tool.asc` has signed it, but "),
            "{foreign}"
        );
    }
    // A good signature with other keys is none with these.
    let setup = Setup::new();
    verify(&setup, &bytes, &detached(&maker, &[], &bytes), &keyring).unwrap();
    fs::write(&keyring, mallory.binary_key()).unwrap();
    assert!(verify(&setup, &bytes, &detached(&maker, &[], &bytes), &keyring).is_err());
}

/// What the signature of a message covers is the text in it.
#[test]
fn signed_messages_of_the_maker_prove_nothing() {
    let maker = Signer::new("Maker");
    let dir = tempfile::tempdir().unwrap();
    let keyring = dir.path().join("maker.gpg");
    fs::write(&keyring, maker.binary_key()).unwrap();
    for message in [
        maker.sign(b"all is well\n"),
        maker.gpg(&["--sign"], b"all is well\n"),
        maker.gpg(&["--sign", "--armor"], b"all is well\n"),
        maker.gpg(&["--sign", "--compress-algo", "none"], b"all is well\n"),
        b"<html>not found</html>".to_vec(),
        maker.binary_key(),
    ] {
        let refused = verify(&Setup::new(), b"evil", &message, &keyring);
        assert!(matches!(refused, Err(SignedFileError::Form { .. })), "{refused:?}");
    }
}

#[test]
fn a_key_that_has_expired_signs_nothing() {
    let maker = Signer::new("Maker");
    let fingerprint = maker.gpg(&["--list-keys", "--with-colons"], b"");
    let fingerprint = String::from_utf8(fingerprint).unwrap();
    let fingerprint = fingerprint.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap();
    let fingerprint = fingerprint.trim_matches(':').to_owned();
    let signature = maker.gpg(&["--detach-sign"], b"file");
    maker.gpg(&["--quick-set-expire", &fingerprint, "seconds=1"], b"");
    std::thread::sleep(Duration::from_secs(2));
    let dir = tempfile::tempdir().unwrap();
    let keyring = dir.path().join("maker.gpg");
    fs::write(&keyring, maker.binary_key()).unwrap();
    let refused = verify(&Setup::new(), b"file", &signature, &keyring).unwrap_err();
    assert!(
        matches!(&refused, SignedFileError::Verify(VerifyError::Bad(why)) if why.contains("EXPKEYSIG")),
        "{refused}"
    );
}

#[test]
fn an_address_that_nobody_answers() {
    let upstream = FakeUpstream::start();
    upstream.stop();
    let setup = Setup::new();
    let begin = Instant::now();
    let error = fetch(&setup, b"x", &[upstream.url("f")]).unwrap_err();
    assert!(error.hint().unwrap().starts_with("try again"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}
