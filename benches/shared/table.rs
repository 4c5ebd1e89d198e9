//! The table at the end of a bench, which is printed and saved.

use crate::results::{self, Results};
use crate::rounds::Rounds;

const NOT_INSTALLED: &str = "not installed";

/// A promise, and whether it was kept.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub figure: String,
    /// The peer; empty if the figure has a bound of its own.
    pub peer: String,
    /// The peer's figure.
    pub peer_figure: String,
    /// The ratio of the two; not a number without a peer.
    pub ratio: f64,
    /// The target; empty if there is none.
    pub target: String,
    /// Whether the target was reached.
    pub reached: bool,
}

impl Row {
    /// The first contender against the second, in time.
    pub fn at_most(what: &str, peer: &str, taken: &Rounds, most: f64) -> Self {
        let ratio = taken.ratio(0, 1);
        Self {
            what: what.to_owned(),
            figure: nanos(taken.median(0)),
            peer: peer.to_owned(),
            peer_figure: nanos(taken.median(1)),
            ratio,
            target: format!("at most {most}"),
            reached: ratio <= most,
        }
    }

    /// The first contender against the second, without a target.
    pub fn beside(what: &str, peer: &str, taken: &Rounds) -> Self {
        Self::at_most(what, peer, taken, f64::INFINITY).promised_if(false)
    }

    /// A ratio from elsewhere, which is to be no higher.
    pub fn ratio(what: &str, figure: String, peer: (&str, String), ratio: f64, most: f64) -> Self {
        Self {
            what: what.to_owned(),
            figure,
            peer: peer.0.to_owned(),
            peer_figure: peer.1,
            ratio,
            target: format!("at most {most}"),
            reached: ratio <= most,
        }
    }

    /// A ratio that is to be no lower.
    pub fn at_least(
        what: &str,
        figure: String,
        peer: (&str, String),
        ratio: f64,
        least: f64,
    ) -> Self {
        let row = Self::ratio(what, figure, peer, ratio, least);
        Self { target: format!("at least {least}"), reached: ratio >= least, ..row }
    }

    /// A figure with a bound of its own.
    pub fn figure(what: &str, figure: String, most: &str, reached: bool) -> Self {
        Self {
            what: what.to_owned(),
            figure,
            peer: String::new(),
            peer_figure: String::new(),
            ratio: f64::NAN,
            target: format!("at most {most}"),
            reached,
        }
    }

    /// A figure without a bound.
    pub fn alone(what: &str, figure: String) -> Self {
        Self::figure(what, figure, "", true).promised_if(false)
    }

    /// The same row; without a target unless the condition holds.
    #[must_use]
    pub fn promised_if(self, condition: bool) -> Self {
        let target = if condition { self.target } else { String::new() };
        Self { target, ..self }
    }

    /// A peer that this machine does not have.
    pub fn without(what: &str, figure: String, peer: &str, target: &str) -> Self {
        Self {
            what: what.to_owned(),
            figure,
            peer: peer.to_owned(),
            peer_figure: NOT_INSTALLED.to_owned(),
            ratio: f64::NAN,
            target: target.to_owned(),
            reached: true,
        }
    }
}

/// A time in a unit that fits.
pub fn nanos(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.2} µs", nanos / 1e3),
        ..1e9 => format!("{:.2} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

/// Prints the rows and saves them, for the report.
///
/// # Panics
///
/// When they cannot be saved.
pub fn finish(results: Results, rows: &[Row]) {
    print(rows);
    let saved = rows.iter().map(|row| {
        // A target that could not be measured is neither reached nor missed.
        let target = if row.peer_figure == NOT_INSTALLED { "" } else { &row.target };
        let beside = [row.peer.as_str(), row.peer_figure.as_str()];
        results::row(&row.what, &row.figure, beside, row.ratio, target, row.reached)
    });
    let path = results.save(saved.collect()).unwrap();
    println!("\nsaved in {}", path.display());
}

/// Prints the rows below each other.
fn print(rows: &[Row]) {
    let head = ["", "here", "beside", "there", "ratio", "target", ""].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let ratio = if row.ratio.is_nan() { String::new() } else { format!("{:.2}", row.ratio) };
        let verdict = match (row.target.as_str(), row.reached) {
            ("", _) => "",
            _ if row.peer_figure == NOT_INSTALLED => "",
            (_, true) => "reached",
            (_, false) => "MISSED",
        };
        let texts = [&row.what, &row.figure, &row.peer, &row.peer_figure, &ratio, &row.target];
        let mut cells = texts.map(String::to_owned).to_vec();
        cells.push(verdict.to_owned());
        cells
    });
    let lines: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    println!();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
}
