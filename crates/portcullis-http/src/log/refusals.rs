//! The log line about a refused login.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use portcullis::Refusal;

use crate::log::line_limit::LineLimit;

/// How many characters of a username are logged.
const MAX_NAME: usize = 128;

/// Logs a refusal, in the one line that `docs/fail2ban/portcullis.conf` matches.
///
/// The line is in no span, so that nothing that a client has sent precedes the address. The username
/// comes last, escaped and cut.
///
/// One source has a burst of 20 lines and one line a second; all sources together have a burst of
/// 500 and 50 a second. The number of suppressed lines is logged before the next line.
pub(crate) fn log_refusal(
    address: Option<IpAddr>,
    scheme: &'static str,
    refusal: Refusal,
    username: &str,
) {
    let Some(suppressed) = LineLimit::of_this_process().take(address, Instant::now()) else {
        return;
    };
    if suppressed > 0 {
        tracing::info!(
            target: "portcullis::login",
            parent: None,
            lines = suppressed,
            "refused logins were not logged: there were too many"
        );
    }
    tracing::info!(
        target: "portcullis::login",
        parent: None,
        address = %Address(address),
        scheme,
        reason = refusal.to_string(),
        username = cut(username, MAX_NAME),
        "login refused"
    );
}

struct Address(Option<IpAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Returns the first `characters` characters of the text.
pub(crate) fn cut(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters).map(|(end, _)| end);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (text, expected) in [("", ""), ("ää", "ää"), ("äää", "ää"), ("ab\u{10000}", "ab")]
        {
            assert_eq!(cut(text, 2), expected);
        }
    }
}
