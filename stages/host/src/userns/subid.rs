//! `/etc/subuid` and `/etc/subgid` (subuid(5), subgid(5)): which ids a user may hand out in a namespace.
//!
//! ```text
//! name or uid : first id : number of ids
//! ```

/// Ids that belong to a user besides the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubidRange {
    /// The first.
    pub start: u32,
    /// How many, at least one.
    pub count: u32,
}

impl SubidRange {
    /// The first id behind the range.
    fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    /// Whether the range has `id` in it.
    pub fn contains(self, id: u32) -> bool {
        (u64::from(self.start)..self.end()).contains(&u64::from(id))
    }
}

/// The ranges of one user, who is named by either. Lines that mean nothing are passed over, as the tools that
/// read these files do.
pub fn ranges_of(text: &str, name: Option<&str>, uid: u32) -> Vec<SubidRange> {
    let is_owner = |owner: &str| Some(owner) == name || owner.parse() == Ok(uid);
    lines(text).filter(|(owner, _)| is_owner(owner)).map(|(_, range)| range).collect()
}

/// `count` ids that nobody has, above those that accounts of people and services usually get.
pub fn free_range(text: &str, count: u32) -> SubidRange {
    const LOWEST: u64 = 100_000;
    let taken = lines(text).map(|(_, range)| range.end()).max().unwrap_or(LOWEST).max(LOWEST);
    // A file that leaves no room above is rare enough for a suggestion that its owner has to adapt.
    let fits = taken + u64::from(count) < u64::from(u32::MAX);
    SubidRange { start: if fits { taken as u32 } else { LOWEST as u32 }, count }
}

fn lines(text: &str) -> impl Iterator<Item = (&str, SubidRange)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (owner, start, count) =
            (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let range = SubidRange { start, count };
        let is_range = fields.next().is_none() && !owner.is_empty() && count > 0 && range.end() <= 1 << 32;
        is_range.then_some((owner, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# people
ann:100000:65536
bob:165536:65536
1002:231072:1000

ann:300000:10
broken
ann:x:10
ann:400000:0
ann:4294967295:2
ann:500000:10:more
:600000:10
";

    fn pairs(name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
        ranges_of(FILE, name, uid).iter().map(|range| (range.start, range.count)).collect()
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        assert_eq!(pairs(Some("ann"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(pairs(Some("eve"), 1002), [(231_072, 1000)]);
        assert_eq!(pairs(None, 1002), [(231_072, 1000)]);
        assert_eq!(pairs(Some("an"), 1000), []);
        assert_eq!(pairs(None, 0), []);
    }

    #[test]
    fn ends_are_outside() {
        let range = SubidRange { start: 10, count: 5 };
        assert_eq!([9, 10, 14, 15].map(|id| range.contains(id)), [false, true, true, false]);
        assert!(SubidRange { start: u32::MAX, count: 1 }.contains(u32::MAX));
    }

    #[test]
    fn what_is_suggested_is_free() {
        assert_eq!(free_range("", 65_536), SubidRange { start: 100_000, count: 65_536 });
        assert_eq!(free_range(FILE, 65_536).start, 300_010);
        let full = "x:4294900000:65536\n";
        assert_eq!(free_range(full, 65_536).start, 100_000);
    }
}
