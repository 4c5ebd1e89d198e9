//! The tests that `docs/behaviour.md` names are there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::vectors::{cases, name};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust of the project in one text.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_guards_a_deviation_exists() {
    let behaviour = fs::read_to_string(root().join("docs/behaviour.md")).unwrap();
    let (_, deviations) = behaviour.split_once("\n## Deviations from the reference\n").unwrap();
    let (deviations, _) = deviations.split_once("\n## ").unwrap();
    let mut rust = String::new();
    sources(&root().join("crates"), &mut rust);

    // Odd parts are what stands between the marks.
    let between = |mark: char, text: &str| -> Vec<String> {
        text.split(mark)
            .skip(1)
            .step_by(2)
            .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    let mut functions = 0;
    for function in between('`', deviations) {
        let is_name = function.matches('_').count() >= 3
            && function.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !function.starts_with("http_get_patch");
        if is_name {
            functions += 1;
            assert!(rust.contains(&format!("fn {function}(")), "no test `{function}`");
        }
    }
    assert!(functions > 50, "{functions}");

    let files = [
        "http_create.json",
        "http_list.json",
        "http_get_patch_delete_password.json",
        "authorize_decision.json",
        "v1_credentials.json",
    ];
    let all: Vec<_> =
        files.into_iter().flat_map(cases).map(|case| name(&case).to_owned()).collect();
    let tests: String =
        deviations.split("- Test:").skip(1).filter_map(|test| test.split("\n- ").next()).collect();
    let named = between('"', &tests).into_iter().filter(|quoted| all.contains(quoted)).count();
    assert!(named > 40, "{named} of the cases named are there");
}
