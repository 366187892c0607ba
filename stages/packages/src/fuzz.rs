//! Texts from outside, damaged at random: whatever comes, a reader ends without a panic, and understands what a second and
//! simpler reader understands. `IBUILD_NIGHTLY=1` tries a thousand times as many, `IBUILD_SEED=N` others.

use std::collections::BTreeMap;

use fastrand::Rng;
use hyper::header::{HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_RANGE, RANGE};
use hyper::{Method, Uri};
use ibuild_cache::Sha256;

use crate::proxy::address::Addresses;
use crate::proxy::range::{Answer, answer, last_modified};
use crate::proxy::target::Target;
use ibuild_debian::{Base, Known, Release, Timestamp, Url, deb822, index, release::check_envelope};

const PACKAGES: &str = include_str!("../tests/packages/corpus/Packages");
const RELEASE: &str = include_str!("../tests/packages/corpus/Release");
const INRELEASE: &str = include_str!("../tests/packages/corpus/InRelease");

#[allow(clippy::disallowed_methods, reason = "the nightly run of the tests says so in the environment")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(crate) fn seed() -> u64 {
    setting("IBUILD_SEED").map_or(1, |seed| seed.parse().expect("a seed is a number"))
}

/// Calls `check` with damaged copies of texts from a list.
fn fuzz(corpus: &[&str], check: impl Fn(&str)) {
    let rounds = if setting("IBUILD_NIGHTLY").is_some() { 2_000_000 } else { 2_000 };
    let mut rng = Rng::with_seed(seed());
    for _ in 0..rounds {
        let mut bytes = rng.choice(corpus).unwrap().as_bytes().to_vec();
        for _ in 0..rng.usize(1..6) {
            damage(&mut bytes, corpus, &mut rng);
        }
        check(&String::from_utf8_lossy(&bytes));
    }
}

/// What readers stumble over.
const PIECES: [&str; 24] = [
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "\t",
    ":",
    "#",
    "-",
    "--",
    "/",
    "//",
    "..",
    "/../",
    "%2e",
    "%2F",
    "%00",
    "%",
    "@",
    "?",
    "[",
    "0",
    "18446744073709551616",
    "+1",
    "\u{e9}",
];

fn damage(bytes: &mut Vec<u8>, corpus: &[&str], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let end = at + rng.usize(..=(bytes.len() - at).min(80));
    match rng.u8(..7) {
        0 => drop(bytes.drain(at..end)),
        1 => drop(bytes.splice(at..at, rng.choice(PIECES).unwrap().bytes())),
        2 => drop(bytes.splice(at..end, rng.choice(PIECES).unwrap().bytes())),
        3 => bytes.truncate(end),
        4 if at < end => bytes[at] = rng.u8(..),
        5 => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, again));
        }
        _ => {
            // A line of another text, or of the same.
            let lines: Vec<_> = rng.choice(corpus).unwrap().split_inclusive('\n').collect();
            drop(bytes.splice(at..at, rng.choice(lines).unwrap_or_default().bytes()));
        }
    }
}

/// The fields of all paragraphs, read line by line.
fn second_reader(text: &str) -> Vec<Vec<(String, String)>> {
    let (mut paragraphs, mut paragraph) = (Vec::new(), Vec::<(Option<String>, String)>::new());
    for line in text.split('\n').chain([""]) {
        if line.is_empty() {
            let fields = std::mem::take(&mut paragraph).into_iter();
            let named: Vec<_> =
                fields.filter_map(|(name, value)| Some((name?, value.trim().to_owned()))).collect();
            if !named.is_empty() {
                paragraphs.push(named);
            }
        } else if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), paragraph.last_mut()) {
            *value += "\n";
            *value += line;
        } else {
            let field = line.split_once(':').filter(|_| !line.starts_with(['#', ' ', '\t']));
            paragraph.push(match field {
                Some((name, value)) => (Some(name.to_owned()), value.to_owned()),
                None => (None, String::new()),
            });
        }
    }
    paragraphs
}

#[test]
fn control_files_are_read_as_by_a_second_reader() {
    fuzz(&[PACKAGES, RELEASE], |text| {
        let fields = |paragraph| -> Vec<_> {
            deb822::fields(paragraph).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let read: Vec<Vec<_>> = deb822::paragraphs(text).map(fields).filter(|it| !it.is_empty()).collect();
        assert_eq!(read, second_reader(text), "{text:?}");
        for stanza in index::stanzas(text) {
            if let Ok(known) = stanza.known() {
                // What is believed about a package stands in its paragraph.
                assert!(
                    text.contains(&known.size.to_string())
                        && text.to_lowercase().contains(&known.sha256.hex())
                );
            }
        }
    });
}

#[test]
fn a_release_lists_only_what_stands_in_it() {
    fuzz(&[RELEASE], |text| {
        let Ok(release) = Release::parse(text) else { return };
        let lines: BTreeMap<_, _> =
            text.lines().filter_map(|line| Some((line.split_ascii_whitespace().last()?, line))).collect();
        for index in release.all_packages() {
            assert_eq!(release.file(&index.path).as_ref(), Some(index));
            assert!(lines.contains_key(&*index.path), "{}: {text:?}", index.path);
        }
    });
}

/// Nothing that a client believes may stand outside of what is signed.
#[test]
fn an_envelope_is_one_message_and_nothing_else() {
    fuzz(&[INRELEASE], |text| {
        if check_envelope(text.as_bytes()).is_err() {
            return;
        }
        let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
        let armour =
            |what: &str| lines.iter().filter(|line| line.strip_prefix("-----") == Some(what)).count();
        assert_eq!(lines.first(), Some(&"-----BEGIN PGP SIGNED MESSAGE-----"), "{text:?}");
        assert_eq!(lines.last(), Some(&"-----END PGP SIGNATURE-----"), "{text:?}");
        assert_eq!(armour("BEGIN PGP SIGNED MESSAGE-----"), 1, "{text:?}");
        assert_eq!(armour("BEGIN PGP SIGNATURE-----"), 1, "{text:?}");
    });
}

#[test]
fn parts_lie_within_the_file() {
    let known = Known { sha256: Sha256::from_bytes([7; 32]), size: 1000 };
    let date = last_modified(&known.sha256).http_date();
    let earlier = Timestamp(last_modified(&known.sha256).0 - 1).http_date();
    fuzz(&["bytes=0-499", "bytes=500-", "bytes=-300", "bytes=0-0,5-9", "bytes=999-1000"], |text| {
        let Ok(range) = HeaderValue::from_str(text) else { return };
        let mut headers = HeaderMap::from_iter([(RANGE, range)]);
        let asked = answer(&headers, &known);
        match asked {
            Answer::Part { start, end } => assert!(start < end && end <= known.size, "{text:?}: {asked:?}"),
            Answer::OutOfRange | Answer::Whole => {}
            Answer::NotModified => panic!("{text:?} is no condition"),
        }
        let is_asked = |c: char| c.is_ascii_digit() || c == '-';
        let plain = text.strip_prefix("bytes=").is_some_and(|range| range.chars().all(is_asked));
        assert!(plain || asked == Answer::Whole, "{text:?}: {asked:?}");
        // A condition only ever makes more of it.
        headers.insert(IF_RANGE, earlier.parse().unwrap());
        assert_eq!(answer(&headers, &known), Answer::Whole, "{text:?}");
        headers.insert(IF_RANGE, date.parse().unwrap());
        headers.insert(IF_MODIFIED_SINCE, date.parse().unwrap());
        assert_eq!(answer(&headers, &known), asked, "{text:?}");
    });
}

#[test]
fn no_request_leads_out_of_an_archive() {
    let addresses = Addresses::canonical();
    let corpus = [
        "http://deb.debian.org/debian/dists/trixie/InRelease",
        "http://security.debian.org/debian-security/pool/updates/main/a/a_1%2bb%7e1_amd64.deb",
        "http://deb.debian.org:80/debian/pool/main/../x",
        "/debian/pool/x",
        "deb.debian.org:443",
    ];
    let mirror: Url = "http://mirror.example/debian".parse().unwrap();
    fuzz(&corpus, |text| {
        let Ok(uri) = text.parse::<Uri>() else { return };
        let Ok(target) = Target::parse(&Method::GET, &uri, &addresses) else { return };
        let hosts = ["deb.debian.org", "security.debian.org"];
        assert!(uri.host().is_some_and(|host| hosts.contains(&&*host.to_lowercase())), "{text:?}");
        assert!(matches!(uri.port_u16(), None | Some(80)), "{text:?}");
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        assert!(target.path.split('/').all(is_plain), "{text:?}: {target:?}");
        // What a mirror is asked for is the same file, however often it is decoded there.
        let asked: Uri = mirror.join(&target.path).to_string().parse().unwrap();
        let at_mirror = asked.path().strip_prefix("/debian/").unwrap();
        assert!(!at_mirror.split('/').any(|part| part == ".." || part == "."), "{text:?}: {asked}");
        let again: Uri = format!("http://deb.debian.org/debian/{at_mirror}").parse().unwrap();
        let again = Target::parse(&Method::GET, &again, &addresses).unwrap();
        assert_eq!(again, Target { base: Base::Main, path: target.path.clone() }, "{text:?}");
    });
}
