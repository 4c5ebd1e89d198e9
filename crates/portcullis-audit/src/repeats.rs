//! Refusals, of which anyone can cause as many as they like: those that repeat each other become one
//! line with a count, and lines a second are bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::line::Line;

/// How long repetitions are counted before they are told.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// How many different refusals are told apart at a time, and how many sources.
const MOST: usize = 1_024;

/// How many refusals that are new get a line of their own: so many a second, and so many at once.
const LINES_A_SECOND: f64 = 20.0;
const LINES_AT_ONCE: f64 = 200.0;

/// Counts what repeats itself.
#[derive(Debug)]
pub(crate) struct Repeats {
    told: HashMap<String, Count>,
    untold: HashMap<Option<IpAddr>, Count>,
    lines: f64,
    refilled: Instant,
}

#[derive(Debug)]
struct Count {
    begun: Instant,
    /// `{"at":"…"` of the first and of the last.
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
        Self { told: HashMap::new(), untold: HashMap::new(), lines: LINES_AT_ONCE, refilled: now }
    }

    /// Returns the line if it is to be written now.
    pub(crate) fn add(
        &mut self,
        line: Line,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        if let Some(count) = self.told.get_mut(&line.rest) {
            count.add(line.at);
            return None;
        }
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.lines = (self.lines + passed * LINES_A_SECOND).min(LINES_AT_ONCE);
        if self.lines >= 1.0 && self.told.len() < MOST {
            self.lines -= 1.0;
            let count =
                Count { begun: now, first: line.at.clone(), last: line.at.clone(), count: 0 };
            self.told.insert(line.rest.clone(), count);
            return Some(line.into_bytes());
        }
        // The last place is for all sources that have none of their own.
        let has_place = self.untold.contains_key(&source) || self.untold.len() < MOST - 1;
        let count = self.untold.entry(source.filter(|_| has_place)).or_insert_with(|| Count {
            begun: now,
            first: line.at.clone(),
            last: line.at.clone(),
            count: 0,
        });
        count.add(line.at);
        None
    }

    /// When there is something to tell next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let begun = self.told.values().chain(self.untold.values()).map(|count| count.begun);
        begun.min().map(|begun| begun + INTERVAL)
    }

    /// Takes the lines of what has been counted for long enough, or of everything.
    pub(crate) fn take(&mut self, now: Instant, all: bool) -> Vec<(Vec<u8>, u64)> {
        let is_due = |count: &Count| all || now >= count.begun + INTERVAL;
        let mut lines = Vec::new();
        for (rest, count) in self.told.extract_if(|_, count| is_due(count)) {
            if count.count > 0 {
                let line = format!("{},\"repeated\":{}{rest}", count.head(), count.count);
                lines.push((line.into_bytes(), count.count));
            }
        }
        for (source, count) in self.untold.extract_if(|_, count| is_due(count)) {
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
    fn lines_a_second_are_bounded_and_what_has_none_is_counted_by_source() {
        let begin = Instant::now();
        let mut repeats = Repeats::new(begin);
        let sources = ["192.0.2.1".parse().ok(), "192.0.2.2".parse().ok()];
        let mut told = 0;
        for at in 0..10_000_u64 {
            let source = sources[usize::from(at % 4 == 0)];
            told += usize::from(repeats.add(line(at, &at.to_string()), source, begin).is_some());
        }
        assert_eq!(told, 200);
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
    fn memory_is_bounded_whatever_comes() {
        let begin = Instant::now();
        let mut repeats = Repeats::new(begin);
        for at in 0..100_000_u32 {
            let now = begin + Duration::from_millis(u64::from(at));
            let source = Some(IpAddr::from(std::net::Ipv4Addr::from(at)));
            repeats.add(line(1, &at.to_string()), source, now);
        }
        assert!(repeats.told.len() <= MOST && repeats.untold.len() <= MOST);
    }
}
