//! `IMAGE.packages` and `IMAGE.sources`: lines with tabs, sorted, without a header, so that `diff`, `join` and `grep` do what one
//! expects of them.
//!
//! A line of `.packages` is name, version, architecture, source and source's version: what `dpkg-query --show` prints inside the image with
//! `${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n`.

use std::collections::BTreeSet;

use crate::{LineError, PackageFacts, SourceFacts};

/// A line of `.packages`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedPackage {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture it is for, or `all`.
    pub architecture: String,
    /// Its source package.
    pub source: String,
    /// The version of that.
    pub source_version: String,
}

/// The text of `.packages`.
pub fn package_list(packages: &[PackageFacts]) -> String {
    let line = |it: &PackageFacts| {
        let columns = [&it.name, &it.version, &it.architecture, &it.source, &it.source_version];
        columns.map(|column| one_word(column)).join("\t") + "\n"
    };
    packages.iter().map(line).collect()
}

/// Reads `.packages`.
///
/// # Errors
///
/// With the first line that has not five columns.
pub fn read_package_list(text: &str) -> Result<Vec<ListedPackage>, LineError> {
    let line = |(at, line): (usize, &str)| {
        let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let wrong = LineError { line: at + 1, problem: "it has not five columns" };
        let [name, version, architecture, source, source_version] = columns.try_into().map_err(|_| wrong)?;
        Ok(ListedPackage { name, version, architecture, source, source_version })
    };
    text.lines().enumerate().map(line).collect()
}

/// The text of `.sources`: name, version, licences, the address of the `.dsc`, and the installed packages. What is not known is `-`.
pub fn source_list(sources: &[SourceFacts]) -> String {
    let list = |words: &BTreeSet<String>| match words.is_empty() {
        true => "-".to_owned(),
        false => words.iter().map(|word| one_word(word)).collect::<Vec<_>>().join(", "),
    };
    let line = |it: &SourceFacts| {
        let url = it.url.as_deref().unwrap_or("-");
        [one_word(&it.name), one_word(&it.version), list(&it.licences), one_word(url), list(&it.packages)]
            .join("\t")
            + "\n"
    };
    sources.iter().map(line).collect()
}

/// A text without what ends a column or a line: what a package says of itself may have anything in it.
fn one_word(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let package = PackageFacts {
            name: "libc6".to_owned(),
            version: "2.41-12".to_owned(),
            architecture: "amd64".to_owned(),
            source: "glibc\tx".to_owned(),
            source_version: "2.41-12".to_owned(),
            licences: BTreeSet::new(),
            deb: None,
            is_debians: true,
        };
        let text = package_list(&[package]);
        assert_eq!(text, "libc6\t2.41-12\tamd64\tglibc x\t2.41-12\n");
        let read = read_package_list(&text).unwrap();
        assert_eq!((read.len(), read[0].source.as_str()), (1, "glibc x"));
        assert_eq!(read_package_list("a\tb\n").unwrap_err().line, 1);
    }
}
