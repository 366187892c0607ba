//! Results as JUnit XML, in the form that GitHub, GitLab and Jenkins read (<https://github.com/testmoapp/junitxml>).

use std::time::Duration;

use crate::markup::escape;

/// A test suite.
#[derive(Debug)]
pub struct Suite<'a> {
    /// The suite's name.
    pub name: &'a str,
    /// Its cases, in the order in which they were done.
    pub cases: Vec<Case>,
}

/// A test case.
#[derive(Debug)]
pub struct Case {
    /// What it is one of.
    pub class: String,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub elapsed: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a case.
#[derive(Debug)]
pub enum Outcome {
    /// It succeeded.
    Passed,
    /// It was not done, for this reason.
    Skipped(String),
    /// It failed.
    Failed {
        /// Why, in a line.
        message: String,
        /// Why, in full.
        account: String,
    },
}

impl Suite<'_> {
    /// The document.
    pub fn to_xml(&self) -> String {
        let count = |is: fn(&Outcome) -> bool| self.cases.iter().filter(|case| is(&case.outcome)).count();
        let failures = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let elapsed: Duration = self.cases.iter().map(|case| case.elapsed).sum();
        let cases: String = self.cases.iter().map(Case::to_xml).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
             <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{:.3}\">\n\
             {cases}</testsuite>\n</testsuites>\n",
            escape(self.name),
            self.cases.len(),
            elapsed.as_secs_f64(),
        )
    }
}

impl Case {
    fn to_xml(&self) -> String {
        let Self { class, name, elapsed, outcome } = self;
        let (class, name, seconds) = (escape(class), escape(name), elapsed.as_secs_f64());
        let open = format!("<testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\"");
        match outcome {
            Outcome::Passed => format!("{open}/>\n"),
            Outcome::Skipped(why) => {
                format!("{open}>\n<skipped message=\"{}\"/>\n</testcase>\n", escape(why))
            }
            Outcome::Failed { message, account } => {
                let (message, account) = (escape(message), escape(account));
                format!("{open}>\n<failure message=\"{message}\">{account}</failure>\n</testcase>\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_and_told() {
        let case = |name: &str, outcome| Case {
            class: "c".to_owned(),
            name: name.to_owned(),
            elapsed: Duration::ZERO,
            outcome,
        };
        let failed = Outcome::Failed { message: "<no>".to_owned(), account: "why".to_owned() };
        let skipped = Outcome::Skipped("not \"there\"".to_owned());
        let cases = vec![case("a", Outcome::Passed), case("b", skipped), case("d", failed)];
        let xml = Suite { name: "s", cases }.to_xml();
        assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("<skipped message=\"not &quot;there&quot;\"/>"), "{xml}");
        assert!(xml.contains("<failure message=\"&lt;no&gt;\">why</failure>"), "{xml}");
    }
}
