//! Medians and ratios, against the targets.

use std::path::PathBuf;
use std::{fmt, io};

use crate::measure::Median;
use crate::results::{self, Results};

const OURS: &str = "PermissionSet";

/// What is to be so many times slower than ours, and with how many permissions.
const TARGETS: [(&str, &[usize], f64); 7] = [
    // At most one and a half times as slow as a scan.
    ("linear scan", &[1], 1.0 / 1.5),
    ("linear scan", &[8], 1.0 / 1.5),
    ("linear scan", &[64], 4.0),
    ("linear scan", &[512], 20.0),
    ("cedar-policy", &[1, 8, 64, 512], 250.0),
    ("gatehouse", &[1, 8, 64, 512], 35.0),
    ("casbin", &[1, 8, 64, 512], 60.0),
];

/// A check with 512 permissions costs at most so many times what one with 8 does.
const GROWTH: f64 = 3.0;

/// What was measured.
#[derive(Default)]
pub(crate) struct Report {
    /// By the number of permissions.
    medians: Vec<(usize, Vec<Median>)>,
    /// Where each permission names another org: their number, the scan and the set.
    spread: Vec<(usize, f64, f64)>,
}

impl Report {
    pub(crate) fn add(&mut self, count: usize, medians: Vec<Median>) {
        self.medians.push((count, medians));
    }

    /// Adds what was measured where each permission names another org.
    pub(crate) fn add_spread(&mut self, count: usize, medians: &[Median]) {
        let of = |name| medians.iter().find(|median| median.name == name).unwrap().nanoseconds;
        self.spread.push((count, of("linear scan"), of(OURS)));
    }

    /// How many times slower a scan of so many is to be.
    fn scan_target(count: usize) -> f64 {
        let of = |(name, counts, _): &&(&str, &[usize], f64)| {
            *name == "linear scan" && counts.contains(&count)
        };
        TARGETS.iter().find(of).unwrap().2
    }

    /// Saves medians as points, and ratios against the targets as rows.
    pub(crate) fn save(&self, mut results: Results) -> io::Result<PathBuf> {
        for (count, medians) in &self.medians {
            for median in medians {
                results.point("permissions", median.name, *count as f64, median.nanoseconds);
            }
        }
        let nanos = |name, count| format!("{:.1} ns", self.nanoseconds(name, count));
        let mut rows = Vec::new();
        for (name, counts, target) in TARGETS {
            for count in counts.iter().copied() {
                let ratio = self.nanoseconds(name, count) / self.nanoseconds(OURS, count);
                rows.push(results::row(
                    &format!("check with {count} permissions, times as slow as ours"),
                    &nanos(OURS, count),
                    [name, &nanos(name, count)],
                    ratio,
                    &format!("at least {target:.2}"),
                    ratio >= target,
                ));
            }
        }
        let growth = self.nanoseconds(OURS, 512) / self.nanoseconds(OURS, 8);
        rows.push(results::row(
            "check with 512 permissions",
            &nanos(OURS, 512),
            ["with 8", &nanos(OURS, 8)],
            growth,
            &format!("at most {GROWTH:.2}"),
            growth <= GROWTH,
        ));
        for (count, scan, ours) in self.spread.iter().copied() {
            let target = Self::scan_target(count);
            rows.push(results::row(
                &format!("check with {count} permissions, each in another org"),
                &format!("{ours:.1} ns"),
                ["linear scan", &format!("{scan:.1} ns")],
                scan / ours,
                &format!("at least {target:.2}"),
                scan / ours >= target,
            ));
        }
        results.save(rows)
    }

    fn nanoseconds(&self, name: &str, count: usize) -> f64 {
        let (_, medians) = self.medians.iter().find(|(of, _)| *of == count).unwrap();
        medians.iter().find(|median| median.name == name).unwrap().nanoseconds
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "permission check, half allowed and half denied, median ns\n")?;
        write!(f, "{:<16}", "permissions")?;
        self.medians.iter().try_for_each(|(count, _)| write!(f, "{count:>10}"))?;
        writeln!(f)?;
        for median in self.medians.iter().take(1).flat_map(|(_, medians)| medians) {
            write!(f, "{:<16}", median.name)?;
            for (count, _) in &self.medians {
                write!(f, "{:>10.1}", self.nanoseconds(median.name, *count))?;
            }
            writeln!(f)?;
        }

        writeln!(f, "\ntimes as slow as {OURS}\n")?;
        for (name, counts, target) in TARGETS {
            for count in counts {
                let ratio = self.nanoseconds(name, *count) / self.nanoseconds(OURS, *count);
                line(f, name, *count, ratio, format!("at least {target:.2}"), ratio >= target)?;
            }
        }
        let growth = self.nanoseconds(OURS, 512) / self.nanoseconds(OURS, 8);
        line(f, "512, beside 8", 512, growth, format!("at most {GROWTH:.2}"), growth <= GROWTH)?;

        writeln!(f, "\neach permission in another org\n")?;
        for (count, scan, ours) in self.spread.iter().copied() {
            let (ratio, target) = (scan / ours, Self::scan_target(count));
            line(f, "linear scan", count, ratio, format!("at least {target:.2}"), ratio >= target)?;
        }
        Ok(())
    }
}

fn line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    count: usize,
    ratio: f64,
    target: String,
    reached: bool,
) -> fmt::Result {
    let verdict = if reached { "reached" } else { "MISSED" };
    writeln!(f, "{name:<16}{count:>5}{ratio:>10.2}   {target:<16} {verdict}")
}
