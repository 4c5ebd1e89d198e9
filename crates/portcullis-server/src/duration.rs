//! Durations in options.

use std::time::Duration;

/// The units, from the longest, and their seconds.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Parses a duration such as `90d`, `1h30m` or `45s`: each unit at most once, the longest first.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a duration such as 90d, 12h, 1h30m or 45s");
    let mut units = UNITS.iter();
    let (mut seconds, mut rest) = (0_u64, text);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, of_unit) = rest.split_at(digits);
        let unit = of_unit.chars().next().ok_or_else(invalid)?;
        let (_, each) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let part = number.checked_mul(*each).ok_or_else(invalid)?;
        seconds = seconds.checked_add(part).ok_or_else(invalid)?;
        rest = of_unit.get(unit.len_utf8()..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Duration::from_secs(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units() {
        for (text, seconds) in
            [("90d", 7_776_000), ("1h30m", 5_400), ("45s", 45), ("2w1d", 1_296_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "90",
            "d",
            "-1d",
            "1.5h",
            "1 h",
            "1m1h",
            "1h1h",
            "1y",
            "1ü",
            "99999999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("18446744073709551615w").is_err());
    }
}
