//! [`Report`]: the results of checks, a line each.

use anstyle::Style;
use serde_json::json;

use crate::failure::{Result, one_line};
use crate::screen::{DIM, ERROR, OK, Screen, WARNING};
use crate::words;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// It works, but something is worth a look.
    Warning,
    Problem,
    /// It could not be checked.
    Skipped,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Skipped => "skipped",
        }
    }

    fn mark(self) -> (&'static str, Style) {
        match self {
            Self::Ok => ("ok", OK),
            Self::Warning => ("! ", WARNING),
            Self::Problem => ("!!", ERROR),
            Self::Skipped => ("--", DIM),
        }
    }
}

/// The result of a check, with its details and advice.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) outcome: Outcome,
    detail: String,
    hint: Option<String>,
}

impl Finding {
    pub(crate) fn ok(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Ok, detail: detail.into(), hint: None }
    }

    pub(crate) fn warning(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warning, ..Self::ok(detail) }
    }

    pub(crate) fn problem(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Problem, ..Self::ok(detail) }
    }

    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::ok(reason) }
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints findings as they come.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    screen: &'a Screen,
    /// The checks that are still to be made, in order.
    planned: Vec<&'static str>,
    width: usize,
    problems: u32,
    warnings: u32,
}

impl<'a> Report<'a> {
    pub(crate) fn new(screen: &'a Screen, planned: &[&'static str]) -> Self {
        let width = planned.iter().map(|name| name.len()).max().unwrap_or_default();
        Self { screen, planned: planned.to_vec(), width, problems: 0, warnings: 0 }
    }

    /// Prints what a check found.
    pub(crate) fn add(&mut self, check: &str, finding: Finding) -> Result<()> {
        self.planned.retain(|planned| *planned != check);
        let Finding { outcome, detail, hint } = finding;
        self.problems += u32::from(outcome == Outcome::Problem);
        self.warnings += u32::from(outcome == Outcome::Warning);
        let (detail, hint) = (one_line(&detail), hint.map(|hint| one_line(&hint)));
        if self.screen.is_json() {
            let object = json!({ "check": check, "result": outcome.name(), "detail": detail, "hint": hint });
            return self.screen.object(&object);
        }
        let (mark, style) = outcome.mark();
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        self.screen.line(&format!("{style}{mark}{style:#}  {check:width$}  {detail}{hint}", width = self.width))
    }

    /// Skips all checks that are still planned.
    pub(crate) fn skip_rest(&mut self, reason: &str) -> Result<()> {
        for check in std::mem::take(&mut self.planned) {
            self.add(check, Finding::skipped(reason))?;
        }
        Ok(())
    }

    pub(crate) fn problems(&self) -> u32 {
        self.problems
    }

    /// Returns how many problems and warnings there are, in words.
    pub(crate) fn summary(&self) -> String {
        let count = |n: u32, noun: &str| match n {
            0 => format!("no {noun}s"),
            n => words::count(n.into(), noun),
        };
        format!("{}, {}", count(self.problems, "problem"), count(self.warnings, "warning"))
    }
}
