//! A query, and above it a line with its parameters, which may be empty. What is parsed has needs for each
//! statement, and a statement alone has the same ones; an error is in the text. Statements one after
//! another need what each of them needs. The time is linear: the longest inputs run into the target's
//! timeout otherwise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_influxql::{Parameters, parse};

fuzz_target!(|input: &str| {
    let (first, text) = input.split_once('\n').unwrap_or(("", input));
    let parameters = Parameters::from_json(first);
    let parameters = parameters.as_ref().unwrap_or(Parameters::NONE);
    let statements = match parse(text, parameters) {
        Ok(statements) => statements,
        Err(error) => {
            if let Some(position) = error.position() {
                let lines = text.split(['\n', '\r']).count();
                assert!((1..=lines).contains(&position.line), "{position} of {text:?}");
            }
            return;
        }
    };
    for statement in &statements {
        assert!(!statement.needs.is_empty(), "{statement:?}");
        assert!(text.contains(statement.text), "{statement:?}");
        let alone = parse(statement.text, parameters);
        assert_eq!(alone.as_deref(), Ok(std::slice::from_ref(statement)));
    }
    let twice = format!("{text}\n;{text}");
    assert_eq!(parse(&twice, parameters), Ok([&statements[..], &statements[..]].concat()));
});
