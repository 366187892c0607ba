//! Moments as Debian's Release files, HTTP and the lock write them.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

const DAY: u64 = 24 * 60 * 60;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

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

    /// Reads `Sat, 12 Sep 2026 07:55:41 UTC`, the form of Release files and (with `GMT`) of HTTP.
    pub fn from_release(text: &str) -> Result<Self, ParseTimeError> {
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let moment = match words[..] {
            [_, day, month, year, clock, "UTC" | "GMT" | "+0000"] => MONTHS
                .iter()
                .position(|m| *m == month)
                .and_then(|month| from_parts(year.parse().ok()?, month as u64 + 1, day.parse().ok()?, clock)),
            _ => None,
        };
        moment.ok_or_else(|| ParseTimeError(text.to_owned()))
    }

    /// Whether this is more than a day after another moment: no two clocks that are right differ so much.
    pub fn is_far_after(self, other: Self) -> bool {
        self.0 > other.0.saturating_add(DAY)
    }

    /// The form of HTTP headers: `Sat, 12 Sep 2026 07:55:41 GMT`.
    pub fn http_date(self) -> String {
        let (year, month, day) = civil(self.0 / DAY);
        let weekday = WEEKDAYS[(self.0 / DAY % 7) as usize];
        let month = MONTHS[month as usize - 1];
        format!("{weekday}, {day:02} {month} {year} {} GMT", self.clock())
    }

    /// The form of snapshot services: `20260912T075541Z`.
    pub fn compact(self) -> String {
        self.to_string().replace(['-', ':'], "")
    }

    fn clock(self) -> String {
        let second = self.0 % DAY;
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T{}Z", self.clock())
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
            let mut parts = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
            from_parts(parts.next()??, parts.next()??, parts.next()??, clock)
        };
        parse().ok_or_else(|| ParseTimeError(text.to_owned()))
    }
}

fn from_parts(year: u64, month: u64, day: u64, clock: &str) -> Option<Timestamp> {
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let sane = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(Timestamp(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second))
}

/// Days since 1970 of a date of the Gregorian calendar; years start in March, so that a leap day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// The inverse of [`days`].
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
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

    #[test]
    fn every_day_of_four_centuries() {
        for day in 0..146_097 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
        assert_eq!(civil(11_016), (2000, 2, 29));
    }

    #[test]
    fn nonsense() {
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01 00:00:00"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
        assert!(Timestamp::from_release("Sat, 12 Sep 2026 07:55:41 CEST").is_err());
    }
}
