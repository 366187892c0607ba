//! Commands that start machines.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ibuild::stages::spec::hardware::{DiskBus, Firmware};

use super::SecretArgs;

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Tests to run [default: all]
    pub names: Vec<String>,
    /// Also run tests that have passed and have not changed since
    #[arg(long)]
    pub again: bool,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BootArgs {
    /// Target; it has to be built already
    pub target: String,
    /// Succeed as soon as a line of the console matches; without it the console is interactive until the machine stops
    #[arg(long, value_name = "REGEX")]
    pub until: Option<String>,
    /// Fail after so many seconds [default: 240 with `--until`, else never]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Firmware that starts the machine [default: that of the recipe]
    #[arg(long, value_name = "FIRMWARE", value_parser = word_of(Firmware::WORDS))]
    pub firmware: Option<Firmware>,
    /// Bus that the disk is attached to [default: that of the recipe]
    #[arg(long, value_name = "BUS", value_parser = word_of(DiskBus::WORDS))]
    pub disk_bus: Option<DiskBus>,
    /// Write a screenshot of the display to a file (PNG)
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<PathBuf>,
}

/// One of the words that recipes have, too.
fn word_of<T: Copy + Send + Sync>(words: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    let known = PossibleValuesParser::new(words.iter().map(|(word, _)| *word));
    known.map(|given| words.iter().find(|(word, _)| *word == given).expect("the parser knows these").1)
}
