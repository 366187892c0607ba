//! Reports about stages, in the words that a user reads, and no oftener than the user has to read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use crate::executor::observer::StageObserver;
use crate::packages::{CacheStatus, StageFetch};

/// What the stages of one build report to its observer.
pub(crate) struct Reports {
    observer: Arc<dyn StageObserver>,
    /// Files that stages leave out and that were reported: stages are described several times.
    reported: Mutex<BTreeSet<(String, Vec<String>)>>,
    said_unlimited: OnceLock<()>,
}

impl Reports {
    pub(crate) fn to(observer: Arc<dyn StageObserver>) -> Self {
        Self { observer, reported: Mutex::default(), said_unlimited: OnceLock::new() }
    }

    pub(crate) fn observer(&self) -> &dyn StageObserver {
        &*self.observer
    }

    pub(crate) fn ignored(&self, stage: &str, files: &[String]) {
        let report = (stage.to_owned(), files.to_vec());
        let is_new = || self.reported.lock().expect("no panic while held").insert(report);
        if !files.is_empty() && is_new() {
            self.observer.ignored(stage, files);
        }
    }

    /// Why a stage that failed did not get what it asked for: apt keeps that to itself.
    pub(crate) fn refused(&self, stage: &str, asked: &[StageFetch]) {
        const SHOWN: usize = 3;
        let refused = asked.iter().filter_map(|fetch| Some((&fetch.address, fetch.problem.as_ref()?)));
        for (address, problem) in refused.take(SHOWN) {
            self.observer.warning(stage, &format!("it asked for {address}: {problem}"));
        }
        let is_foreign =
            |fetch: &StageFetch| matches!(fetch.verdict, CacheStatus::Refused(status) if status == 403);
        if asked.iter().any(is_foreign) {
            let remedy = "`[archive.NAME]` with `url` and `key` in the recipe declares another archive; other files are \
                          fetched by a `fetch` step, or copied out of the project";
            self.observer.warning(stage, remedy);
        }
    }

    pub(crate) fn survivors(&self, stage: &str, survivors: &[String]) {
        if !survivors.is_empty() {
            let names = counted(survivors);
            self.observer.warning(stage, &format!("killed what it left running: {names}"));
        }
    }

    /// Says once a build what this machine does not limit: it is the same for all stages.
    pub(crate) fn unlimited(&self, stage: &str, unlimited: &[&str]) {
        if !unlimited.is_empty() && self.said_unlimited.set(()).is_ok() {
            let what = unlimited.join(" and ");
            let why = "no control group that this process may write to has the controllers";
            self.observer.warning(stage, &format!("cannot limit {what} of stages here: {why}"));
        }
    }
}

/// Names, each once and with how often it is there, and not too many of them.
fn counted(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let one = |(name, count): (&&str, &usize)| match count {
        1 => (*name).to_owned(),
        _ => format!("{name} ({count} times)"),
    };
    let shown: Vec<_> = counts.iter().take(SHOWN).map(one).collect();
    let more = if counts.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_told_in_a_line() {
        let names = ["sleep", "tor", "sleep"].map(str::to_owned);
        assert_eq!(counted(&names), "sleep (2 times), tor");
        let names: Vec<_> = (10..40).map(|n| n.to_string()).collect();
        assert_eq!(counted(&names), "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ...");
    }
}
