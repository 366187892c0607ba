//! The fields that name other packages: `a (>= 1) | b:any, c`.

use std::cmp::Ordering;

use crate::version;

/// One alternative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The package, or what several can provide.
    pub name: &'a str,
    constraint: Option<(&'a str, &'a str)>,
}

/// The alternatives of each dependency.
pub fn parse(field: &str) -> impl Iterator<Item = Vec<Relation<'_>>> {
    field.split(',').map(|dependency| dependency.split('|').filter_map(parse_relation).collect()).filter(
        // A trailing comma makes an empty one.
        |alternatives: &Vec<_>| !alternatives.is_empty(),
    )
}

/// A qualifier like `:any` is dropped: all packages here are of one architecture.
fn parse_relation(text: &str) -> Option<Relation<'_>> {
    let (name, constraint) = match text.split_once('(') {
        Some((name, rest)) => (name, Some(rest.split_once(')')?.0.trim())),
        None => (text, None),
    };
    let constraint = constraint.map(|constraint| {
        let split = constraint.find(|c| !"<=>".contains(c)).unwrap_or(constraint.len());
        (&constraint[..split], constraint[split..].trim())
    });
    let name = name.trim().split(':').next()?;
    (!name.is_empty()).then_some(Relation { name, constraint })
}

impl Relation<'_> {
    /// Whether a version is good enough; `None` stands for a virtual package without one, which satisfies only
    /// a relation that does not ask.
    pub fn accepts(&self, version: Option<&str>) -> bool {
        let Some((operator, wanted)) = self.constraint else { return true };
        let Some(version) = version else { return false };
        let order = version::compare(version, wanted);
        match operator {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }

    /// The version that a `Provides: name (= version)` gives.
    pub fn provided_version(&self) -> Option<&str> {
        self.constraint.map(|(_, version)| version)
    }
}

impl std::fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        match self.constraint {
            Some((operator, version)) => write!(f, " ({operator} {version})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field() {
        let field = "libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0,\n python3:any,";
        let text: Vec<Vec<String>> =
            parse(field).map(|a| a.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(text, [vec!["libc6 (>= 2.38)"], vec!["debconf (>= 0.5)", "debconf-2.0"], vec!["python3"]]);
        assert_eq!(parse("").count(), 0);
    }

    #[test]
    fn constraints() {
        let check = |relation: &str, version: Option<&str>, expected: bool| {
            let found = parse(relation).next().unwrap()[0].accepts(version);
            assert_eq!(found, expected, "{relation} {version:?}");
        };
        check("a", None, true);
        check("a (= 1)", None, false);
        for (relation, expected) in [
            ("a (<< 2)", false),
            ("a (<= 2)", true),
            ("a (= 2)", true),
            ("a (>= 2)", true),
            ("a (>> 2)", false),
            ("a (>>1.9)", true),
        ] {
            check(relation, Some("2"), expected);
        }
    }
}
