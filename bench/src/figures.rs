//! What a benchmark says: a figure of ours, that of a limit or a peer beside it, their ratio, and the bound we set ourselves.

use std::fs;
use std::thread::available_parallelism;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Zoned;

use crate::usage::load;

/// A figure of ours, by itself or beside another.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    what: String,
    unit: &'static str,
    ours: f64,
    beside: Option<(String, f64)>,
    goal: Option<Goal>,
}

/// A bound on the ratio where there is one, else on the figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// It is to be no more.
    AtMost(f64),
    /// It is to be no less.
    AtLeast(f64),
}

impl Line {
    /// A figure of ours.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { what: what.into(), unit, ours, beside: None, goal: None }
    }

    /// Puts the figure of a limit or a peer beside it.
    pub(crate) fn beside(self, name: impl Into<String>, figure: f64) -> Self {
        Self { beside: Some((name.into(), figure)), ..self }
    }

    /// Bounds the ratio, or the figure.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.beside.as_ref().map(|(_, theirs)| self.ours / theirs)
    }

    fn cells(&self) -> [String; 6] {
        let with_unit = |figure| format!("{} {}", rounded(figure), self.unit).trim_end().to_owned();
        let (name, theirs) =
            self.beside.as_ref().map_or_else(Default::default, |(name, theirs)| (name.clone(), with_unit(*theirs)));
        let held = self.ratio().unwrap_or(self.ours);
        let goal = self.goal.map_or_else(String::new, |goal| {
            let (sign, bound, met) = match goal {
                Goal::AtMost(bound) => ("≤", bound, held <= bound),
                Goal::AtLeast(bound) => ("≥", bound, held >= bound),
            };
            format!("{sign} {}: {}", rounded(bound), if met { "met" } else { "MISSED" })
        });
        let ratio = self.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        [self.what.clone(), with_unit(self.ours), name, theirs, ratio, goal]
    }
}

/// Three digits that count are more than a noisy machine can say.
fn rounded(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        size if size >= 10_000.0 => format!("{:.0}", (figure / 100.0).round() * 100.0),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// The lines as a Markdown table.
pub(crate) fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "ours", "beside", "theirs", "ratio", "goal"]);
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in lines {
        table.add_row(line.cells());
    }
    table
}

/// When and on what the figures were taken.
pub(crate) fn machine() -> String {
    let field = |file: &str, key: &str| -> Option<String> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    format!(
        "{}, {} cores ({processor}), {:.0} GiB, load {} at the start",
        Zoned::now().strftime("%Y-%m-%d"),
        available_parallelism().map_or(0, usize::from),
        memory.unwrap_or_default() / f64::from(1 << 20),
        load(),
    )
}

/// The middle one; of an even number, the mean of the two.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    if figures.len().is_multiple_of(2) { f64::midpoint(figures[upper - 1], figures[upper]) } else { figures[upper] }
}

/// The figure that this share of all is not above; `share` is from 0 to 1.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted[index.clamp(1, sorted.len()) - 1]
}
