//! Tests that boot machines, do something in them, and watch their consoles and cables.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::names::{ImageName, MachineName, TestName};
use super::step::seconds;

/// A test of one or several machines. They start together; then the steps are done, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineTest {
    /// Its name.
    pub name: TestName,
    /// The machines and the images they run; at least one.
    pub machines: BTreeMap<MachineName, ImageName>,
    /// A regular expression that every console has to show before the first step.
    pub expect: Option<String>,
    /// Who logs in to run commands.
    pub login: Option<Login>,
    /// Files and directories, relative to the recipe's directory, that the machines see below `/run/ibuild/in`.
    pub files: Vec<PathBuf>,
    /// What is done.
    pub steps: Vec<TestStep>,
    /// Adapters that must not send a single frame, from power on to the end.
    pub silent: Vec<Plug>,
    /// Adapters that must have sent something: a capture that hears nothing proves no silence.
    pub heard: Vec<Plug>,
    /// How long it may take.
    #[serde(rename = "timeout-seconds", serialize_with = "seconds")]
    pub timeout: Option<Duration>,
}

/// Who logs in on the serial console. Without being root, that user's `sudo` has to be willing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestStep {
    /// The machine.
    pub on: MachineName,
    /// What.
    #[serde(flatten)]
    pub action: TestAction,
}

/// What a step of a test does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestAction {
    /// Waits for a line of the console that matches this regular expression.
    Expect(String),
    /// Types this and Enter on the serial console.
    Type(String),
    /// Runs this text with `/bin/sh -e` as root; the test fails if it fails.
    Run(String),
    /// Keeps a picture of the display under this name.
    Screenshot(String),
    /// Does something to the machine's power.
    Power(Power),
}

impl TestAction {
    /// The key that it has in a recipe, and its value.
    pub fn entry(&self) -> (&'static str, &str) {
        match self {
            TestAction::Expect(text) => ("expect", text),
            TestAction::Type(text) => ("type", text),
            TestAction::Run(text) => ("run", text),
            TestAction::Screenshot(name) => ("screenshot", name),
            TestAction::Power(power) => ("power", power.word()),
        }
    }
}

/// What can be done to a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Pulls the plug and puts it in again.
    Reset,
    /// Stops the machine where it is: it hears and says nothing.
    Freeze,
    /// Lets a frozen machine go on.
    Thaw,
}

impl Power {
    /// All of them.
    pub const ALL: [Power; 3] = [Power::Reset, Power::Freeze, Power::Thaw];

    /// The word for it in a recipe.
    pub fn word(self) -> &'static str {
        match self {
            Power::Reset => "reset",
            Power::Freeze => "freeze",
            Power::Thaw => "thaw",
        }
    }
}

/// An adapter of a machine: `gw/0` is the first one of `gw`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plug {
    /// The machine.
    pub machine: MachineName,
    /// Which of its adapters, from 0.
    pub slot: usize,
}

impl fmt::Display for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.machine, self.slot)
    }
}

impl Serialize for Plug {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that does not name an adapter.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` does not name a network adapter")]
pub struct PlugError(String);

impl FromStr for Plug {
    type Err = PlugError;

    fn from_str(text: &str) -> Result<Self, PlugError> {
        let parts = text
            .split_once('/')
            .and_then(|(machine, slot)| Some((machine.parse().ok()?, slot.parse().ok()?)));
        let (machine, slot) = parts.ok_or_else(|| PlugError(text.to_owned()))?;
        Ok(Plug { machine, slot })
    }
}
