//! What other machines see through a stand-alone proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ibuild_packages::{
    AccessObserver, AccessRecord, CacheStatus, Clients, End, FallbackSources, LiveArchive, LiveGuard, Proxy,
    Sent, Statistics, Upstream,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn};

use crate::archive::{BIG, FakeVerifier, Setup, big, fetcher, noise, sha256, small};
use crate::client::{get, pipelined, request};
use crate::upstream::Reply;

/// As apt writes it.
const SMALL: &str = "pool/main/s/small_1%2bb%7e1_amd64.deb";
const ROOT: &str = "dists/trixie/InRelease";
const INDEX: &str = "dists/trixie/main/binary-amd64/Packages";

const SATURDAY: &str = "Sat, 12 Sep 2026 07:55:41 UTC";
const SUNDAY: &str = "Sun, 13 Sep 2026 07:55:41 UTC";

/// Remembers how every answer ended.
#[derive(Default)]
struct Recorder(Mutex<Vec<(AccessRecord, Sent)>>);

impl AccessObserver for Recorder {
    fn finished(&self, exchange: &AccessRecord, sent: &Sent) {
        self.0.lock().unwrap().push((exchange.clone(), *sent));
    }
}

struct Served {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    guard: LiveGuard,
}

impl Served {
    /// What was answered so far; a moment passes between the last byte and the note of it.
    fn log(&self, count: usize) -> Vec<(AccessRecord, Sent)> {
        for _ in 0..500 {
            let log = self.recorder.0.lock().unwrap();
            if log.len() >= count {
                return log.clone();
            }
            drop(log);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("fewer than {count} answers: {:?}", self.recorder.0.lock().unwrap());
    }

    fn verdicts(&self, count: usize) -> Vec<CacheStatus> {
        self.log(count).into_iter().map(|(exchange, _)| exchange.verdict).collect()
    }
}

fn serve(setup: &Setup) -> Served {
    let clients = Clients::local();
    let mirrors = setup.upstream.mirrors();
    let statistics = Arc::<Statistics>::default();
    let live = LiveArchive::open(
        &setup.store,
        &mirrors,
        Arc::new(FakeVerifier),
        clients,
        LiveArchive::MAX_AGE,
        statistics,
    )
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, recorder) = (listener.local_addr().unwrap(), Arc::<Recorder>::default());
    let guard = Proxy::new(&setup.fetcher).serve_live(listener, live, recorder.clone()).unwrap();
    Served { address, recorder, guard }
}

/// Connections that ask for nothing.
fn idle(from: &str, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| connect(from, to)).collect()
}

/// A connection from another address of this machine.
fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let kind = (AddressFamily::Inet, SockType::Stream);
    let socket = nix::sys::socket::socket(kind.0, kind.1, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let from: std::net::SocketAddrV4 = format!("{from}:0").parse().unwrap();
    nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    let SocketAddr::V4(to) = to else { panic!("it listens by IPv4") };
    nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    TcpStream::from(socket)
}

/// What is answered to a request for the root, if anything is.
fn ask(mut stream: TcpStream) -> String {
    let request =
        format!("GET http://deb.debian.org/debian/{ROOT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn one_address_does_not_keep_out_the_others() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    let greedy = idle("127.0.0.2", served.address, 400);
    let said = ask(connect("127.0.0.3", served.address));
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    // It is told what is wrong, as long as not too many are.
    drop(greedy);
    let mut some = idle("127.0.0.2", served.address, 100);
    let refused = || ask(connect("127.0.0.2", served.address));
    let said = (0..500).map(|_| refused()).find(|said| !said.starts_with("HTTP/1.1 200 ")).unwrap();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("has 100 connections already"), "{said}");
    // What it lets go of it may have again.
    some.truncate(50);
    let again = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        refused().starts_with("HTTP/1.1 200 ")
    });
    assert!(again);
}

/// In a network of its own, whose loopback interface has an address that is not loopback.
#[test]
fn who_is_refused_takes_no_seat() {
    let setup = Setup::with_archive();
    let run = |arguments: &[&str]| {
        assert!(
            std::process::Command::new("ip").args(arguments).status().unwrap().success(),
            "{arguments:?}"
        );
    };
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    run(&["link", "set", "lo", "up"]);
    run(&["address", "add", "192.0.2.1/32", "dev", "lo"]);
    let served = serve(&setup);
    let refused = ask(connect("192.0.2.1", served.address));
    assert!(
        refused.starts_with("HTTP/1.1 403 ") && refused.contains("does not serve your address"),
        "{refused}"
    );
    let idle = idle("192.0.2.1", served.address, 450);
    for client in ["127.0.0.1", "127.0.0.2"] {
        let said = ask(connect(client, served.address));
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }
    drop(idle);
}

/// As apt goes about it.
fn update_and_fetch(proxy: SocketAddr) {
    assert_eq!(get(proxy, ROOT, &[]).status, 200);
    assert_eq!(get(proxy, INDEX, &[]).status, 200);
    assert_eq!(get(proxy, SMALL, &[]).body, small());
    assert_eq!(get(proxy, BIG, &[]).body, big());
}

#[test]
fn the_second_client_needs_no_mirror_even_after_a_restart() {
    let setup = Setup::with_archive();
    let first = serve(&setup);
    update_and_fetch(first.address);
    assert_eq!(first.verdicts(4), [CacheStatus::Miss; 4]);
    drop(first.guard);
    setup.upstream.stop();
    let second = serve(&setup);
    // A client that has its lists already asks for packages first.
    assert_eq!(get(second.address, SMALL, &[]).body, small());
    update_and_fetch(second.address);
    let log = second.log(5);
    let verdicts: Vec<_> = log.iter().map(|(exchange, _)| exchange.verdict).collect();
    assert_eq!(
        verdicts,
        [CacheStatus::Hit, CacheStatus::Stale, CacheStatus::Hit, CacheStatus::Hit, CacheStatus::Hit]
    );
    let problem = log[1].0.problem.as_deref().unwrap();
    assert!(problem.contains("the mirror cannot be reached"), "{problem}");
    assert_eq!(log[4].1.bytes, big().len() as u64);
    assert!(log.iter().all(|(_, sent)| sent.end == End::Complete));
}

#[test]
fn answers_to_pipelined_requests_come_in_order() {
    let setup = Setup::with_archive();
    let pause = Duration::from_millis(100);
    setup.upstream.reply(&format!("/debian/{SMALL}"), [Reply::Slow(small(), pause)]);
    let served = serve(&setup);
    get(served.address, ROOT, &[]);
    let paths = [SMALL, BIG, INDEX, SMALL, "pool/main/n/none_1_amd64.deb", ROOT, BIG, SMALL, INDEX, BIG];
    let responses = pipelined(served.address, &paths);
    let index = get(served.address, INDEX, &[]).body;
    for (path, response) in paths.iter().zip(&responses) {
        match *path {
            SMALL => assert_eq!(response.body, small()),
            BIG => assert_eq!(response.body, big()),
            INDEX => assert_eq!(response.body, index),
            ROOT => assert_eq!(response.status, 200),
            _ => assert!(response.status == 404 && !response.body.is_empty()),
        }
    }
    assert_eq!(responses.len(), paths.len());
}

/// However large the file, and whatever else the client has asked for meanwhile.
#[test]
fn a_client_that_does_not_read_holds_little_of_a_file() {
    let (setup, path, size) = (Setup::new(), "pool/main/h/huge_1_amd64.deb", 48 << 20);
    setup.publish_packages(SATURDAY, &[("huge", path, noise(3, size))]);
    let served = serve(&setup);
    get(served.address, ROOT, &[]);
    assert_eq!(get(served.address, path, &[]).body.len(), size);
    let mut idle = TcpStream::connect(served.address).unwrap();
    let request = format!("GET http://deb.debian.org/debian/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    idle.write_all(request.repeat(3).as_bytes()).unwrap();
    // The answer has begun and does not go on.
    idle.read_exact(&mut [0; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(idle);
    let (_, sent) = served.log(3)[2];
    // The kernel takes up to 4 MiB to send and 6 MiB to be read.
    assert!(sent.end == End::Broken && sent.bytes < 16 << 20, "{sent:?}");
}

#[test]
fn roots_and_files_answer_to_parts_and_conditions() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    update_and_fetch(served.address);
    for path in [ROOT, SMALL] {
        let whole = get(served.address, path, &[]);
        let (date, size) = (whole.headers["last-modified"].as_str(), whole.body.len());
        assert_eq!(get(served.address, path, &[("If-Modified-Since", date)]).status, 304);
        let part = get(served.address, path, &[("Range", "bytes=100-"), ("If-Range", date)]);
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[100..]));
        let behind = get(served.address, path, &[("Range", &format!("bytes={size}-"))]);
        assert_eq!(
            (behind.status, behind.headers["content-range"].clone()),
            (416, format!("bytes */{size}"))
        );
        let url = format!("http://deb.debian.org/debian/{path}");
        let head = request(served.address, "HEAD", &url, &[]);
        assert_eq!((head.headers["content-length"].clone(), head.body.len()), (size.to_string(), 0));
    }
}

#[test]
fn a_client_may_name_the_mirror_itself() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    let url = setup.upstream.url(&format!("debian/{ROOT}")).to_string();
    assert_eq!(request(served.address, "GET", &url, &[]).status, 200);
}

#[test]
fn nothing_else_is_reached_through_it() {
    let setup = Setup::with_archive();
    setup.upstream.reply("/private/x", [Reply::File(small())]);
    setup.upstream.reply("/debian/away", [Reply::Redirect("/private/x".to_owned())]);
    let served = serve(&setup);
    for (method, target, status) in [
        ("GET", setup.upstream.url("private/x").to_string(), 403),
        ("GET", setup.upstream.url("debian/../private/x").to_string(), 404),
        ("GET", setup.upstream.url("debian/%2e%2e/private/x").to_string(), 404),
        ("GET", "http://169.254.169.254/debian/x".to_owned(), 403),
        ("CONNECT", "deb.debian.org:443".to_owned(), 403),
        ("POST", "http://deb.debian.org/debian/x".to_owned(), 405),
        ("GET", "/x".to_owned(), 400),
        // It is the client that would have to follow, and is refused then.
        ("GET", "http://deb.debian.org/debian/away".to_owned(), 302),
    ] {
        let response = request(served.address, method, &target, &[]);
        assert_eq!(response.status, status, "{target}");
        assert!(status == 302 || response.text().starts_with("ibuild: 127.0.0.1 asked for "), "{target}");
    }
    assert!(setup.upstream.seen("/private/x").is_empty());
}

#[test]
fn what_no_index_lists_goes_through_and_is_not_kept() {
    let setup = Setup::with_archive();
    let path = "doc/README";
    setup.upstream.reply("/debian/doc/README", [Reply::File(small())]);
    setup.upstream.reply("/debian/doc/gone", [Reply::Status(410)]);
    setup.upstream.reply("/debian/doc/later", [Reply::Status(503)]);
    setup.upstream.reply("/debian/doc/never", [Reply::Status(407)]);
    let served = serve(&setup);
    for _ in 0..2 {
        assert_eq!(get(served.address, path, &[]).body, small());
    }
    assert_eq!(get(served.address, path, &[("Range", "bytes=9000-")]).body, small()[9000..]);
    for (path, status) in [("doc/gone", 404), ("doc/later", 503), ("doc/never", 403), ("doc/none", 404)] {
        let response = get(served.address, path, &[]);
        assert_eq!(response.status, status);
        assert!(response.text().contains("the mirror"), "{}", response.text());
    }
    assert_eq!(served.verdicts(6)[..3], [CacheStatus::Passed; 3]);
    assert_eq!(setup.store.packages().list().unwrap(), []);
}

/// The signed index of sources decides about them, whether or not the client has asked for it.
#[test]
fn source_packages_are_verified_and_kept() {
    let setup = Setup::new();
    let listed = setup.publish_source(SATURDAY, "pool/main/s/small", "small_1.dsc", &small());
    let served = serve(&setup);
    get(served.address, ROOT, &[]);
    setup.upstream.reply(&format!("/debian/{listed}"), [Reply::File(noise(9, small().len()))]);
    let wrong = get(served.address, &listed, &[]);
    assert!(wrong.status == 502 && wrong.text().contains("other bytes"), "{}", wrong.text());
    setup.upstream.reply(&format!("/debian/{listed}"), [Reply::File(small())]);
    assert_eq!(get(served.address, &listed, &[]).body, small());
    // One of another state goes through as it did before, and so does a package of the installer.
    for path in ["pool/main/s/small/small_0.dsc", "pool/main/s/small/small_1_amd64.udeb"] {
        setup.upstream.reply(&format!("/debian/{path}"), [Reply::File(big())]);
        assert_eq!(get(served.address, path, &[]).body, big());
    }
    setup.upstream.stop();
    assert_eq!(get(served.address, &listed, &[]).body, small());
    const REFUSED: CacheStatus = CacheStatus::Refused(hyper::StatusCode::BAD_GATEWAY);
    let expected = [
        CacheStatus::Miss,
        REFUSED,
        CacheStatus::Miss,
        CacheStatus::Passed,
        CacheStatus::Passed,
        CacheStatus::Hit,
    ];
    assert_eq!(served.verdicts(6), expected);
    assert_eq!(setup.upstream.seen("/debian/dists/trixie/main/source/Sources").len(), 1);
}

#[test]
fn a_suite_moves_on_and_never_back() {
    let setup = Setup::with_archive();
    let first = serve(&setup);
    let saturday = get(first.address, ROOT, &[]).body;
    drop(first.guard);
    setup.publish(SUNDAY);
    let second = serve(&setup);
    let sunday = get(second.address, ROOT, &[]).body;
    assert!(saturday != sunday);
    drop(second.guard);
    setup.publish(SATURDAY);
    let third = serve(&setup);
    assert_eq!(get(third.address, ROOT, &[]).body, sunday);
    let (exchange, _) = &third.log(1)[0];
    assert_eq!(exchange.verdict, CacheStatus::Stale);
    assert!(exchange.problem.as_deref().unwrap().contains("older than"), "{exchange:?}");
}

#[test]
fn an_index_of_the_state_before_is_still_served() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    get(served.address, ROOT, &[]);
    let index = get(served.address, INDEX, &[]).body;
    let by_hash = format!("dists/trixie/main/binary-amd64/by-hash/SHA256/{}", sha256(&index).hex());
    assert_eq!(get(served.address, &by_hash, &[]).body, index);
    assert_eq!(setup.upstream.seen(&format!("/debian/{INDEX}")).len(), 1);
}

#[test]
fn damaged_files_are_fetched_again() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    update_and_fetch(served.address);
    for bytes in [small(), big()] {
        let path = setup.store.packages().path(&sha256(&bytes));
        let mut damaged = bytes.clone();
        damaged[5000] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, damaged).unwrap();
    }
    assert_eq!(get(served.address, SMALL, &[]).body, small());
    assert_eq!(get(served.address, BIG, &[]).body, big());
    assert_eq!(served.verdicts(6)[4..], [CacheStatus::Miss; 2]);
}

/// A large one is not, nor is any that was written too short a time ago to tell whether it has been written again.
#[test]
fn small_files_that_are_wanted_again_are_in_memory() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    update_and_fetch(served.address);
    std::thread::sleep(Duration::from_millis(2100));
    for path in [SMALL, BIG, SMALL, BIG] {
        get(served.address, path, &[]);
    }
    for bytes in [small(), big()] {
        setup.store.packages().remove(&sha256(&bytes)).unwrap();
    }
    assert_eq!(get(served.address, SMALL, &[]).body, small());
    assert_eq!(get(served.address, SMALL, &[("Range", "bytes=100-")]).body, small()[100..]);
    assert_eq!(get(served.address, BIG, &[]).body, big());
    assert_eq!(served.verdicts(11)[8..], [CacheStatus::Hit, CacheStatus::Hit, CacheStatus::Miss]);
}

/// The disk has room for the beginning of a file and not for the rest.
#[test]
fn a_disk_that_would_fill_halfway_is_no_broken_download() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    assert!(nix::unistd::geteuid().is_root(), "a small disk needs root");
    let setup = Setup::with_archive();
    let served = serve(&setup);
    get(served.address, ROOT, &[]);
    get(served.address, INDEX, &[]);
    let tmp = setup.store.layout().root().join("tmp");
    let size = Some("size=2m");
    mount(Some("tmpfs"), &tmp, Some("tmpfs"), MsFlags::empty(), size).unwrap();
    let response = get(served.address, BIG, &[]);
    let log = served.log(3);
    umount2(&tmp, MntFlags::MNT_DETACH).unwrap();
    assert!(response.status == 200 && response.body == big());
    assert_eq!((log[2].0.verdict, log[2].1.end), (CacheStatus::Passed, End::Complete));
    let problem = log[2].0.problem.as_deref().unwrap();
    assert!(problem.contains("No space left on device"), "{problem}");
    assert_eq!(get(served.address, BIG, &[]).body, big());
    assert_eq!(served.verdicts(4)[3], CacheStatus::Miss);
}

/// The store's file system fails: files go through, and are verified on the way.
#[test]
fn what_cannot_be_kept_goes_through() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    get(served.address, ROOT, &[]);
    get(served.address, INDEX, &[]);
    get(served.address, SMALL, &[]);
    setup.store.packages().remove(&sha256(&small())).unwrap();
    // No file can be made where the directory for files in the making should be.
    let tmp = setup.store.layout().root().join("tmp");
    std::fs::remove_dir_all(&tmp).unwrap();
    std::fs::write(&tmp, "").unwrap();
    for (path, bytes) in [(SMALL, small()), (BIG, big())] {
        let response = get(served.address, path, &[]);
        assert!(response.body == bytes && response.status == 200, "{path}: {}", response.status);
    }
    let log = served.log(5);
    for (exchange, sent) in &log[3..] {
        assert_eq!((exchange.verdict, sent.end), (CacheStatus::Passed, End::Complete));
        assert!(exchange.problem.as_deref().unwrap().starts_with("it could not be kept: cannot create"));
    }
    setup.upstream.reply(&format!("/debian/{BIG}"), [Reply::File(noise(9, big().len()))]);
    let wrong = get(served.address, BIG, &[]);
    assert!(wrong.body.len() < big().len(), "a wrong file was completed");
    assert_eq!(served.log(6)[5].1.end, End::Broken);
    assert!(setup.store.packages().open(&sha256(&big())).unwrap().is_none());
}

/// Nothing could ever be kept, not even the index that tells what a file has to be.
#[test]
fn what_cannot_be_kept_is_verified_without_its_index_in_the_store() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    let tmp = setup.store.layout().root().join("tmp");
    std::fs::remove_dir_all(&tmp).unwrap();
    std::fs::write(&tmp, "").unwrap();
    get(served.address, ROOT, &[]);
    get(served.address, INDEX, &[]);
    setup.upstream.reply(&format!("/debian/{BIG}"), [Reply::File(noise(9, big().len()))]);
    let wrong = get(served.address, BIG, &[]);
    assert!(wrong.body.len() < big().len(), "a wrong file was completed");
    setup.upstream.reply(&format!("/debian/{BIG}"), [Reply::File(big())]);
    for (path, bytes) in [(SMALL, small()), (BIG, big())] {
        let response = get(served.address, path, &[]);
        assert!(response.body == bytes && response.status == 200, "{path}: {}", response.status);
    }
    let log = served.log(5);
    assert_eq!(log[2].1.end, End::Broken);
    assert!(log[3..].iter().all(|(_, sent)| sent.end == End::Complete));
}

#[test]
fn twenty_clients_update_at_once_with_one_request() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    let address = served.address;
    let clients: Vec<_> = (0..20).map(|_| std::thread::spawn(move || update_and_fetch(address))).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    for path in [ROOT, INDEX, SMALL, BIG] {
        assert_eq!(setup.upstream.seen(&format!("/debian/{path}")).len(), 1, "{path}");
    }
}

#[test]
fn a_mirror_that_hangs_delays_nobody_twice() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    update_and_fetch(served.address);
    drop(served.guard);
    setup.upstream.reply(&format!("/debian/{ROOT}"), [Reply::Hang(Duration::from_secs(5))]);
    let served = serve(&setup);
    let address = served.address;
    let clients: Vec<_> = (0..10).map(|_| std::thread::spawn(move || update_and_fetch(address))).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    // One before the restart, and one look of as many attempts as there are.
    assert_eq!(setup.upstream.seen(&format!("/debian/{ROOT}")).len(), 4);
}

#[test]
fn it_tells_about_itself() {
    let setup = Setup::with_archive();
    let served = serve(&setup);
    let page = request(served.address, "GET", "/", &[]);
    assert!(page.headers["content-type"].starts_with("text/html") && page.text().contains("ibuild proxy"));
    assert!(page.headers["content-security-policy"].contains("default-src 'none'"));
    let numbers = request(served.address, "GET", "/metrics", &[]);
    assert!(numbers.headers["content-type"].starts_with("text/plain"), "{:?}", numbers.headers);
    assert!(numbers.text().contains("# TYPE ibuild_proxy_requests_total counter"), "{}", numbers.text());
}

#[test]
fn offline_serves_what_is_there() {
    let mut setup = Setup::with_archive();
    let served = serve(&setup);
    update_and_fetch(served.address);
    drop(served.guard);
    setup.fetcher = fetcher(&setup.store, Upstream::Offline(FallbackSources::default()));
    let served = serve(&setup);
    update_and_fetch(served.address);
    let missing = get(served.address, "pool/main/n/none_1_amd64.deb", &[]);
    assert_eq!(missing.status, 404, "{}", missing.text());
}
