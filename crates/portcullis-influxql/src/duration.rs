//! Spans of time as they are written in queries.

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// The units that can be printed, from the largest.
const UNITS: [(i64, &str); 7] = [
    (WEEK, "w"),
    (DAY, "d"),
    (HOUR, "h"),
    (MINUTE, "m"),
    (SECOND, "s"),
    (MILLISECOND, "ms"),
    (MICROSECOND, "u"),
];

/// Returns the nanoseconds of `1h30m` and the like: numbers with a unit each.
///
/// # Errors
///
/// InfluxDB's message.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || "invalid duration".to_owned();
    if text.chars().count() < 2 {
        return Err(invalid());
    }
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut all: i64 = 0;
    let mut last = (0, "");
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| invalid())?;
        let unit = ["ns", "ms", "u", "µ", "m", "s", "h", "d", "w"];
        let unit = unit.into_iter().find(|unit| after.starts_with(unit)).ok_or_else(invalid)?;
        let nanoseconds = match unit {
            "ns" => 1,
            "u" | "µ" => MICROSECOND,
            "ms" => MILLISECOND,
            "m" => MINUTE,
            "s" => SECOND,
            "h" => HOUR,
            "d" => DAY,
            _ => WEEK,
        };
        // InfluxDB's arithmetic wraps, and it looks at the sign in the end.
        all = all.wrapping_add(number.wrapping_mul(nanoseconds));
        last = (number, unit);
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    if all < 0 && !is_negative {
        let (number, unit) = last;
        return Err(format!(
            "overflowed duration {number}{unit}: choose a smaller duration or INF"
        ));
    }
    Ok(if is_negative { all.wrapping_neg() } else { all })
}

/// Writes it in the largest unit that does it exactly.
pub(crate) fn format_duration(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    match UNITS.into_iter().find(|(unit, _)| nanoseconds % unit == 0) {
        Some((unit, name)) => format!("{}{name}", nanoseconds / unit),
        None => format!("{nanoseconds}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, nanoseconds) in [
            ("1h30m", HOUR + 30 * MINUTE),
            ("10ms", 10 * MILLISECOND),
            ("5u", 5 * MICROSECOND),
            ("5µ", 5 * MICROSECOND),
            ("7ns", 7),
            ("2w", 2 * WEEK),
            ("-1d", -DAY),
        ] {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
        }
        for text in ["", "h", "5", "1y", "1n", "1h5", "h1", "99999999999999999999s", "20000w"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_in_their_largest_unit() {
        for text in ["0s", "90m", "1h", "36h", "2w", "15ms", "7u", "9ns"] {
            let nanoseconds = parse_duration(text).unwrap();
            assert_eq!(format_duration(nanoseconds), text);
        }
    }
}
