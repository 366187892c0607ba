//! Moments as Debian's Release files, HTTP and the lock write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

const DAY: u64 = 24 * 60 * 60;

/// The last second of a year with four digits. What is later is written as this.
const LAST: u64 = 253_402_300_799;

/// Seconds since 1970, UTC. Displayed as `2026-09-12T07:55:41Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// Why a text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date")]
pub struct ParseTimeError(String);

impl Timestamp {
    /// By this machine's clock.
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(now.map_or(0, |now| now.as_secs()))
    }

    /// Reads `Sat, 12 Sep 2026 07:55:41 UTC`, the form of Release files, and with `GMT` that of HTTP. Of the day of the week
    /// nothing is believed.
    pub fn from_release(text: &str) -> Result<Self, ParseTimeError> {
        let parse = || {
            let (_, date) = text.trim().split_once(char::is_whitespace)?;
            let date =
                date.strip_suffix("UTC").map_or_else(|| date.to_owned(), |date| format!("{date}+0000"));
            Self::of(OffsetDateTime::parse(&date, &Rfc2822).ok()?)
        };
        parse().ok_or_else(|| ParseTimeError(text.to_owned()))
    }

    fn of(moment: OffsetDateTime) -> Option<Self> {
        moment.unix_timestamp().try_into().ok().map(Self)
    }

    /// Whether this is more than a day after another moment: no two clocks that are right differ so much.
    pub fn is_far_after(self, other: Self) -> bool {
        self.0 > other.0.saturating_add(DAY)
    }

    /// The form of HTTP headers: `Sat, 12 Sep 2026 07:55:41 GMT`.
    pub fn http_date(self) -> String {
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.min(LAST)))
    }

    /// The form of snapshot services: `20260912T075541Z`.
    pub fn compact(self) -> String {
        self.to_string().replace(['-', ':'], "")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0.min(LAST).cast_signed());
        let text = moment.ok().and_then(|moment| moment.format(&Rfc3339).ok());
        f.write_str(&text.expect("years of four digits have this form"))
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    /// Reads what is displayed, and no other form of the same moment.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok().and_then(Self::of);
        moment.filter(|moment| moment.to_string() == text).ok_or_else(|| ParseTimeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_forms_of_one_moment() {
        let moment = Timestamp::from_release("Sat, 12 Sep 2026 07:55:41 UTC").unwrap();
        assert_eq!(moment, Timestamp(1_789_199_741));
        assert_eq!(moment.to_string(), "2026-09-12T07:55:41Z");
        assert_eq!(moment.to_string().parse(), Ok(moment));
        assert_eq!(moment.compact(), "20260912T075541Z");
        assert_eq!(moment.http_date(), "Sat, 12 Sep 2026 07:55:41 GMT");
        assert_eq!(Timestamp::from_release(&moment.http_date()), Ok(moment));
    }

    /// As `date -R`, aptly and others write it.
    #[test]
    fn releases_of_others() {
        let padded = Timestamp::from_release("Sat, 05 Sep 2026 07:55:41 UTC").unwrap();
        for same in [
            "Sat, 5 Sep 2026 07:55:41 UTC",
            "Sat,  5 Sep 2026 07:55:41 +0000",
            "  Mon, 05 Sep 2026 07:55:41 GMT ",
            "sam., 05 Sep 2026 09:55:41 +0200",
        ] {
            assert_eq!(Timestamp::from_release(same), Ok(padded), "{same}");
        }
    }

    #[test]
    fn years_have_four_digits() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp(u64::MAX).http_date(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn nonsense() {
        for bad in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01 00:00:00",
            "2026-01-01T00:00:00.5Z",
            "2026-01-01T00:00:00+00:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
        for bad in ["Sat, 12 Sep 2026 07:55:41 CEST", "Sat, 31 Sep 2026 07:55:41 UTC", "UTC", ""] {
            assert!(Timestamp::from_release(bad).is_err(), "{bad}");
        }
    }
}
