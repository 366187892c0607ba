//! The command that proves that stages are reproducible.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use ibuild::Since;
use ibuild::stages::Variation;

use super::SecretArgs;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Targets, with all stages that they need, or stages [default: everything that the recipe lists]
    #[arg(value_name = "TARGET|STAGE", value_delimiter = ',')]
    pub named: Vec<String>,
    /// The same for a target
    #[arg(long = "target", short, value_name = "TARGET", num_args = 1.., value_delimiter = ',')]
    pub targets: Vec<String>,
    /// The same for a stage
    #[arg(long = "stage", value_name = "STAGE", num_args = 1.., value_delimiter = ',')]
    pub stages: Vec<String>,
    /// Value of a variable of the recipe
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// Run each stage N times; a stage that differs is not run again
    #[arg(long, value_name = "N", default_value = "1")]
    pub times: NonZeroUsize,
    /// Vary the machine, too: a list of `clock`, `readdir`, `cpus`, `memory`, `disk` (or `all` for these), `kernel`, `uptime`, `host-name`, `umask`
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = variations)]
    pub vary: Vec<Variations>,
    /// Verify a random part of the stages, as `10%` or `0.1`
    #[arg(long, value_name = "P", value_parser = share)]
    pub sample: Option<f64>,
    /// Draw the same sample as the run that printed this seed
    #[arg(long, value_name = "N", requires = "sample")]
    pub seed: Option<u64>,
    /// Verify only stages that are new since a build (`12`, or `@1` for the one before the last) or a revision of git
    #[arg(long, value_name = "BUILD|REV", value_parser = since)]
    pub since: Option<Since>,
    /// Run nothing; compare digests with another store, a directory of images, the manifest of one, or a build record
    #[arg(long, value_name = "OTHER", conflicts_with_all = ["times", "sample", "since", "vary", "keep"])]
    pub against: Option<PathBuf>,
    /// Number of stages that run in parallel [default: the number of cores]
    #[arg(long, short, value_name = "N", env = "IBUILD_JOBS")]
    pub jobs: Option<NonZeroUsize>,
    /// Use only files that are in the store; open no connection
    #[arg(long)]
    pub offline: bool,
    /// Print events as JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write a report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write both versions of each differing file to DIR/STAGE/1 and DIR/STAGE/2, as `diffoscope` takes them
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

impl VerifyArgs {
    /// What is varied, each once.
    pub fn varied(&self) -> Vec<Variation> {
        let all: BTreeSet<_> = self.vary.iter().flat_map(|Variations(some)| some.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// The files that reports are written to.
    pub fn reports(&self) -> impl Iterator<Item = &PathBuf> {
        self.junit.iter().chain(&self.report)
    }

    /// All that were named, wherever they stood.
    pub fn all(&self) -> Vec<String> {
        [self.named.as_slice(), &self.targets, &self.stages].concat()
    }
}

/// A part of a whole: above 0, and at most 1.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok().map(|number| number / unit);
    let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "a part is above 0 and at most 1, as `10%` or `0.1`".to_owned())
}

/// What a word of `--vary` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variations(pub &'static [Variation]);

fn variations(word: &str) -> Result<Variations, String> {
    if word == "all" {
        return Ok(Variations(Variation::MACHINES));
    }
    let known = Variation::WORDS.iter().find(|(known, _)| *known == word);
    known.map(|(_, variation)| Variations(std::slice::from_ref(variation))).ok_or_else(|| {
        let words: Vec<_> = Variation::WORDS.iter().map(|(word, _)| *word).collect();
        format!(
            "there are `all`, {}",
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        )
    })
}

fn since(text: &str) -> Result<Since, std::convert::Infallible> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_fraction_or_a_percentage() {
        assert_eq!((share("10%"), share("0.5"), share("1")), (Ok(0.1), Ok(0.5), Ok(1.0)));
        for wrong in ["0", "1.5", "150%", "-1", "half", "NaN", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
