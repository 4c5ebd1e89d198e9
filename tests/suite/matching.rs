//! The matchers that expectations of the vectors are written with.

use portcullis::{Id, Timestamp};
use serde_json::Value;

/// Says where the value does not fit the pattern: members that are not in it do not matter, in
/// arrays everything does.
pub fn fits(pattern: &Value, value: &Value, at: &str) -> Result<(), String> {
    match pattern {
        Value::Object(members) => {
            if let Some((matcher, argument)) =
                members.iter().next().filter(|(n, _)| n.starts_with('$'))
            {
                return matcher_fits(matcher, argument, value)
                    .then_some(())
                    .ok_or_else(|| format!("{at}: {value} does not fit {pattern}"));
            }
            let object = value.as_object().ok_or_else(|| format!("{at}: {value} is no object"))?;
            for (name, pattern) in members {
                let member = object.get(name).ok_or_else(|| format!("{at}/{name}: missing"))?;
                fits(pattern, member, &format!("{at}/{name}"))?;
            }
            Ok(())
        }
        Value::Array(patterns) => {
            let array = value.as_array().ok_or_else(|| format!("{at}: {value} is no array"))?;
            if array.len() != patterns.len() {
                return Err(format!("{at}: {} elements, not {}", array.len(), patterns.len()));
            }
            for (i, (pattern, element)) in patterns.iter().zip(array).enumerate() {
                fits(pattern, element, &format!("{at}/{i}"))?;
            }
            Ok(())
        }
        _ if pattern == value => Ok(()),
        _ if at.ends_with("At") && same_instant(pattern, value) => Ok(()),
        _ => Err(format!("{at}: {value}, not {pattern}")),
    }
}

fn same_instant(one: &Value, other: &Value) -> bool {
    let instant = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    instant(one).is_some() && instant(one) == instant(other)
}

fn matcher_fits(matcher: &str, argument: &Value, value: &Value) -> bool {
    let text = value.as_str();
    let is_id = |text: &str| text.parse::<Id>().is_ok_and(|id| id.to_string() == text);
    match (matcher, argument.as_str()) {
        ("$match", Some("id")) => text.is_some_and(is_id),
        ("$match", Some("rfc3339")) => text.is_some_and(|text| text.parse::<Timestamp>().is_ok()),
        ("$match", Some("nonempty")) => text.is_some_and(|text| !text.is_empty()),
        ("$match", Some("self_link")) => text
            .and_then(|text| text.strip_prefix("/private/legacy/authorizations/"))
            .is_some_and(is_id),
        ("$prefix", Some(prefix)) => text.is_some_and(|text| text.starts_with(prefix)),
        ("$contains", Some(part)) => text.is_some_and(|text| text.contains(part)),
        ("$length", None) => value.as_array().map(|a| a.len() as u64) == argument.as_u64(),
        _ => panic!("unknown matcher {matcher}: {argument}"),
    }
}
