//! Running a child under strace, and reading what it writes.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The calls that change files, those that move a file's offset, and `writev`, by which the child
/// reports. Calls that this machine does not have are left out by the question mark.
const CALLS: &str = "?open,openat,?openat2,?creat,read,readv,write,writev,pread64,pwrite64,\
    pwritev,pwritev2,lseek,truncate,ftruncate,fallocate,fsync,fdatasync,sync_file_range,msync,mmap,\
    ?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?link,linkat,?symlink,\
    symlinkat,copy_file_range,sendfile,splice,io_uring_setup,io_submit,syncfs,sync,close,dup,\
    ?dup2,dup3,fcntl";

/// Fails unless strace is permitted to trace here.
pub(crate) fn require() -> anyhow::Result<()> {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match tried {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!("strace is not permitted to trace here: this test cannot be run"),
        Err(error) => bail!("strace cannot be started ({error}): install it to run this test"),
    }
}

/// The command line that traces what follows it into the file.
pub(crate) fn tracing(into: &Path, inject: Option<&str>) -> Vec<String> {
    let mut command: Vec<String> =
        ["strace", "-f", "-y", "-xx", "-qq", "-s", "4000000", "-e", "signal=none", "-o"]
            .map(str::to_owned)
            .to_vec();
    command.push(into.display().to_string());
    command.extend(["-e".to_owned(), format!("trace={CALLS}")]);
    if let Some(inject) = inject {
        command.extend(["-e".to_owned(), format!("inject={inject}")]);
    }
    command
}

/// A system call of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The thread.
    pub(crate) thread: u32,
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    /// What it returned; `None` if it had not when the process ended, or failed.
    pub(crate) result: Option<i64>,
    /// Whether it failed.
    pub(crate) failed: bool,
    /// Whether strace injected the failure.
    pub(crate) injected: bool,
    /// The path of the descriptor that it returned.
    pub(crate) opened: Option<String>,
    /// Lines of the trace at which it began and ended.
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

/// A descriptor, and the path strace says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) number: i64,
    pub(crate) path: String,
}

impl Call {
    pub(crate) fn argument(&self, index: usize) -> anyhow::Result<&str> {
        let argument = self.arguments.get(index).map(String::as_str);
        argument.with_context(|| format!("{} has no argument {index}", self.name))
    }

    pub(crate) fn number(&self, index: usize) -> anyhow::Result<u64> {
        let text = self.argument(index)?;
        let number = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        number.with_context(|| format!("`{text}` is no number"))
    }

    pub(crate) fn descriptor(&self, index: usize) -> anyhow::Result<Descriptor> {
        let text = self.argument(index)?;
        descriptor(text).with_context(|| format!("`{text}` is no descriptor"))
    }

    /// The text or bytes in quotes.
    pub(crate) fn bytes(&self, index: usize) -> anyhow::Result<Vec<u8>> {
        let text = self.argument(index)?;
        quoted(text).with_context(|| format!("{} without its bytes", self.name))
    }

    pub(crate) fn path(&self, index: usize) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.bytes(index)?)?)
    }
}

/// Reads the trace.
///
/// # Errors
///
/// When a line is not in strace's format: no line is skipped.
pub(crate) fn parse(trace: &str) -> anyhow::Result<Vec<Call>> {
    let mut calls: Vec<Call> = Vec::new();
    // The unfinished call of each thread: its index, and its beginning.
    let mut unfinished: Vec<(u32, usize, String)> = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let read = parse_line(number, line, &mut calls, &mut unfinished);
        read.with_context(|| {
            let start: String = line.chars().take(200).collect();
            format!("line {} of the trace: {start}", number + 1)
        })?;
    }
    Ok(calls)
}

fn parse_line(
    number: usize,
    line: &str,
    calls: &mut Vec<Call>,
    unfinished: &mut Vec<(u32, usize, String)>,
) -> anyhow::Result<()> {
    let (thread, rest) = line.split_once(' ').context("no thread")?;
    let thread = thread.parse()?;
    let rest = rest.trim_start();
    if rest.starts_with("+++") || rest.starts_with("---") {
        return Ok(());
    }
    // A thread that was killed at the entry of a call has not made it.
    if rest.starts_with("???(") {
        return Ok(());
    }
    let begun = rest.strip_suffix(" <unfinished ...>");
    if let Some(begun) = begun.or_else(|| rest.strip_suffix(" <detached ...>")) {
        unfinished.push((thread, calls.len(), begun.to_owned()));
        // The arguments that are complete; replaced when it returns.
        let closed = format!("{begun}) = ?");
        calls.push(parse_call(thread, &closed, number, usize::MAX)?);
        return Ok(());
    }
    if let Some(resumed) = rest.strip_prefix("<... ") {
        let (_, tail) = resumed.split_once(" resumed>").context("what is resumed?")?;
        let place = unfinished.iter().position(|(of, ..)| *of == thread);
        let (_, place, begun) = unfinished.remove(place.context("nothing was begun")?);
        let begin = calls.get(place).context("a place")?.begin;
        // A thread that ends with its process in the middle of a call resumes and does not return.
        let ended = tail.strip_prefix(" <unfinished ...>");
        let end = if ended.is_some() { usize::MAX } else { number };
        let tail = ended.unwrap_or(tail);
        let call = parse_call(thread, &format!("{begun}{tail}"), begin, end)?;
        *calls.get_mut(place).context("a place")? = call;
        return Ok(());
    }
    calls.push(parse_call(thread, rest, number, number)?);
    Ok(())
}

fn parse_call(thread: u32, text: &str, begin: usize, end: usize) -> anyhow::Result<Call> {
    let (name, rest) = text.split_once('(').context("no call")?;
    // Bytes are in hexadecimal, so no other parenthesis can be confused with this one.
    let (arguments, result) = rest.rsplit_once(" = ").context("no result")?;
    let arguments = arguments.trim_end().strip_suffix(')').context("no end")?;
    let failed = result.starts_with("-1");
    let value = result.split([' ', '<']).next().unwrap_or_default();
    Ok(Call {
        thread,
        name: name.to_owned(),
        arguments: split(arguments),
        result: match failed {
            true => None,
            false => number_of(value),
        },
        failed,
        injected: result.ends_with("(INJECTED)"),
        opened: descriptor(result).map(|descriptor| descriptor.path),
        begin,
        end,
    })
}

fn number_of(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        // Addresses of mappings parse as well; they are not used.
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Splits at the commas outside of quotes and brackets.
fn split(arguments: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quoted) = (0_i32, false);
    let mut previous = ' ';
    for character in arguments.chars() {
        match character {
            '"' => quoted = !quoted,
            '[' | '{' | '(' if !quoted => depth += 1,
            ']' | '}' | ')' if !quoted => depth -= 1,
            _ => {}
        }
        match character {
            ',' if depth == 0 && !quoted => parts.push(String::new()),
            ' ' if previous == ',' && depth == 0 && !quoted => {}
            _ => parts.last_mut().expect("there is always one").push(character),
        }
        previous = character;
    }
    parts
}

fn descriptor(text: &str) -> Option<Descriptor> {
    let (number, rest) = text.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    let path = String::from_utf8(unescape(path)?).ok()?;
    Some(Descriptor { number: number.parse().ok()?, path })
}

pub(crate) fn quoted(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once('"')?;
    let (inner, tail) = rest.split_once('"')?;
    // Three dots after the quote would mean that strace has cut it.
    (!tail.starts_with("...")).then(|| unescape(inner))?
}

/// Reads `\x68\x65`, and characters that were not escaped.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        if rest.next() != Some(b'x') {
            return None;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_B: &str = r"\x2f\x61\x20\x62";

    #[test]
    fn a_call_is_parsed() {
        let line = format!(r#"12 pwrite64(3<{A_B}>, "\x68\x2c\x22\x00", 4, 8192) = 4"#);
        let calls = parse(&line).unwrap();
        let [call] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!((call.thread, call.name.as_str(), call.result), (12, "pwrite64", Some(4)));
        assert_eq!(call.descriptor(0).unwrap(), Descriptor { number: 3, path: "/a b".to_owned() });
        assert_eq!(call.bytes(1).unwrap(), b"h,\"\0");
        assert_eq!((call.number(2).unwrap(), call.number(3).unwrap()), (4, 8192));
    }

    #[test]
    fn descriptors_that_are_returned_have_a_path() {
        let line = format!(
            r#"7 openat(AT_FDCWD<\x2f>, "{A_B}", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5<{A_B}>"#
        );
        let calls = parse(&line).unwrap();
        assert_eq!(calls[0].path(1).unwrap(), "/a b");
        assert_eq!(calls[0].opened.as_deref(), Some("/a b"));
        assert_eq!(calls[0].result, Some(5));
    }

    #[test]
    fn a_call_that_another_thread_interrupts_has_a_begin_and_an_end() {
        let trace = format!(
            "1 fsync(3<{A_B}> <unfinished ...>\n2 lseek(4<{A_B}>, 0, SEEK_SET) = 0\n\
             1 <... fsync resumed>) = 0\n1 +++ exited with 0 +++\n"
        );
        let calls = parse(&trace).unwrap();
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[0].begin, calls[0].end, calls[0].result), (0, 2, Some(0)));
        assert_eq!((calls[1].begin, calls[1].end), (1, 1));
    }

    #[test]
    fn a_call_that_never_returned_has_no_result() {
        let calls = parse(&format!("1 fsync(3<{A_B}> <unfinished ...>\n")).unwrap();
        assert_eq!((calls[0].end, calls[0].result, calls[0].failed), (usize::MAX, None, false));
    }

    #[test]
    fn a_call_that_ends_with_the_process_has_no_result() {
        let trace =
            "1 read(0<\\x70>,  <unfinished ...>\n1 <... read resumed> <unfinished ...>) = ?\n";
        let calls = parse(trace).unwrap();
        assert_eq!((calls[0].end, calls[0].result, calls[0].failed), (usize::MAX, None, false));
    }

    #[test]
    fn injected_failures_are_recorded() {
        let line = format!("1 fsync(3<{A_B}>) = -1 EIO (Input/output error) (INJECTED)");
        let calls = parse(&line).unwrap();
        assert!(calls[0].failed && calls[0].injected && calls[0].result.is_none());
    }

    #[test]
    fn vectors_are_one_argument() {
        let line = r#"1 writev(1<\x70>, [{iov_base="\x61\x0a", iov_len=2}], 1) = 2"#;
        let calls = parse(line).unwrap();
        assert_eq!(calls[0].arguments.len(), 3);
        assert_eq!(calls[0].bytes(1).unwrap(), b"a\n");
    }

    #[test]
    fn bytes_that_strace_has_cut_are_not_taken_for_whole() {
        let calls = parse(r#"1 write(1<\x70>, "\x61"..., 2) = 2"#).unwrap();
        assert!(calls[0].bytes(1).is_err());
    }

    #[test]
    fn a_line_in_another_format_is_an_error() {
        assert!(parse("1 what is this\n").is_err());
        assert!(parse("1 <... fsync resumed>) = 0\n").is_err());
    }
}
