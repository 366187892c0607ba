//! A typed look at TOML values: every getter either answers, or reports what it expected and where.

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;

use ibuild_spec::bounds::Unfit;
use ibuild_spec::{MacError, UnitError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::Keys;
use super::names::NameError;
use super::paths::stays_inside;
use super::report::{Problem, Report};
use super::source::{At, FileId, SourceMap, Span};
use super::suggest;
use super::vars::Vars;

/// What every reader needs at hand.
pub(super) struct Context<'a> {
    pub(super) sources: &'a SourceMap,
    pub(super) vars: &'a Vars,
    pub(super) report: &'a Report<'a>,
}

/// Errors that come with a rule to follow, shown as the hint.
pub(super) trait Explained: std::fmt::Display {
    fn advice(&self) -> Cow<'static, str>;
}

impl Explained for NameError {
    fn advice(&self) -> Cow<'static, str> {
        self.rule().into()
    }
}

impl Explained for MacError {
    fn advice(&self) -> Cow<'static, str> {
        self.hint().into()
    }
}

impl Explained for UnitError {
    fn advice(&self) -> Cow<'static, str> {
        self.hint().into()
    }
}

const STRING: &str = "a string";
const ARRAY: &str = "an array";
const INTEGER: &str = "an integer";
const BOOLEAN: &str = "`true` or `false`";
const TABLE: &str = "a table";

/// One value.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    context: &'a Context<'a>,
    file: FileId,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Node<'a> {
    pub(super) fn new(context: &'a Context<'a>, file: FileId, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { context, file, value }
    }

    pub(super) fn span(self) -> Span {
        Span { file: self.file, range: self.value.span() }
    }

    /// The value with its place in the file, as TOML has it.
    pub(super) fn spanned(self) -> &'a Spanned<DeValue<'a>> {
        self.value
    }

    pub(super) fn raw(self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Reports a mistake at this value.
    pub(super) fn problem(self, message: impl Into<String>) -> Problem {
        Problem::at(self.span(), message)
    }

    pub(super) fn push(self, problem: Problem) {
        self.context.report.push(problem);
    }

    /// Reports a value of the wrong type. Always `None`, to end a getter with.
    pub(super) fn wrong_type<T>(self, expected: &str) -> Option<T> {
        self.wrong_type_but(expected, self.right_form(expected))
    }

    /// The same, with how the value is written.
    fn wrong_type_but<T>(self, expected: &str, right_form: Option<String>) -> Option<T> {
        let found = type_name(self.raw());
        let problem = self.problem(format!("expected {expected}, found {found}"));
        self.push(problem.hint_if(right_form));
        None
    }

    /// How a value is written that has quotes or brackets too many or too few.
    fn right_form(self, expected: &str) -> Option<String> {
        let written = self.written();
        match (expected, self.raw()) {
            (STRING, DeValue::Array(several)) => Some(without_brackets(several)),
            (STRING, DeValue::Integer(_) | DeValue::Float(_)) => {
                Some(format!("write `\"{}\"`, in quotes", written?))
            }
            (ARRAY, DeValue::String(_) | DeValue::Table(_)) => Some(match written {
                Some(text) => format!("write `[{text}]`, in brackets"),
                None => "write it in brackets, `[...]`".to_owned(),
            }),
            (INTEGER, DeValue::String(text)) => Some(match text.trim().parse::<i64>() {
                Ok(number) => format!("write `{number}`, without quotes"),
                Err(_) => "write a whole number, without quotes".to_owned(),
            }),
            (INTEGER, DeValue::Float(_)) => Some("write a whole number".to_owned()),
            (BOOLEAN, DeValue::String(text)) => Some(match text.as_ref() {
                word @ ("true" | "false") => format!("write `{word}`, without quotes"),
                _ => "write one of them, without quotes".to_owned(),
            }),
            _ => None,
        }
    }

    /// The value as it stands in the file, if it stands on one line.
    fn written(self) -> Option<&'a str> {
        let text = self.context.sources.file(self.file).text.get(self.value.span())?;
        // The span of a table with a header is that of the header.
        let has_header = self.raw().is_table() && !text.starts_with('{');
        (!text.contains('\n') && !has_header).then_some(text)
    }

    /// A string with its vars substituted.
    pub(super) fn text(self) -> Option<At<String>> {
        let DeValue::String(text) = self.raw() else {
            return self.wrong_type(STRING);
        };
        let value = self.context.vars.substitute(text, &self.span(), self.context.report)?;
        Some(At { value, at: self.span() })
    }

    /// A string that parses as `T`.
    pub(super) fn parsed<T: FromStr<Err: Explained>>(self) -> Option<At<T>> {
        self.parsed_by(T::from_str)
    }

    /// A string that `parse` accepts.
    pub(super) fn parsed_by<T, E: Explained>(self, parse: impl Fn(&str) -> Result<T, E>) -> Option<At<T>> {
        if matches!(self.raw(), DeValue::Integer(_) | DeValue::Float(_)) {
            let advice = self.written().and_then(|text| Some(parse(text).err()?.advice()));
            let right_form = advice.map(|advice| format!("write it in quotes: {advice}"));
            return self.wrong_type_but(STRING, right_form.or_else(|| self.right_form(STRING)));
        }
        let text = self.text()?;
        match parse(&text.value) {
            Ok(value) => Some(At { value, at: text.at }),
            Err(error) => {
                self.push(self.problem(error.to_string()).hint(error.advice()));
                None
            }
        }
    }

    /// Reports a value that no image can have.
    pub(super) fn fits(self, fit: Result<(), Unfit>) -> Option<()> {
        fit.map_err(|unfit| self.push(self.problem(unfit.to_string()).hint(unfit.advice()))).ok()
    }

    /// A string that is one of a few words.
    pub(super) fn word<T: Copy>(self, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?.value;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let hint = suggest::hint(&text, words.iter().map(|(word, _)| *word));
        self.push(self.problem(format!("`{text}` is not a {what}")).hint_if(hint));
        None
    }

    pub(super) fn integer(self) -> Option<i64> {
        let DeValue::Integer(number) = self.raw() else {
            return self.wrong_type(INTEGER);
        };
        let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if value.is_none() {
            self.push(self.problem(format!("`{number}` is too large")));
        }
        value
    }

    pub(super) fn boolean(self) -> Option<bool> {
        self.raw().as_bool().or_else(|| self.wrong_type(BOOLEAN))
    }

    pub(super) fn array(self) -> Option<Vec<Node<'a>>> {
        let Some(array) = self.raw().as_array() else {
            return self.wrong_type(ARRAY);
        };
        Some(array.iter().map(|value| Node { value, ..self }).collect())
    }

    /// An array that has at least one element; `hint` shows one.
    pub(super) fn filled_array(self, of: &str, hint: &str) -> Option<Vec<Node<'a>>> {
        let elements = self.array()?;
        if elements.is_empty() {
            self.push(self.problem(format!("the list of {of} is empty")).hint(hint));
        }
        Some(elements)
    }

    /// The strings of an array; what is not a string is reported and left out.
    pub(super) fn texts(self) -> Vec<At<String>> {
        self.array().into_iter().flatten().filter_map(Node::text).collect()
    }

    /// A table that knows only the keys in `known`; `what` names it in messages.
    pub(super) fn table(self, what: &str, known: &Keys) -> Option<Table<'a>> {
        if !self.raw().is_table() {
            return self.wrong_type_but(TABLE, Some(format!("write `{{ KEY = ... }}`: {}", its_keys(known))));
        }
        let table = self.entries()?;
        table.refuse_unknown(what, known);
        Some(table)
    }

    /// A table whose keys are names.
    pub(super) fn entries(self) -> Option<Table<'a>> {
        let Some(entries) = self.raw().as_table() else {
            return self.wrong_type(TABLE);
        };
        Some(Table { context: self.context, file: self.file, span: self.span(), entries })
    }

    /// A path within the recipe's directory.
    pub(super) fn inner_path(self) -> Option<At<PathBuf>> {
        let text = self.text()?;
        match stays_inside(&text.value, &text.at) {
            Ok(()) => Some(At { value: PathBuf::from(text.value), at: text.at }),
            Err(problem) => {
                self.push(problem);
                None
            }
        }
    }

    /// A path within the machine that is built.
    pub(super) fn machine_path(self) -> Option<String> {
        let text = self.text()?.value;
        let problem = if !text.starts_with('/') {
            self.problem(format!("`{text}` is not an absolute path"))
                .hint("paths in the machine start with `/`")
        } else if text.split('/').any(|part| part == "..") {
            self.problem(format!("`{text}` contains `..`")).hint("write the path that is meant")
        } else {
            return Some(text);
        };
        self.push(problem);
        None
    }
}

fn its_keys(known: &Keys) -> String {
    format!("its keys are {}", suggest::list(&known.all().collect::<Vec<_>>()))
}

fn without_brackets(several: &[Spanned<DeValue<'_>>]) -> String {
    match several {
        [one] => match one.get_ref().as_str() {
            Some(text) => format!("write `{}`, without brackets", toml::Value::from(text)),
            None => "write one text in quotes".to_owned(),
        },
        _ => "write one text in quotes, without brackets: there can be no more".to_owned(),
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// One table.
#[derive(Clone)]
pub(super) struct Table<'a> {
    context: &'a Context<'a>,
    file: FileId,
    span: Span,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// The table at the top of a file.
    pub(super) fn top(context: &'a Context<'a>, file: FileId, entries: &'a DeTable<'a>) -> Self {
        Self { context, file, span: Span { file, range: 0..0 }, entries }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn push(&self, problem: Problem) {
        self.context.report.push(problem);
    }

    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.entries().into_iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    /// A value that must be there; `hint` shows how it is written.
    pub(super) fn require(&self, what: &str, key: &str, hint: &str) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.push(Problem::at(self.span(), format!("{what} needs `{key}`")).hint(hint));
        }
        found
    }

    /// The entries in the order of the text.
    pub(super) fn entries(&self) -> Vec<(At<&'a str>, Node<'a>)> {
        let mut entries: Vec<_> = self.entries.iter().map(|(key, value)| self.entry(key, value)).collect();
        entries.sort_by_key(|(key, _)| key.at.range.start);
        entries
    }

    fn entry(
        &self,
        key: &'a Spanned<Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> (At<&'a str>, Node<'a>) {
        let at = Span { file: self.file, range: key.span() };
        (At { value: key.get_ref().as_ref(), at }, Node::new(self.context, self.file, value))
    }

    /// The entries whose keys are names of a kind; other keys are reported.
    pub(super) fn named<T: FromStr<Err: Explained>>(&self) -> Vec<(At<T>, Node<'a>)> {
        let parse = |(key, node): (At<&str>, Node<'a>)| match T::from_str(key.value) {
            Ok(value) => Some((At { value, at: key.at }, node)),
            Err(error) => {
                self.push(Problem::at(key.at, error.to_string()).hint(error.advice()));
                None
            }
        };
        self.entries().into_iter().filter_map(parse).collect()
    }

    pub(super) fn has_keys_beyond(&self, known: &Keys) -> bool {
        self.entries.keys().any(|key| !known.has(key.get_ref()))
    }

    pub(super) fn refuse_unknown(&self, what: &str, known: &Keys) {
        for (key, _) in self.entries() {
            if !known.has(key.value) {
                let hint = suggest::hint(key.value, known.all());
                let hint = hint.or_else(|| Some(its_keys(known)));
                self.push(
                    Problem::at(key.at, format!("unknown key `{}` in {what}", key.value)).hint_if(hint),
                );
            }
        }
    }
}
