//! What comes out: one table.

use crate::rounds::Rounds;

const NOT_INSTALLED: &str = "not installed";

/// A promise, and whether it was kept.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: String,
    pub(crate) peer: String,
    pub(crate) peer_figure: String,
    pub(crate) ratio: f64,
    pub(crate) target: String,
    pub(crate) reached: bool,
}

impl Row {
    /// The first contender against the second, in time.
    pub(crate) fn at_most(what: &str, peer: &str, taken: &Rounds, most: f64) -> Self {
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

    /// A figure with a bound of its own.
    pub(crate) fn figure(what: &str, figure: String, most: &str, reached: bool) -> Self {
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

    /// A peer that this machine does not have.
    pub(crate) fn without(what: &str, figure: String, peer: &str, target: &str) -> Self {
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
pub(crate) fn nanos(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.2} µs", nanos / 1e3),
        ..1e9 => format!("{:.2} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

pub(crate) fn print(rows: &[Row]) {
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
