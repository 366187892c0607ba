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
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// Why a case failed.
#[derive(Debug)]
pub struct Failure {
    /// In a line.
    pub message: String,
    /// In full.
    pub account: String,
}

impl Suite<'_> {
    /// The document.
    pub fn to_xml(&self) -> String {
        let failures = self.cases.iter().filter(|case| case.failure.is_some()).count();
        let elapsed: Duration = self.cases.iter().map(|case| case.elapsed).sum();
        let cases: String = self.cases.iter().map(Case::to_xml).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
             <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{:.3}\">\n\
             {cases}</testsuite>\n</testsuites>\n",
            escape(self.name),
            self.cases.len(),
            elapsed.as_secs_f64(),
        )
    }
}

impl Case {
    fn to_xml(&self) -> String {
        let Self { class, name, elapsed, failure } = self;
        let (class, name, seconds) = (escape(class), escape(name), elapsed.as_secs_f64());
        let open = format!("<testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\"");
        match failure {
            None => format!("{open}/>\n"),
            Some(Failure { message, account }) => {
                let (message, account) = (escape(message), escape(account));
                format!("{open}>\n<failure message=\"{message}\">{account}</failure>\n</testcase>\n")
            }
        }
    }
}
