//! Which part of a known file answers a request: a function of the request's headers and the file's digest.

use hyper::HeaderMap;
use hyper::header::{IF_MODIFIED_SINCE, IF_RANGE, RANGE};
use ibuild_cache::Sha256;

use ibuild_debian::{Known, Timestamp};

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All of it.
    Whole,
    /// From `start` up to, not including, `end`.
    Part { start: u64, end: u64 },
    /// Nothing: the client has it.
    NotModified,
    /// Nothing: the client asks for what lies behind the end.
    OutOfRange,
}

/// The modification time that stands for a digest. apt compares times where HTTP would compare entity tags, so
/// equal content has to have an equal time and other content another one. These lie between 2000 and 2017,
/// before any build's epoch, so that they are the same in every image.
pub(crate) fn last_modified(digest: &Sha256) -> Timestamp {
    const YEAR_2000: u64 = 946_684_800;
    let bits = u32::from_be_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"));
    Timestamp(YEAR_2000 + u64::from(bits >> 3))
}

/// Decides. Several ranges at once, and ranges that are no ranges, are answered with the whole, as HTTP allows.
pub(crate) fn answer(headers: &HeaderMap, known: &Known) -> Answer {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_its_date = |validator: &str| validator == last_modified(&known.sha256).http_date();
    if text(IF_MODIFIED_SINCE).is_some_and(is_its_date) && !headers.contains_key(RANGE) {
        return Answer::NotModified;
    }
    let is_same = text(IF_RANGE).is_none_or(is_its_date);
    let range = text(RANGE).filter(|_| is_same).and_then(|range| parse_range(range, known.size));
    match range {
        None => Answer::Whole,
        Some((start, end)) if start < end => Answer::Part { start, end },
        Some(_) => Answer::OutOfRange,
    }
}

fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (start, end) {
        ("", last) => Some((size.saturating_sub(number(last)?), size)),
        (start, "") => Some((number(start)?, size)),
        (start, end) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then(|| (start, end.saturating_add(1).min(size)))
        }
    }
}

/// Digits alone: a sign is no part of a range.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known { sha256: Sha256::from_bytes([7; 32]), size: 100 };

    fn check(headers: &[(hyper::header::HeaderName, &str)], expected: Answer) {
        let map = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        assert_eq!(answer(&map, &KNOWN), expected, "{headers:?}");
    }

    #[test]
    fn ranges() {
        check(&[], Answer::Whole);
        for (range, start, end) in
            [("bytes=0-", 0, 100), ("bytes=5-9", 5, 10), ("bytes=90-200", 90, 100), ("bytes=-10", 90, 100)]
        {
            check(&[(RANGE, range)], Answer::Part { start, end });
        }
        for range in ["bytes=100-", "bytes=150-160", "bytes=-0"] {
            check(&[(RANGE, range)], Answer::OutOfRange);
        }
        for range in
            ["bytes=1-2,4-5", "bytes=9-5", "bytes=x-", "lines=1-2", "bytes=-", "bytes=+5-", "bytes=1-+2"]
        {
            check(&[(RANGE, range)], Answer::Whole);
        }
    }

    #[test]
    fn conditions() {
        let date = last_modified(&KNOWN.sha256);
        let (same, later) = (date.http_date(), Timestamp(date.0 + 1).http_date());
        check(&[(IF_MODIFIED_SINCE, &same)], Answer::NotModified);
        check(&[(IF_MODIFIED_SINCE, &later)], Answer::Whole);
        check(&[(RANGE, "bytes=5-"), (IF_RANGE, &same)], Answer::Part { start: 5, end: 100 });
        check(&[(RANGE, "bytes=5-"), (IF_RANGE, &later)], Answer::Whole);
    }

    #[test]
    fn times_stand_for_digests() {
        assert_eq!(last_modified(&Sha256::from_bytes([0; 32])).to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(last_modified(&Sha256::from_bytes([255; 32])).to_string(), "2017-01-04T18:48:31Z");
    }
}
