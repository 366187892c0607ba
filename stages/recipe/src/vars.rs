//! `{vars.name}` within strings.
//!
//! Only this exact form is special, wherever a recipe has a string; `${HOME}` and `awk '{print}'` stay as they
//! are. There is no escape: a text that must contain the form itself belongs in a script file, which is never
//! substituted.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::names::{ProfileName, VarName};
use super::report::{Problem, Report};
use super::source::{At, Span};
use super::suggest;

/// What a build chooses of a recipe: a profile, and values for vars that win over those of the profile and of the recipe.
/// Values are taken as they are: no substitution within them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    vars: BTreeMap<VarName, String>,
    profile: Option<ProfileName>,
}

impl Overrides {
    /// Gives a var another value. Loading fails if the recipe does not define it.
    pub fn set(&mut self, name: VarName, value: impl Into<String>) {
        self.vars.insert(name, value.into());
    }

    /// Chooses a profile. Loading fails if the recipe does not have it.
    pub fn choose(&mut self, profile: ProfileName) {
        self.profile = Some(profile);
    }

    pub(super) fn profile(&self) -> Option<&ProfileName> {
        self.profile.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&VarName, &String)> {
        self.vars.iter()
    }
}

/// What vars stand for. A var whose own value is wrong has none: its uses are not reported a second time.
#[derive(Debug, Default)]
pub(super) struct Vars(BTreeMap<VarName, Option<String>>);

impl Vars {
    /// Resolves vars that refer to each other.
    pub(super) fn resolve(
        raw: &BTreeMap<VarName, At<String>>,
        overrides: &Overrides,
        report: &Report,
    ) -> Self {
        for (name, _) in overrides.iter().filter(|(name, _)| !raw.contains_key(*name)) {
            let hint = suggest::hint(name.as_str(), raw.keys().map(VarName::as_str));
            report.push(Problem::nowhere(format!("there is no variable `{name}` to override")).hint_if(hint));
        }
        let resolver = Resolver { raw, report, done: RefCell::default() };
        for (name, value) in overrides.iter() {
            resolver.done.borrow_mut().insert(name.clone(), Some(value.clone()));
        }
        for name in raw.keys() {
            resolver.value(name, &mut Vec::new());
        }
        Self(resolver.done.into_inner())
    }

    /// `text` with every `{vars.name}` replaced; reports undefined ones.
    pub(super) fn substitute(&self, text: &str, at: &Span, report: &Report) -> Option<String> {
        substitute(text, |name| match self.0.get(name) {
            Some(value) => value.clone(),
            None => {
                report.push(undefined(name, at, self.0.keys(), report));
                None
            }
        })
    }

    /// The vars that have values.
    pub(super) fn into_values(self) -> BTreeMap<VarName, String> {
        self.0.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn undefined<'a>(
    name: &str,
    at: &Span,
    known: impl Iterator<Item = &'a VarName>,
    report: &Report,
) -> Problem {
    let hint = suggest::hint(name, known.map(VarName::as_str))
        .unwrap_or_else(|| format!("define `{name}` in `[vars]`"));
    let at = report.sources().narrow(at, &format!("{{vars.{name}}}"));
    Problem::at(at, format!("undefined variable `{name}`")).hint(hint)
}

struct Resolver<'a> {
    raw: &'a BTreeMap<VarName, At<String>>,
    report: &'a Report<'a>,
    done: RefCell<BTreeMap<VarName, Option<String>>>,
}

impl Resolver<'_> {
    /// The value of a var that exists; `open` are the vars that are waiting for it.
    fn value(&self, name: &VarName, open: &mut Vec<VarName>) -> Option<String> {
        if let Some(done) = self.done.borrow().get(name) {
            return done.clone();
        }
        if let Some(start) = open.iter().position(|waiting| waiting == name) {
            self.report_cycle(&open[start..]);
            return None;
        }
        let raw = &self.raw[name];
        open.push(name.clone());
        let value = substitute(&raw.value, |used| match self.raw.get_key_value(used) {
            Some((used, _)) => self.value(used, open),
            None => {
                self.report.push(undefined(used, &raw.at, self.raw.keys(), self.report));
                None
            }
        });
        open.pop();
        self.done.borrow_mut().insert(name.clone(), value.clone());
        value
    }

    fn report_cycle(&self, cycle: &[VarName]) {
        let path: Vec<&str> = cycle.iter().chain(cycle.first()).map(VarName::as_str).collect();
        let at = self.raw[&cycle[0]].at.clone();
        self.report.push(Problem::at(at, format!("variables refer to each other: `{}`", path.join(" -> "))));
    }
}

/// Replaces each `{vars.NAME}` by what `value` says, asking about all of them even if one has no value.
fn substitute(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> Option<String> {
    const OPEN: &str = "{vars.";
    let mut out = Some(String::with_capacity(text.len()));
    let mut append = |piece: Option<&str>| match (&mut out, piece) {
        (Some(out), Some(piece)) => out.push_str(piece),
        (out, _) => *out = None,
    };
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let after = &rest[start + OPEN.len()..];
        let length = after.find('}').filter(|end| after[..*end].parse::<VarName>().is_ok());
        let Some(length) = length else {
            append(Some(&rest[..start + OPEN.len()]));
            rest = after;
            continue;
        };
        append(Some(&rest[..start]));
        append(value(&after[..length]).as_deref());
        rest = &after[length + 1..];
    }
    append(Some(rest));
    out
}
