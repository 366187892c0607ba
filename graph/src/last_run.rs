//! A stage's last run: the action that it was, and why it ran.

use std::fmt;

use ibuild_cache::{ActionKey, Record, whole_bytes};
use serde::{Deserialize, Serialize};

use crate::{Change, Description, DirtyReason};

/// Why a stage was made, or found to be made, under a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReason {
    /// Why it was dirty.
    pub dirty: DirtyReason,
    /// In which respect an earlier action was the same, if its result was taken instead of a run.
    pub equivalent: Option<String>,
}

impl RunReason {
    /// What had changed since the run before; empty if that is not why.
    pub fn changes(&self) -> &[Change] {
        match &self.dirty {
            DirtyReason::Changed(changes) => changes,
            _ => &[],
        }
    }
}

impl From<DirtyReason> for RunReason {
    fn from(dirty: DirtyReason) -> Self {
        Self { dirty, equivalent: None }
    }
}

/// One line for people.
impl fmt::Display for RunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.equivalent {
            Some(equivalent) => write!(f, "{}; {equivalent}", self.dirty),
            None => self.dirty.fmt(f),
        }
    }
}

/// A stage's last successful run or hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The action that it was.
    pub key: ActionKey,
    /// The bytes of its description.
    #[serde(with = "whole_bytes")]
    description: Vec<u8>,
    /// Why it ran; `None` if it never ran here but was a hit.
    pub reason: Option<RunReason>,
    /// How long its action took when it ran, in milliseconds.
    pub millis: u64,
    /// When that was, seconds since 1970.
    pub time: u64,
}

impl Record for LastRun {
    const SCHEMA: u16 = 2;

    fn from_earlier(bytes: &[u8]) -> Option<Self> {
        Some(FirstSchema::<FirstLastRun>::from_bytes(bytes)?.0.into())
    }
}

impl LastRun {
    pub(crate) fn new(description: &Description, reason: Option<RunReason>, millis: u64, time: u64) -> Self {
        Self { key: description.key(), description: description.to_bytes(), reason, millis, time }
    }

    /// What the action was.
    pub fn description(&self) -> Option<Description> {
        Description::from_bytes(&self.description).ok()
    }
}

/// A record as the first schema had it, where a reason was the line that people saw.
#[derive(Serialize, Deserialize)]
pub(crate) struct FirstSchema<T>(T);

impl<T: Serialize + serde::de::DeserializeOwned> Record for FirstSchema<T> {
    const SCHEMA: u16 = 1;
}

impl FirstSchema<Vec<FirstLastRun>> {
    /// The runs before the last one.
    pub(crate) fn earlier_runs(bytes: &[u8]) -> Option<Vec<LastRun>> {
        Some(Self::from_bytes(bytes)?.0.into_iter().map(LastRun::from).collect())
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct FirstLastRun {
    key: ActionKey,
    #[serde(with = "whole_bytes")]
    description: Vec<u8>,
    reason: Option<String>,
    millis: u64,
    time: u64,
}

impl From<FirstLastRun> for LastRun {
    fn from(run: FirstLastRun) -> Self {
        let FirstLastRun { key, description, reason, millis, time } = run;
        let reason = reason.map(|said| reason_of_line(&said).into());
        Self { key, description, reason, millis, time }
    }
}

/// The reason of a line. What had changed cannot be read back from one; the descriptions tell.
fn reason_of_line(said: &str) -> DirtyReason {
    let without_changes =
        [DirtyReason::NeverBuilt, DirtyReason::Failed, DirtyReason::OutputMissing, DirtyReason::Forced];
    let found = without_changes.into_iter().find(|reason| said.starts_with(&reason.to_string()));
    found.unwrap_or(DirtyReason::Changed(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, value_changes};

    fn description() -> Description {
        let mut description = Description::new("run", 1);
        description.set("command", "true");
        description
    }

    #[test]
    fn a_reason_comes_back_as_data() {
        let changes = value_changes(vec!["command".to_owned()], None, Some(&Value::from("a\nb\n")));
        let dirty = DirtyReason::Changed(changes.clone());
        let reason = RunReason { dirty, equivalent: Some("the packages are the same".to_owned()) };
        let last = LastRun::new(&description(), Some(reason), 5, 7);
        let read = LastRun::from_bytes(&last.to_bytes()).unwrap();
        assert_eq!(read, last);
        assert_eq!(read.reason.unwrap().changes(), changes);
    }

    #[test]
    fn runs_of_the_first_schema_are_not_lost() {
        let known = |said: Option<&str>| FirstLastRun {
            key: description().key(),
            description: description().to_bytes(),
            reason: said.map(str::to_owned),
            millis: 5,
            time: 7,
        };
        let read = |said| LastRun::from_bytes(&FirstSchema(known(said)).to_bytes()).unwrap();
        assert_eq!(read(None), LastRun::new(&description(), None, 5, 7));
        assert_eq!(read(Some("never built")).reason, Some(DirtyReason::NeverBuilt.into()));
        assert_eq!(read(Some("asked for; the same")).reason, Some(DirtyReason::Forced.into()));
        let changed = read(Some("script line 3: `a` -> `b`")).reason;
        assert_eq!(changed, Some(DirtyReason::Changed(Vec::new()).into()));
        let runs = FirstSchema(vec![known(None), known(Some("never built"))]).to_bytes();
        assert_eq!(FirstSchema::earlier_runs(&runs).unwrap().len(), 2);
    }
}
