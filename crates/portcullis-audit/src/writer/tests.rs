//! Rotation, disks that fail or block, and the end of the log.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use portcullis::AuditSink as _;
use serde_json::Value;

use super::*;
use crate::{AuditLog, AuditLogOptions};

const LONG: Duration = Duration::from_secs(60);

fn options() -> AuditLogOptions {
    AuditLog::options().retry(Duration::from_millis(5)).special_files()
}

fn event(writer: usize, number: usize) -> Vec<u8> {
    format!(r#"{{"writer":{writer},"number":{number}}}"#).into_bytes()
}

fn push(log: &AuditLog, number: usize) {
    log.0.queue.push(event(0, number));
}

fn lines(path: &Path) -> Vec<Value> {
    let content = fs::read_to_string(path).unwrap();
    assert!(content.is_empty() || content.ends_with('\n'));
    content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(path: &Path) -> Vec<u64> {
    lines(path).iter().map(|line| line["number"].as_u64().unwrap()).collect()
}

#[test]
fn rotation_under_load_loses_nothing() {
    const WRITERS: usize = 4;
    const EVENTS: usize = 10_000;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let log = options().queue_bytes(usize::MAX).open(&path).unwrap();
    let mut files = Vec::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let log = &log;
                scope.spawn(move || {
                    for number in 0..EVENTS {
                        log.0.queue.push(event(writer, number));
                        if number % 100 == 0 {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) || files.len() < 3 {
            let rotated = directory.path().join(format!("audit.{}", files.len()));
            if fs::rename(&path, &rotated).is_ok() {
                files.push(rotated);
            }
            if files.len() % 2 == 0 {
                log.reopen();
            }
            if files.len() >= 3 {
                thread::sleep(Duration::from_millis(1));
            } else {
                push(&log, EVENTS + files.len());
            }
        }
    });
    assert_eq!(log.close(LONG), 0);
    assert_eq!(log.lost(), 0);
    files.push(path);

    let mut next = BTreeMap::new();
    for line in files.iter().filter(|file| file.exists()).flat_map(|file| lines(file)) {
        let number = line["number"].as_u64().unwrap();
        if number < EVENTS as u64 {
            let next = next.entry(line["writer"].as_u64().unwrap()).or_insert(0);
            assert_eq!(number, *next);
            *next += 1;
        }
    }
    assert_eq!(next.len(), WRITERS);
    assert!(next.values().all(|next| *next == EVENTS as u64), "{next:?}");
}

#[test]
fn events_during_a_full_disk_are_written_when_there_is_space_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    symlink("/dev/full", &path).unwrap();
    let log = options().open(&path).unwrap();
    for number in 0..100 {
        push(&log, number);
    }
    thread::sleep(Duration::from_millis(20));
    fs::remove_file(&path).unwrap();
    push(&log, 100);
    assert_eq!(log.close(LONG), 0);
    assert_eq!(numbers(&path), (0..=100).collect::<Vec<_>>());
    assert_eq!(log.lost(), 0);
}

#[test]
fn events_that_overflow_the_queue_are_marked_in_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    symlink("/dev/full", &path).unwrap();
    // `reopen` wakes the writer, not the retry interval.
    let log = options().retry(LONG).queue_bytes(10 * event(0, 0).len()).open(&path).unwrap();
    for number in 0..15 {
        push(&log, number);
    }
    fs::remove_file(&path).unwrap();
    log.reopen();
    while !fs::read_to_string(&path).is_ok_and(|content| content.lines().count() >= 10) {
        thread::yield_now();
    }
    push(&log, 15);
    assert_eq!(log.close(LONG), 0);
    let lines = lines(&path);
    assert_eq!(log.lost(), lines[10]["lost"]);
    assert!(lines[10]["at"].is_string());
    assert_eq!(lines.len(), 12);
    assert_eq!(lines[9]["number"], 9);
    assert_eq!((lines[10]["lost"].as_u64(), lines[11]["number"].as_u64()), (Some(5), Some(15)));
}

#[test]
fn no_event_waits_for_a_disk_that_blocks() {
    const EVENTS: u64 = 1_000;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Opened for reading and writing, so that opening does not block. The pipe holds 64 KiB, less than
    // the queue; then writing blocks.
    let pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let log = options().queue_bytes(200_000).open(&path).unwrap();
    let begin = Instant::now();
    for _ in 0..EVENTS {
        log.0.queue.push(format!(r#"{{"padding":"{:1000}"}}"#, "").into_bytes());
    }
    assert!(log.close(Duration::from_millis(50)) > 0);
    assert!(begin.elapsed() < LONG);

    let (mut written, mut lost) = (0, 0);
    for line in BufReader::new(pipe).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match line["lost"].as_u64() {
            Some(more) => lost += more,
            None => written += 1,
        }
        if written + lost == EVENTS {
            break;
        }
    }
    assert_eq!(log.close(LONG), 0);
    assert!(lost > 0);
    assert_eq!(log.lost(), lost);
}

#[test]
fn the_last_handle_writes_what_is_queued() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let log = options().open(&path).unwrap();
    let clone = log.clone();
    for number in 0..1_000 {
        push(&log, number);
    }
    drop(log);
    push(&clone, 1_000);
    drop(clone);
    assert_eq!(numbers(&path).len(), 1_001);
    // Lines from before stay.
    let log = options().open(&path).unwrap();
    push(&log, 1_001);
    drop(log);
    assert_eq!(numbers(&path), (0..=1_001).collect::<Vec<_>>());
}

#[test]
fn events_that_are_never_written_are_counted_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    symlink("/dev/full", &path).unwrap();
    let log = options().open(&path).unwrap();
    push(&log, 0);
    push(&log, 1);
    assert_eq!(log.close(LONG), 2);
    push(&log, 2);
    assert_eq!(log.lost(), 3);
    assert!(options().open(directory.path().join("no/audit")).is_err());
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failure_and_its_end_are_logged_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    symlink("/dev/full", &path).unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let queue = Arc::new(Queue::new(1_000));
    let file = LogFile::open(&path, false).unwrap();
    let writer = Writer::new(Arc::clone(&queue), file, Duration::from_millis(1));
    let thread =
        thread::spawn(move || tracing::subscriber::with_default(subscriber, || writer.run()));
    queue.push(event(0, 0));
    thread::sleep(Duration::from_millis(50));
    fs::remove_file(&path).unwrap();
    queue.push(event(0, 1));
    queue.close(LONG);
    thread.join().unwrap();

    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("cannot be written to").count(), 1, "{log}");
    assert_eq!(log.matches("again").count(), 1, "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn missing_events_are_marked_without_a_further_event() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    symlink("/dev/full", &path).unwrap();
    let log = options().queue_bytes(30).required(true).open(&path).unwrap();
    for number in 0..10 {
        push(&log, number);
    }
    while log.allows_changes() {
        thread::yield_now();
    }
    fs::remove_file(&path).unwrap();
    let begin = Instant::now();
    while !path.exists() || lines(&path).len() < 2 {
        assert!(begin.elapsed() < LONG);
        thread::yield_now();
    }
    assert_eq!(lines(&path)[0]["number"], 0);
    assert_eq!(lines(&path)[1]["lost"], 9);
    while !log.allows_changes() {
        assert!(begin.elapsed() < LONG);
        thread::yield_now();
    }
}

#[test]
fn a_file_that_is_not_regular_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, Path::new("/dev/full"), directory.path()] {
        let error = AuditLog::open(path).unwrap_err().to_string();
        assert!(error.contains("it is not a regular file"), "{error}");
    }
}

#[test]
fn an_incomplete_line_of_another_process_is_ended_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let mut file = LogFile::open(&path, true).unwrap();
    // As after an incomplete write of another process.
    fs::write(&path, "{\"numb").unwrap();
    file.write_line(b"{\"number\":1}\n").unwrap();
    file.write_line(b"{\"number\":2}\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"numb\n{\"number\":1}\n{\"number\":2}\n");
}
