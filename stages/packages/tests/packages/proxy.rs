//! What a stage sees through the proxy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use ibuild_packages::{CacheStatus, Proxy, ServeGuard, StageFetch, StageTls};
use nix::sys::socket::{getsockopt, sockopt};

use crate::archive::{BIG, Setup, big, file, noise, sha256, small};
use crate::client::{get, request};
use crate::upstream::Reply;

/// As apt writes it.
const SMALL: &str = "pool/main/s/small_1%2bb%7e1_amd64.deb";

fn serve(setup: &Setup) -> (SocketAddr, ServeGuard) {
    let view = setup.view(&setup.record().unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tls = StageTls::new(&view, std::time::SystemTime::now(), Duration::from_secs(60)).unwrap();
    (address, Proxy::new(&setup.fetcher).serve(listener, "hello/tools", view, tls).unwrap())
}

#[test]
fn the_second_time_needs_no_mirror() {
    let setup = Setup::with_archive();
    let (proxy, guard) = serve(&setup);
    assert_eq!(get(proxy, SMALL, &[]).body, small());
    setup.upstream.stop();
    let second = get(proxy, SMALL, &[]);
    assert_eq!((second.status, second.body), (200, small()));
    let index = get(proxy, "dists/trixie/main/binary-amd64/Packages", &[]);
    let by_hash = format!("dists/trixie/main/binary-amd64/by-hash/SHA256/{}", sha256(&index.body).hex());
    assert_eq!(get(proxy, &by_hash, &[]).body, index.body);
    let fetches = guard.finish();
    let file = file(&["pool/main/s/small_1+b~1_amd64.deb"], &small());
    let fetch = |verdict| StageFetch {
        address: format!("http://deb.debian.org/debian/{SMALL}"),
        file: Some(file.clone()),
        verdict,
        problem: None,
    };
    assert_eq!(fetches[..2], [fetch(CacheStatus::Miss), fetch(CacheStatus::Hit)]);
}

/// A stalled client was one that had no room for a whole segment of loopback.
#[test]
fn segments_on_loopback_are_no_larger_than_elsewhere() {
    let setup = Setup::with_archive();
    let (proxy, _guard) = serve(&setup);
    let client = TcpStream::connect(proxy).unwrap();
    let largest = getsockopt(&client, sockopt::TcpMaxSeg).unwrap();
    assert!(largest <= 1460, "{largest}");
}

#[test]
fn refusals_say_why() {
    let setup = Setup::with_archive();
    let (proxy, _guard) = serve(&setup);
    let check = |method: &str, target: &str, status: u16, why: &str| {
        let response = request(proxy, method, target, &[]);
        assert_eq!(response.status, status, "{target}");
        let text = response.text();
        assert!(text.starts_with("ibuild: stage `hello/tools` asked for ") && text.contains(why), "{text}");
    };
    let debian = "http://deb.debian.org/debian";
    check("GET", "http://example.org/debian/x", 403, "example.org is not part of the declared archive");
    check("CONNECT", "example.org:443", 403, "https to example.org:443 is not served");
    check("POST", &format!("{debian}/x"), 405, "only GET and HEAD");
    check("GET", "/x", 400, "this is a proxy for apt");
    check("GET", &format!("{debian}/dists/sid/InRelease"), 404, "the suites trixie");
    check(
        "GET",
        &format!("{debian}/dists/trixie/Release"),
        404,
        "the signed Release of trixie does not list it",
    );
    check(
        "GET",
        &format!("{debian}/pool/main/n/no_1_all.deb"),
        404,
        "neither of dists/trixie/main/binary-amd64",
    );
    check("GET", &format!("{debian}/dists/trixie/main/gone"), 404, "the mirror does not have it");
    setup.upstream.stop();
    check("GET", &format!("{debian}/{BIG}"), 503, "the mirror cannot be reached");
}

#[test]
fn parts_and_conditions() {
    let setup = Setup::with_archive();
    let (proxy, _guard) = serve(&setup);
    let whole = get(proxy, SMALL, &[]);
    let date = whole.headers["last-modified"].as_str();
    let part = get(proxy, SMALL, &[("Range", "bytes=9000-"), ("If-Range", date)]);
    assert_eq!((part.status, part.headers["content-range"].as_str()), (206, "bytes 9000-9999/10000"));
    assert_eq!(part.body, small()[9000..]);
    let other = "Sat, 01 Jan 2000 00:00:00 GMT";
    assert_eq!(get(proxy, SMALL, &[("Range", "bytes=9000-"), ("If-Range", other)]).status, 200);
    let behind = get(proxy, SMALL, &[("Range", "bytes=10000-")]);
    assert_eq!((behind.status, behind.headers["content-range"].as_str()), (416, "bytes */10000"));
    assert!(!behind.body.is_empty());
    assert_eq!(get(proxy, SMALL, &[("If-Modified-Since", date)]).status, 304);
    assert_eq!(get(proxy, SMALL, &[("If-Modified-Since", other)]).status, 200);
    let head = request(proxy, "HEAD", &format!("http://deb.debian.org/debian/{SMALL}"), &[]);
    assert_eq!((head.status, head.headers["content-length"].as_str(), head.body.len()), (200, "10000", 0));
}

/// A regression: who asked for a part got the whole while the file was on its way, so that what a stage saw depended on what
/// the store had.
#[test]
fn a_part_of_a_file_that_is_on_its_way_is_that_part() {
    let setup = Setup::with_archive();
    setup.upstream.reply(&format!("/debian/{BIG}"), [Reply::Slow(big(), Duration::from_millis(300))]);
    let (proxy, _guard) = serve(&setup);
    let ranges =
        [("bytes=0-99", 0..100), ("bytes=9-", 9..big().len()), ("bytes=700000-800000", 700_000..800_001)];
    let ask = |range: &'static str| std::thread::spawn(move || get(proxy, BIG, &[("Range", range)]));
    let coming: Vec<_> = ranges.iter().map(|(range, _)| ask(range)).collect();
    let behind = format!("bytes={}-", big().len());
    assert_eq!(get(proxy, BIG, &[("Range", &behind)]).status, 416);
    for (response, (range, part)) in coming.into_iter().zip(&ranges) {
        let response = response.join().unwrap();
        assert_eq!((response.status, &response.body[..]), (206, &big()[part.clone()]), "{range}");
        let at_hand = get(proxy, BIG, &[("Range", range)]);
        assert_eq!(at_hand.headers["content-range"], response.headers["content-range"]);
    }
    assert_eq!(setup.upstream.seen(&format!("/debian/{BIG}")).len(), 1);
}

#[test]
fn no_client_completes_a_wrong_part() {
    let setup = Setup::with_archive();
    let replies = [Reply::Slow(noise(9, big().len()), Duration::from_millis(100)), Reply::File(big())];
    setup.upstream.reply(&format!("/debian/{BIG}"), replies);
    let (proxy, _guard) = serve(&setup);
    let part = get(proxy, BIG, &[("Range", "bytes=0-199999")]);
    assert!(part.status == 206 && part.body.len() < 200_000, "{} bytes", part.body.len());
}

#[test]
fn eight_clients_share_one_download() {
    let setup = Setup::with_archive();
    setup.upstream.reply(&format!("/debian/{BIG}"), [Reply::Slow(big(), Duration::from_millis(200))]);
    let (proxy, _guard) = serve(&setup);
    let start = Arc::new(Barrier::new(8));
    let clients = (0..8).map(|_| {
        let start = start.clone();
        std::thread::spawn(move || {
            start.wait();
            get(proxy, BIG, &[]).body
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), big());
    }
    assert_eq!(setup.upstream.seen(&format!("/debian/{BIG}")).len(), 1);
}

#[test]
fn no_client_completes_a_wrong_file() {
    let setup = Setup::with_archive();
    let replies = [Reply::Slow(noise(9, big().len()), Duration::from_millis(100)), Reply::File(big())];
    setup.upstream.reply(&format!("/debian/{BIG}"), replies);
    let (proxy, _guard) = serve(&setup);
    let first = get(proxy, BIG, &[]);
    assert!(first.body.len() < big().len(), "{} bytes", first.body.len());
    let date = first.headers["last-modified"].as_str();
    let range = format!("bytes={}-", first.body.len());
    let second = get(proxy, BIG, &[("Range", &range), ("If-Range", date)]);
    assert_eq!((second.status, second.body), (200, big()));
}

#[test]
fn a_dropped_guard_closes_the_socket() {
    let setup = Setup::with_archive();
    let (proxy, guard) = serve(&setup);
    let _kept = TcpStream::connect(proxy).unwrap();
    drop(guard);
    let since = Instant::now();
    while TcpStream::connect(proxy).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(5), "it still listens");
        std::thread::sleep(Duration::from_millis(10));
    }
}
