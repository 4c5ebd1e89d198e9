//! Progress of what takes longer than a second, on standard error: the count, the rate, and the time
//! left where the total is known.

use std::fmt;
use std::io::{self, IsTerminal as _, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState,
    ProgressStyle,
};

/// What is done within this time shows no progress.
const DELAY: Duration = Duration::from_secs(1);

/// The time between two drawings of a spinner whose count does not change.
const TICK: Duration = Duration::from_millis(200);

/// The time between two lines where standard error is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How many things show their progress on the terminal.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// On a terminal: a line that is replaced.
    Terminal,
    /// As lines, since `--progress` is given and standard error is no terminal.
    Lines,
    /// Nowhere.
    Hidden,
}

impl ProgressMode {
    /// Returns the mode for standard error of this process. `is_wanted` is `--progress`.
    pub(crate) fn of_stderr(is_wanted: bool) -> Self {
        match (io::stderr().is_terminal(), is_wanted) {
            (true, _) => Self::Terminal,
            (false, true) => Self::Lines,
            (false, false) => Self::Hidden,
        }
    }

    /// Begins something that takes a while, such as `copying`, in `units`.
    pub(crate) fn begin(self, what: &'static str, unit: Unit, total: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let begin = Instant::now();
        Progress { mode: self, what, unit, total, bar, begin, is_shown: false, last_line: begin }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Records.
    Records,
    /// Bytes.
    Bytes,
    /// Nothing: only the time is shown.
    Time,
}

/// The progress of one thing. It is removed from the terminal when it is dropped.
pub(crate) struct Progress {
    mode: ProgressMode,
    what: &'static str,
    unit: Unit,
    total: Option<u64>,
    bar: ProgressBar,
    begin: Instant,
    is_shown: bool,
    last_line: Instant,
}

impl Progress {
    /// Counts more of it.
    pub(crate) fn add(&mut self, count: u64) {
        self.bar.inc(count);
        match self.mode {
            ProgressMode::Hidden => {}
            ProgressMode::Terminal if self.is_shown || self.begin.elapsed() < DELAY => {}
            ProgressMode::Terminal => self.show(),
            ProgressMode::Lines => self.write_line_if_due(),
        }
    }

    /// Shows the time of something that cannot count, until the guard is dropped.
    pub(crate) fn ticking(mut self) -> Ticking {
        if self.mode == ProgressMode::Hidden {
            return Ticking(None);
        }
        let (end, ended) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let mut wait = DELAY;
            // Any other result is the end.
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                self.add(0);
                wait = TICK;
            }
        });
        Ticking(Some((end, thread)))
    }

    fn show(&mut self) {
        self.is_shown = true;
        // The templates are constants.
        if let Ok(style) = ProgressStyle::with_template(&self.template()) {
            self.bar.set_style(style.with_key("rate", rate));
        }
        self.bar.set_message(self.what);
        SHOWN.fetch_add(1, Ordering::Relaxed);
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(TICK);
    }

    fn template(&self) -> String {
        let count = match (self.unit, self.total) {
            (Unit::Time, _) => "{elapsed}",
            (Unit::Records, None) => "{human_pos} records, {rate}, {elapsed}",
            (Unit::Records, Some(_)) => "{human_pos} of {human_len} records, {rate}, {eta} left",
            (Unit::Bytes, None) => "{bytes}, {bytes_per_sec}, {elapsed}",
            (Unit::Bytes, Some(_)) => "{bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        };
        format!("{{spinner}} {{msg}}: {count}")
    }

    fn write_line_if_due(&mut self) {
        let due = if self.is_shown { LINE_INTERVAL } else { DELAY };
        if self.last_line.elapsed() < due {
            return;
        }
        self.is_shown = true;
        self.last_line = Instant::now();
        // Progress is for information.
        let _ = writeln!(io::stderr().lock(), "{}", self.line());
    }

    fn line(&self) -> String {
        let Self { what, bar, .. } = self;
        let count = bar.position();
        let per_second = bar.per_sec() as u64;
        let elapsed = HumanDuration(self.begin.elapsed());
        let left = HumanDuration(bar.eta());
        match (self.unit, self.total) {
            (Unit::Time, _) => format!("{what}: {elapsed}"),
            (Unit::Records, None) => {
                let (count, rate) = (HumanCount(count), HumanCount(per_second));
                format!("{what}: {count} records, {rate}/s, {elapsed}")
            }
            (Unit::Records, Some(total)) => {
                let (count, rate) = (HumanCount(count), HumanCount(per_second));
                format!("{what}: {count} of {} records, {rate}/s, {left} left", HumanCount(total))
            }
            (Unit::Bytes, None) => {
                let (count, rate) = (HumanBytes(count), HumanBytes(per_second));
                format!("{what}: {count}, {rate}/s, {elapsed}")
            }
            (Unit::Bytes, Some(total)) => {
                let (count, rate) = (HumanBytes(count), HumanBytes(per_second));
                format!("{what}: {count} of {}, {rate}/s, {left} left", HumanBytes(total))
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.is_shown && self.mode == ProgressMode::Terminal {
            SHOWN.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Writes the rate of records without a fraction.
fn rate(state: &ProgressState, text: &mut dyn fmt::Write) {
    // The text grows in memory.
    let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
}

/// Returns standard error for a line of the log, without the progress that the terminal shows: it is
/// drawn again below the line.
pub(crate) fn stderr_for_log() -> io::Stderr {
    let mut stderr = io::stderr();
    if SHOWN.load(Ordering::Relaxed) > 0 {
        // The line of the log follows in any case.
        let _ = stderr.write_all(b"\r\x1b[2K");
    }
    stderr
}

/// Shows the time as long as it exists.
pub(crate) struct Ticking(Option<(mpsc::Sender<()>, thread::JoinHandle<()>)>);

impl Drop for Ticking {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // Then it is gone from the terminal.
            let _ = thread.join();
        }
    }
}

/// Counts the bytes that are read.
pub(crate) struct CountingReader<R> {
    inner: R,
    progress: Progress,
}

impl<R> CountingReader<R> {
    pub(crate) fn new(inner: R, progress: Progress) -> Self {
        Self { inner, progress }
    }
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}

/// Counts the lines that are written: of a snapshot, one for each record.
pub(crate) struct LineCounter<W> {
    inner: W,
    progress: Progress,
}

impl<W> LineCounter<W> {
    pub(crate) fn new(inner: W, progress: Progress) -> Self {
        Self { inner, progress }
    }
}

impl<W: Write> Write for LineCounter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        let written = bytes.get(..count).unwrap_or(bytes);
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        if lines > 0 {
            self.progress.add(lines as u64);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [CLI-12]
    #[test]
    fn a_line_has_count_and_rate_and_the_time_left_if_the_total_is_known() {
        let mut progress = ProgressMode::Hidden.begin("copying", Unit::Records, Some(2_000_000));
        progress.add(1_234_567);
        let line = progress.line();
        assert!(line.starts_with("copying: 1,234,567 of 2,000,000 records, "), "{line}");
        assert!(line.contains("/s, ") && line.ends_with(" left"), "{line}");
        let mut progress = ProgressMode::Hidden.begin("reading", Unit::Bytes, None);
        progress.add(3 * 1024 * 1024);
        let line = progress.line();
        assert!(line.starts_with("reading: 3.00 MiB, ") && !line.contains("left"), "{line}");
    }

    /// [CLI-12]
    #[test]
    fn what_is_fast_shows_no_progress() {
        let mut progress = ProgressMode::Terminal.begin("copying", Unit::Records, None);
        progress.add(5);
        assert!(!progress.is_shown);
        progress.begin -= DELAY;
        progress.add(5);
        assert!(progress.is_shown);
    }

    /// [CLI-12]
    #[test]
    fn a_log_line_is_not_appended_to_progress() {
        let before = SHOWN.load(Ordering::Relaxed);
        let mut progress = ProgressMode::Terminal.begin("copying", Unit::Time, None);
        progress.begin -= DELAY;
        progress.add(0);
        assert!(SHOWN.load(Ordering::Relaxed) > 0);
        let ticking = progress.ticking();
        // It ends at once.
        drop(ticking);
        assert!(SHOWN.load(Ordering::Relaxed) <= before + 1, "another test shows one at most");
    }

    #[test]
    fn readers_and_writers_count_what_they_pass_on() {
        let progress = ProgressMode::Hidden.begin("x", Unit::Records, None);
        let mut writer = LineCounter::new(Vec::new(), progress);
        writer.write_all(b"one\ntwo\nthr").unwrap();
        writer.write_all(b"ee\n").unwrap();
        assert_eq!(
            (writer.inner.as_slice(), writer.progress.bar.position()),
            (&b"one\ntwo\nthree\n"[..], 3)
        );
        let progress = ProgressMode::Hidden.begin("x", Unit::Bytes, Some(6));
        let mut reader = CountingReader::new(&b"abcdef"[..], progress);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), reader.progress.bar.position()), ("abcdef", 6));
    }
}
