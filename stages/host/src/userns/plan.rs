//! How the ids of a namespace are to be those of the host: 0 is the user, and the others are the user's subordinate ids.

use nix::unistd::{User, getegid, geteuid};

use super::UserNamespaceError;
use super::subid::{SubidRange, free_range, ranges_of};

/// Where the ids of users are.
pub(super) const SUBUID: &str = "/etc/subuid";
/// Where those of groups are.
pub(super) const SUBGID: &str = "/etc/subgid";

/// With 0 they make all that a Debian system gives out: 65534 is `nobody`.
const LEAST: u32 = 65_535;

/// Both mappings of a user's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingPlan {
    uids: Mapping,
    gids: Mapping,
}

/// 0 in the namespace is `own`, from 1 on come those of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    own: u32,
    range: SubidRange,
}

/// Who wants a namespace, and what the host's files say.
#[derive(Debug, Clone)]
struct Applicant<'a> {
    name: Option<&'a str>,
    uid: u32,
    gid: u32,
    subuid: &'a str,
    subgid: &'a str,
}

impl MappingPlan {
    /// For the user of this process, as the host's files say.
    pub fn of_process() -> Result<Self, UserNamespaceError> {
        let (uid, gid) = (geteuid(), getegid());
        let user = User::from_uid(uid).ok().flatten();
        // A file that is not there gives nobody anything.
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::for_applicant(&Applicant {
            name: user.as_ref().map(|user| user.name.as_str()),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            subuid: &read(SUBUID),
            subgid: &read(SUBGID),
        })
    }

    fn for_applicant(who: &Applicant<'_>) -> Result<Self, UserNamespaceError> {
        let uids = Mapping::of(who, who.uid, who.subuid).ok_or_else(|| who.refused(SUBUID))?;
        let gids = Mapping::of(who, who.gid, who.subgid).ok_or_else(|| who.refused(SUBGID))?;
        Ok(Self { uids, gids })
    }

    /// What `newuidmap` is told after the process id: inside, outside, number, for each part.
    pub(super) fn uid_arguments(&self) -> String {
        self.uids.arguments()
    }

    /// The same for `newgidmap`.
    pub(super) fn gid_arguments(&self) -> String {
        self.gids.arguments()
    }

    /// The host's ids that are given out, for people: of users, then of groups.
    pub fn ranges(&self) -> [SubidRange; 2] {
        [self.uids.range, self.gids.range]
    }
}

impl Mapping {
    /// By the first range that is long enough. Also the files for groups name users.
    fn of(who: &Applicant<'_>, own: u32, text: &str) -> Option<Self> {
        let fits = |range: &SubidRange| range.count >= LEAST && !range.contains(own);
        let range = ranges_of(text, who.name, who.uid).into_iter().find(fits)?;
        // The last id of all means "no id".
        Some(Self { own, range: SubidRange { count: range.count.min(u32::MAX - 1), ..range } })
    }

    fn arguments(&self) -> String {
        let Self { own, range: SubidRange { start, count } } = self;
        format!("0 {own} 1 1 {start} {count}")
    }
}

impl Applicant<'_> {
    fn refused(&self, file: &'static str) -> UserNamespaceError {
        let user = self.name.map_or_else(|| self.uid.to_string(), str::to_owned);
        let (uids, gids) = (free_range(self.subuid, LEAST + 1), free_range(self.subgid, LEAST + 1));
        UserNamespaceError::NoRange { file, user, uids, gids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann<'a>(subuid: &'a str, subgid: &'a str) -> Applicant<'a> {
        Applicant { name: Some("ann"), uid: 1000, gid: 100, subuid, subgid }
    }

    #[test]
    fn root_is_the_user_and_the_others_follow() {
        let plan = MappingPlan::for_applicant(&ann("ann:200000:65536\n", "1000:300000:65535\n")).unwrap();
        assert_eq!(plan.uid_arguments(), "0 1000 1 1 200000 65536");
        assert_eq!(plan.gid_arguments(), "0 100 1 1 300000 65535");
    }

    #[test]
    fn short_ranges_and_those_with_the_user_in_them_do_not_do() {
        let subuid = "ann:200000:65534\nann:0:70000\nann:500000:100000\n";
        let plan = MappingPlan::for_applicant(&ann(subuid, "ann:0:65535\nann:101:65535\n")).unwrap();
        assert_eq!(plan.uid_arguments(), "0 1000 1 1 500000 100000");
        assert_eq!(plan.gid_arguments(), "0 100 1 1 101 65535");
    }

    #[test]
    fn who_has_nothing_is_told_the_command() {
        let error = MappingPlan::for_applicant(&ann("bob:100000:65536\n", "")).unwrap_err();
        assert_eq!(error.to_string(), "`/etc/subuid` gives the user `ann` no range of at least 65535 ids");
        assert_eq!(error.hint(), "usermod --add-subuids 165536-231071 --add-subgids 100000-165535 ann");
        let error = MappingPlan::for_applicant(&ann("ann:100000:65536\n", "ann:1:1\n")).unwrap_err();
        assert!(error.to_string().starts_with("`/etc/subgid` gives"), "{error}");
    }
}
