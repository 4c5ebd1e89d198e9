//! What holds for any text.

use portcullis_influxql::{Parameters, parse};
use proptest::prelude::*;

/// Pieces of which statements are made, and of which they are not.
fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "INTO",
        "WHERE",
        "GROUP BY",
        "SHOW",
        "SERIES",
        "TAG VALUES",
        "WITH KEY",
        "ON",
        "CREATE CONTINUOUS QUERY",
        "BEGIN",
        "END",
        "DELETE",
        "DROP",
        "DATABASE",
        "EXPLAIN",
        "LIMIT",
        "v",
        "cpu",
        "\"a.b\"",
        "events",
        "'x'",
        "/c.*/",
        "/(/",
        "1h",
        "5",
        "1.5",
        "*",
        "(",
        ")",
        ",",
        ".",
        "..",
        ";",
        "=",
        "=~",
        "+",
        "-",
        "::",
        "$p",
        "--",
        "/*",
        "*/",
        "\n",
        "\r",
        "\"",
        "'",
        "\\",
        "\0",
        "µ",
        "ü",
    ]);
    prop_oneof![8 => words.prop_map(str::to_owned), 1 => any::<String>()]
}

fn text() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", " ", " ", "\t", " -- c\n"]);
    prop::collection::vec((piece(), space), 0..30)
        .prop_map(|parts| parts.into_iter().map(|(piece, space)| piece + space).collect())
}

proptest! {
    /// A statement without a need would be allowed to all.
    #[test]
    fn every_statement_needs_something_and_is_a_part_of_the_text(text in text()) {
        if let Ok(statements) = parse(&text, Parameters::NONE) {
            for statement in statements {
                prop_assert!(!statement.needs.is_empty(), "{statement:?}");
                prop_assert!(text.contains(statement.text));
                let again = parse(statement.text, Parameters::NONE).unwrap();
                prop_assert_eq!(again, [statement]);
            }
        }
    }

    #[test]
    fn a_query_needs_what_its_statements_need(one in text(), other in text()) {
        let (first, second) = (parse(&one, Parameters::NONE), parse(&other, Parameters::NONE));
        let both = format!("{one}\n;{other}");
        if let (Ok(first), Ok(second)) = (first, second) {
            let together = parse(&both, Parameters::NONE).unwrap();
            prop_assert_eq!(together, [first, second].concat());
        }
    }
}
