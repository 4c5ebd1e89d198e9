//! Limits for events that clients can cause at will: repetitions become one line with a count, and the
//! rate of lines is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::line::Line;

/// How long repetitions are counted before their line is written.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The most different refusals, and the most sources, that are counted separately.
const MAX_ENTRIES: usize = 1_024;

/// The rate and the burst of lines for refusals that are no repetitions.
const LINES_PER_SECOND: f64 = 20.0;
const BURST: f64 = 200.0;

/// Counts repetitions, and refusals that have no line.
#[derive(Debug)]
pub(crate) struct Repeats {
    listed: HashMap<String, Count>,
    unlisted: HashMap<Option<IpAddr>, Count>,
    lines: f64,
    refilled: Instant,
}

#[derive(Debug)]
struct Count {
    started: Instant,
    /// `{"at":"…"` of the first and of the last event.
    first: String,
    last: String,
    count: u64,
}

impl Count {
    fn add(&mut self, at: String) {
        self.last = at;
        self.count += 1;
    }

    /// `{"at":"…","since":"…"`.
    fn head(&self) -> String {
        let since = self.first.strip_prefix("{\"at\"").unwrap_or(":\"\"");
        format!("{},\"since\"{since}", self.last)
    }
}

impl Repeats {
    pub(crate) fn new(now: Instant) -> Self {
        Self { listed: HashMap::new(), unlisted: HashMap::new(), lines: BURST, refilled: now }
    }

    /// Returns the line if it is to be written now.
    pub(crate) fn add(
        &mut self,
        line: Line,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        if let Some(count) = self.listed.get_mut(&line.rest) {
            count.add(line.at);
            return None;
        }
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.lines = (self.lines + passed * LINES_PER_SECOND).min(BURST);
        if self.lines >= 1.0 && self.listed.len() < MAX_ENTRIES {
            self.lines -= 1.0;
            let count =
                Count { started: now, first: line.at.clone(), last: line.at.clone(), count: 0 };
            self.listed.insert(line.rest.clone(), count);
            return Some(line.into_bytes());
        }
        // The last entry is shared by all sources without an entry of their own.
        let has_entry =
            self.unlisted.contains_key(&source) || self.unlisted.len() < MAX_ENTRIES - 1;
        let count = self.unlisted.entry(source.filter(|_| has_entry)).or_insert_with(|| Count {
            started: now,
            first: line.at.clone(),
            last: line.at.clone(),
            count: 0,
        });
        count.add(line.at);
        None
    }

    /// Returns when the next line is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let started = self.listed.values().chain(self.unlisted.values()).map(|count| count.started);
        started.min().map(|started| started + INTERVAL)
    }

    /// Takes the lines that are due, or all.
    pub(crate) fn take(&mut self, now: Instant, all: bool) -> Vec<(Vec<u8>, u64)> {
        let is_due = |count: &Count| all || now >= count.started + INTERVAL;
        let mut lines = Vec::new();
        for (rest, count) in self.listed.extract_if(|_, count| is_due(count)) {
            if count.count > 0 {
                let line = format!("{},\"repeated\":{}{rest}", count.head(), count.count);
                lines.push((line.into_bytes(), count.count));
            }
        }
        for (source, count) in self.unlisted.extract_if(|_, count| is_due(count)) {
            let source = source.map(|it| format!(",\"source\":\"{it}\"")).unwrap_or_default();
            let line = format!("{}{source},\"refusedNotListed\":{}}}", count.head(), count.count);
            lines.push((line.into_bytes(), count.count));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u64, name: &str) -> Line {
        Line { at: format!("{{\"at\":\"{at}\""), rest: format!(",\"name\":\"{name}\"}}") }
    }

    fn texts(lines: Vec<(Vec<u8>, u64)>) -> Vec<String> {
        lines.into_iter().map(|(line, _)| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn repetitions_become_one_line_with_a_count() {
        let begin = Instant::now();
        let mut repeats = Repeats::new(begin);
        assert!(repeats.add(line(1, "a"), None, begin).is_some());
        for at in 2..=100_000 {
            assert!(repeats.add(line(at, "a"), None, begin).is_none());
        }
        assert!(repeats.add(line(7, "b"), None, begin).is_some());
        assert!(repeats.take(begin, false).is_empty());
        let due = repeats.due().unwrap();
        assert_eq!(due, begin + INTERVAL);
        assert_eq!(
            texts(repeats.take(due, false)),
            [r#"{"at":"100000","since":"1","repeated":99999,"name":"a"}"#]
        );
        assert_eq!(repeats.due(), None);
        assert!(repeats.add(line(8, "a"), None, due).is_some());
    }

    #[test]
    fn the_rate_of_lines_is_bounded_and_refusals_without_a_line_are_counted_by_source() {
        let begin = Instant::now();
        let mut repeats = Repeats::new(begin);
        let sources = ["192.0.2.1".parse().ok(), "192.0.2.2".parse().ok()];
        let mut written = 0;
        for at in 0..10_000_u64 {
            let source = sources[usize::from(at % 4 == 0)];
            written += usize::from(repeats.add(line(at, &at.to_string()), source, begin).is_some());
        }
        assert_eq!(written, 200);
        let later = begin + Duration::from_secs(1);
        let more =
            (0..100).filter(|at| repeats.add(line(*at, &format!("x{at}")), None, later).is_some());
        assert_eq!(more.count(), 20);
        let mut lines = texts(repeats.take(begin, true));
        lines.sort();
        assert_eq!(lines.len(), 3, "{lines:?}");
        let counts = lines.iter().map(|line| {
            let (_, count) = line.split_once("NotListed\":").unwrap();
            count.trim_end_matches('}').parse::<u64>().unwrap()
        });
        assert_eq!(counts.sum::<u64>(), 10_000 - 200 + 80);
        assert!(lines.iter().any(|line| line.contains(r#""source":"192.0.2.1""#)), "{lines:?}");
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_refusals() {
        let begin = Instant::now();
        let mut repeats = Repeats::new(begin);
        for at in 0..100_000_u32 {
            let now = begin + Duration::from_millis(u64::from(at));
            let source = Some(IpAddr::from(std::net::Ipv4Addr::from(at)));
            repeats.add(line(1, &at.to_string()), source, now);
        }
        assert!(repeats.listed.len() <= MAX_ENTRIES && repeats.unlisted.len() <= MAX_ENTRIES);
    }
}
