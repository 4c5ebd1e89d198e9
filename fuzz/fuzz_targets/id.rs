//! Ids: a text is accepted if and only if it is 16 hexadecimal digits that are not all zero, and is
//! refused for the first reason that applies. An accepted id prints as the same digits in lower case,
//! survives a round trip, and parses alike as JSON and with every type of id.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{AuthorizationId, Id, OrgId, ParseIdError};

fuzz_target!(|text: &str| {
    let expected = if text.len() != 16 {
        Err(ParseIdError::Length)
    } else if text.bytes().any(|byte| !byte.is_ascii_hexdigit()) || text == "0".repeat(16) {
        Err(ParseIdError::Invalid)
    } else {
        Ok(text.to_ascii_lowercase())
    };
    let parsed = text.parse::<Id>();
    assert_eq!(parsed.map(|id| id.to_string()), expected);
    assert_eq!(text.parse::<OrgId>().map(Id::from), parsed);
    assert_eq!(text.parse::<AuthorizationId>().map(Id::from), parsed);

    let json = serde_json::to_string(text).expect("a string");
    assert_eq!(serde_json::from_str::<Id>(&json).ok(), parsed.ok());
    if let Ok(id) = parsed {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).expect("a string"), format!("\"{id}\""));
        assert_eq!(Id::from_u64(id.as_u64()), id);
        assert!(!id.is_zero());
    }
});
