//! Whatever happens in whatever order, no client ever completes a file that is not the one it asked for.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ibuild_packages::{AccessObserver, Clients, LiveArchive, LiveGuard, Proxy, Statistics, Upstream};

use crate::archive::{BIG, FakeVerifier, Setup, big, fetcher, noise, sha256, small};
use crate::client::{Response, get};
use crate::upstream::Reply;

const SMALL: &str = "pool/main/s/small_1%2bb%7e1_amd64.deb";
const PAUSE: Duration = Duration::from_millis(20);

struct Nobody;

impl AccessObserver for Nobody {}

/// A world in which things go wrong.
struct World {
    setup: Setup,
    random: Rng,
    address: SocketAddr,
    guard: Option<LiveGuard>,
    /// What a client like apt has kept of a file that broke off, with the time that it was told.
    partial: Option<(Vec<u8>, String)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let address = "127.0.0.1:1".parse().unwrap();
        let setup = Setup::with_archive();
        let mut world = Self { setup, random: Rng::with_seed(seed), address, guard: None, partial: None };
        world.restart();
        get(world.address, "dists/trixie/InRelease", &[]);
        get(world.address, "dists/trixie/main/binary-amd64/Packages", &[]);
        world
    }

    fn restart(&mut self) {
        self.guard = None;
        let mirrors = self.setup.upstream.mirrors();
        self.setup.fetcher = fetcher(&self.setup.store, Upstream::Mirrors(mirrors.clone()));
        let statistics = Arc::<Statistics>::default();
        let (verifier, clients) = (Arc::new(FakeVerifier), Clients::local());
        let live = LiveArchive::open(
            &self.setup.store,
            &mirrors,
            verifier,
            clients,
            LiveArchive::MAX_AGE,
            statistics,
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.address = listener.local_addr().unwrap();
        let proxy = Proxy::new(&self.setup.fetcher);
        self.guard = Some(proxy.serve_live(listener, live, Arc::new(Nobody)).unwrap());
    }

    fn mirror_changes_its_mind(&mut self) {
        let random = &mut self.random;
        let mut reply = |good: Vec<u8>| {
            let (size, cut) = (good.len(), random.usize(..good.len()));
            let bad = noise(random.u8(3..), size);
            match random.u8(..8) {
                0..3 => Reply::File(good),
                3 => Reply::File(bad),
                4 => Reply::Cut(bad, cut),
                5 => Reply::Cut(good, cut),
                6 => Reply::Slow(bad, PAUSE),
                _ => Reply::WholeFile(good),
            }
        };
        let (big, small): (Vec<_>, Vec<_>) = (0..3).map(|_| (reply(big()), reply(small()))).unzip();
        self.setup.upstream.reply(&format!("/debian/{BIG}"), big);
        self.setup.upstream.reply(&format!("/debian/{SMALL}"), small);
    }

    /// Somebody flips a byte on the disk, or removes the file.
    fn disk_forgets(&mut self) {
        let bytes = if self.random.bool() { big() } else { small() };
        let path = self.setup.store.packages().path(&sha256(&bytes));
        if std::fs::remove_file(&path).is_ok() && self.random.bool() {
            let mut bytes = bytes;
            let place = self.random.usize(..bytes.len());
            bytes[place] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }

    fn a_client_asks(&mut self) {
        check_whole(&get(self.address, SMALL, &[]), &small());
        // As apt does it: what has come is kept, and continued if the file is still of the same time.
        let response = match &self.partial {
            None => get(self.address, BIG, &[]),
            Some((part, date)) => {
                let range = format!("bytes={}-", part.len());
                get(self.address, BIG, &[("Range", &range), ("If-Range", date)])
            }
        };
        let begun = if response.status == 206 { self.partial.take().unwrap().0 } else { Vec::new() };
        if response.status != 200 && response.status != 206 {
            return;
        }
        let bytes = [begun, response.body].concat();
        if bytes.len() == big().len() {
            assert!(bytes == big(), "a wrong file was completed");
            self.partial = None;
        } else {
            self.partial = (!bytes.is_empty()).then(|| (bytes, response.headers["last-modified"].clone()));
        }
    }
}

#[track_caller]
fn check_whole(response: &Response, expected: &[u8]) {
    if response.status == 200 && response.body.len() == expected.len() {
        assert!(response.body == expected, "a wrong file was completed");
    }
}

#[test]
fn no_order_of_events_completes_a_wrong_file() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        for _ in 0..12 {
            match world.random.u8(..6) {
                0 => world.restart(),
                1 => world.disk_forgets(),
                2 | 3 => world.mirror_changes_its_mind(),
                _ => {}
            }
            world.a_client_asks();
        }
        world.setup.upstream.reply(&format!("/debian/{BIG}"), [Reply::File(big())]);
        world.setup.upstream.reply(&format!("/debian/{SMALL}"), [Reply::File(small())]);
        world.partial = None;
        assert!(get(world.address, BIG, &[]).body == big(), "seed {seed}: it does not recover");
        assert!(get(world.address, SMALL, &[]).body == small(), "seed {seed}: it does not recover");
    }
}
