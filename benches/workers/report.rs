//! What was measured, as tables.

use std::fmt::Write;

/// Figures of one run of one peer, such as `("jobs/s", 29_000.0)`.
pub type Figures = Vec<(&'static str, f64)>;

/// All runs of one experiment.
pub struct Table {
    /// What was done.
    pub title: String,
    rows: Vec<(String, Vec<Figures>)>,
}

/// The middle one of several runs, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Half of the runs are below it.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Table {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// Adds a run.
    pub fn add(&mut self, peer: String, figures: Figures) {
        match self.rows.iter_mut().find(|(name, _)| *name == peer) {
            Some((_, runs)) => runs.push(figures),
            None => self.rows.push((peer, vec![figures])),
        }
    }

    /// The peers' spreads of one figure, in the order in which they were measured.
    pub fn column(&self, figure: &str) -> Vec<(&str, Spread)> {
        let of = |(name, runs): &'_ (String, Vec<Figures>)| {
            let values =
                runs.iter().flat_map(|run| run.iter().filter(|(of, _)| *of == figure).map(|(_, value)| *value));
            Spread::of(values.collect()).map(|spread| (name.clone(), spread))
        };
        let found = self.rows.iter().map(of);
        found.zip(&self.rows).filter_map(|(spread, (name, _))| Some((name.as_str(), spread?.1))).collect()
    }

    /// The names of the figures, in their order.
    pub fn figures(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        for (figure, _) in self.rows.iter().flat_map(|(_, runs)| runs).flatten() {
            if !all.contains(figure) {
                all.push(*figure);
            }
        }
        all
    }

    /// The most runs that a peer has.
    pub fn runs(&self) -> usize {
        self.rows.iter().map(|(_, runs)| runs.len()).max().unwrap_or(0)
    }

    /// As Markdown: a row for each peer, a column for each figure with its median and, where there were several runs, its
    /// lowest and highest.
    pub fn markdown(&self) -> String {
        let figures = self.figures();
        let mut text = format!("### {}\n\n| |", self.title);
        figures.iter().for_each(|figure| write!(text, " {figure} |").unwrap());
        text.push_str("\n|---|");
        figures.iter().for_each(|_| text.push_str("---:|"));
        text.push('\n');
        for (name, _) in &self.rows {
            write!(text, "| {name} |").unwrap();
            for figure in &figures {
                let cell = self.column(figure).into_iter().find(|(of, _)| of == name).map(|(_, spread)| spread.cell());
                write!(text, " {} |", cell.unwrap_or_default()).unwrap();
            }
            text.push('\n');
        }
        text
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { median: values[values.len() / 2], min, max })
    }

    fn cell(self) -> String {
        if self.min == self.max {
            return number(self.median);
        }
        format!("{} ({} to {})", number(self.median), number(self.min), number(self.max))
    }
}

/// With as many digits as mean something.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole >= 100.0 || whole == 0.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}
