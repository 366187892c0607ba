//! Mirrors that are reached through TLS, and those that only seem to be.

use ibuild_debian::Base;
use ibuild_packages::{
    Authorities, CertificateFault, FallbackSources, FetchError, FetchReason, Fetcher, Mirrors, Upstream,
};

use crate::archive::{Setup, fetcher, file, noise, small};
use crate::tls::{Authority, Door, Identity};
use crate::upstream::Reply;

/// A mirror behind a door with TLS, and a fetcher that believes the authority of the door, or nobody.
struct Secure {
    setup: Setup,
    door: Door,
    fetcher: Fetcher,
}

enum Belief {
    InAuthority,
    InHostAlone,
}

impl Secure {
    fn new(belief: Belief, identity: impl FnOnce(&Authority) -> Identity) -> Self {
        let (setup, authority) = (Setup::new(), Authority::new());
        let door = Door::before(setup.upstream.port(), identity(&authority));
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        authority.write(&ca);
        let named = match belief {
            Belief::InAuthority => vec![ca],
            Belief::InHostAlone => Vec::new(),
        };
        let url = |path: &str| format!("https://127.0.0.1:{}/{path}", door.port).parse().unwrap();
        let mirrors = Mirrors {
            main: vec![url("debian")],
            security: vec![url("debian-security")],
            elsewhere: FallbackSources::default(),
            authorities: Authorities::of_host(&named),
        };
        let fetcher = fetcher(&setup.store, Upstream::Mirrors(mirrors));
        Self { setup, door, fetcher }
    }

    fn fetch(&self) -> Result<(), FetchError> {
        let wanted = file(&["f"], &small());
        let fetched = self.fetcher.fetch(&wanted);
        let stored = self.setup.store.packages().read(&wanted.known.sha256).unwrap();
        assert_eq!(stored, fetched.is_ok().then(small));
        fetched
    }
}

fn good(authority: &Authority) -> Identity {
    authority.identity("127.0.0.1", 2020, 2100)
}

#[test]
fn files_and_roots_come_through_tls() {
    let secure = Secure::new(Belief::InAuthority, good);
    secure.setup.upstream.reply("/debian/f", [Reply::File(small())]);
    secure.fetch().unwrap();
    assert_eq!(secure.fetcher.fetch_root(&Base::Main, "f").unwrap(), small());
}

#[test]
fn a_mirror_that_misbehaves_through_tls() {
    for reply in [
        Reply::Cut(small(), 100),
        Reply::Status(503),
        Reply::File(noise(9, small().len())),
        Reply::Length(small(), small().len() + 1),
    ] {
        let secure = Secure::new(Belief::InAuthority, good);
        secure.setup.upstream.reply("/debian/f", [reply.clone(), Reply::File(small())]);
        secure.fetch().unwrap_or_else(|e| panic!("{reply:?}: {e}: {}", e.reason));
    }
}

#[test]
fn who_cannot_show_who_it_is_gets_no_request() {
    let check = |belief, identity: fn(&Authority) -> Identity, expected, hint: &str| {
        let secure = Secure::new(belief, identity);
        secure.setup.upstream.reply("/debian/f", [Reply::File(small())]);
        let error = secure.fetch().unwrap_err();
        let FetchReason::Certificate { host, fault } = &error.reason else { panic!("{:?}", error.reason) };
        assert_eq!((host.as_str(), fault), ("127.0.0.1", &expected));
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        let text = error.reason.to_string();
        assert_eq!(text, format!("the certificate of `127.0.0.1` is not accepted: {expected}"));
        assert!(secure.setup.upstream.seen("/debian/f").is_empty());
    };
    check(Belief::InHostAlone, good, CertificateFault::Authority, "as `ca` in `ibuild.local.toml`");
    let expired = |authority: &Authority| authority.identity("127.0.0.1", 2020, 2021);
    check(Belief::InAuthority, expired, CertificateFault::Expired, "has to renew it");
    let early = |authority: &Authority| authority.identity("127.0.0.1", 2100, 2101);
    check(Belief::InAuthority, early, CertificateFault::Early, "the clock of this machine");
    let other = |authority: &Authority| authority.identity("mirror.example", 2020, 2100);
    check(Belief::InAuthority, other, CertificateFault::Host, "check the address");
}

#[test]
fn the_next_mirror_is_asked_if_one_cannot_show_who_it_is() {
    let secure = Secure::new(Belief::InHostAlone, good);
    let mut mirrors = secure.setup.upstream.mirrors();
    mirrors.main.insert(0, format!("https://127.0.0.1:{}/debian", secure.door.port).parse().unwrap());
    secure.setup.upstream.reply("/debian/f", [Reply::File(small())]);
    fetcher(&secure.setup.store, Upstream::Mirrors(mirrors)).fetch(&file(&["f"], &small())).unwrap();
}

#[test]
fn redirects_lead_from_one_scheme_to_the_other() {
    let secure = Secure::new(Belief::InAuthority, good);
    let upstream = &secure.setup.upstream;
    let through = format!("https://127.0.0.1:{}/there", secure.door.port);
    upstream.reply("/debian/f", [Reply::Redirect(upstream.url("here").to_string())]);
    upstream.reply("/here", [Reply::Redirect(through)]);
    upstream.reply("/there", [Reply::File(small())]);
    secure.fetch().unwrap();
    assert_eq!(upstream.seen("/there").len(), 1);
}

#[test]
fn a_server_without_tls_is_told() {
    let secure = Secure::new(Belief::InAuthority, good);
    let mut mirrors = secure.setup.upstream.mirrors();
    mirrors.main =
        vec![format!("https://127.0.0.1:{}/debian", secure.setup.upstream.port()).parse().unwrap()];
    let error = fetcher(&secure.setup.store, Upstream::Mirrors(mirrors)).fetch(&file(&["f"], &small()));
    assert!(matches!(error.unwrap_err().reason, FetchReason::Unreachable(_)));
}
