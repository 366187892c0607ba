//! What is wrong with a recipe: collected while reading, handed over in the order of the text, and drawn.

use std::cell::RefCell;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Position, SourceMap, Span};

/// How errors are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without escape sequences.
    Plain,
    /// For a terminal.
    Colour,
}

/// One mistake: what, where and what to do.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    message: String,
    marks: Vec<(Position, Mark)>,
    hint: Option<String>,
}

impl Diagnostic {
    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where; absent if the recipe itself is missing, or the mistake is not in its text.
    pub fn position(&self) -> Option<&Position> {
        self.marks.first().map(|(position, _)| position)
    }

    /// What is said at the place itself.
    pub fn label(&self) -> Option<&str> {
        self.marks.first().and_then(|(_, mark)| mark.label.as_deref())
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position() {
            Some(position) => write!(f, "{position}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a recipe; at least one thing.
#[derive(Clone, Debug)]
pub struct RecipeErrors {
    sources: SourceMap,
    diagnostics: Vec<Diagnostic>,
}

impl RecipeErrors {
    /// For mistakes found before any text was read.
    pub(super) fn without_source(problem: Problem) -> Self {
        let sources = SourceMap::default();
        let diagnostics = vec![problem.locate(&sources)];
        Self { sources, diagnostics }
    }

    /// The mistakes, in the order of the text.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// All mistakes with the lines they are in, separated by empty lines, without a final newline.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colour => Renderer::styled(),
        };
        let drawn: Vec<String> = self.diagnostics.iter().map(|one| self.draw(one, &renderer)).collect();
        drawn.join("\n\n")
    }

    fn draw(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(diagnostic.message.as_str());
        let level = Level::HELP.with_name("hint");
        let hint = diagnostic.hint.as_deref();
        if diagnostic.marks.is_empty() {
            // Drawn apart, because one report would join the two by a margin with nothing beside it.
            let hint = hint.map(|hint| Group::with_title(level.secondary_title(hint)));
            let groups = [Group::with_title(title)].into_iter().chain(hint);
            return groups.map(|group| renderer.render(&[group])).collect::<Vec<_>>().join("\n");
        }
        let hint = hint.map(|hint| level.message(hint));
        renderer.render(&[title.elements(self.snippets(diagnostic)).elements(hint)])
    }

    /// One snippet per file, so that two marks in one file are seen together.
    fn snippets<'a>(
        &'a self,
        diagnostic: &'a Diagnostic,
    ) -> Vec<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let mut files: Vec<_> = diagnostic.marks.iter().map(|(_, mark)| mark.span.file).collect();
        files.dedup();
        let first = diagnostic.marks.first().map(|(_, mark)| &mark.span);
        let snippet = |id| {
            let file = self.sources.file(id);
            let marks = diagnostic.marks.iter().filter(|(_, mark)| mark.span.file == id);
            let annotations = marks.map(|(_, mark)| {
                let primary = first == Some(&mark.span);
                let kind = if primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                kind.span(mark.span.range.clone()).label(mark.label.as_deref())
            });
            Snippet::source(&file.text).path(file.path.to_string_lossy()).annotations(annotations)
        };
        files.into_iter().map(snippet).collect()
    }
}

impl fmt::Display for RecipeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.diagnostics.iter().map(Diagnostic::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for RecipeErrors {}

/// A place that takes part in a mistake.
#[derive(Clone, Debug)]
struct Mark {
    span: Span,
    label: Option<String>,
}

/// A mistake as its finder describes it, by spans; [`Report`] turns it into a [`Diagnostic`].
#[derive(Clone, Debug)]
#[must_use = "a problem counts once it is pushed to a report"]
pub(super) struct Problem {
    message: String,
    marks: Vec<Mark>,
    hint: Option<String>,
}

impl Problem {
    /// A mistake at a place.
    pub(super) fn at(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), marks: vec![Mark { span, label: None }], hint: None }
    }

    /// A mistake that is not in the text of a recipe.
    pub(super) fn nowhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), marks: Vec::new(), hint: None }
    }

    /// Says something at the last place added.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(mark) = self.marks.last_mut() {
            mark.label = Some(label.into());
        }
        self
    }

    /// Adds another place.
    pub(super) fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.marks.push(Mark { span, label: Some(label.into()) });
        self
    }

    /// Says what to do.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        self.hint_if(Some(hint.into()))
    }

    /// Says what to do, if there is something to say.
    pub(super) fn hint_if(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    fn locate(self, sources: &SourceMap) -> Diagnostic {
        let marks = self.marks.into_iter().map(|mark| (sources.position(&mark.span), mark)).collect();
        Diagnostic { message: self.message, marks, hint: self.hint }
    }
}

/// Collects what is wrong while the hands of the recipe go over it.
///
/// Shared by everything that reads, hence a cell: a reader that finds a mistake goes on reading.
pub(super) struct Report<'a> {
    sources: &'a SourceMap,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(sources: &'a SourceMap) -> Self {
        Self { sources, problems: RefCell::default() }
    }

    pub(super) fn sources(&self) -> &'a SourceMap {
        self.sources
    }

    pub(super) fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// All that was found, in the order of the text; `None` if nothing was.
    pub(super) fn finish(self) -> Option<RecipeErrors> {
        let mut problems = self.problems.into_inner();
        problems
            .sort_by_key(|problem| problem.marks.first().map(|mark| (mark.span.file, mark.span.range.start)));
        let diagnostics: Vec<Diagnostic> =
            problems.into_iter().map(|problem| problem.locate(self.sources)).collect();
        (!diagnostics.is_empty()).then(|| RecipeErrors { sources: self.sources.clone(), diagnostics })
    }
}
