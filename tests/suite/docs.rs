//! The tests that `docs/behaviour.md` and `docs/security.md` name are there.

use std::collections::BTreeMap;
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

/// The Rust files of a package, by its name.
fn files(package: &str) -> Vec<(PathBuf, String)> {
    fn collect(directory: &Path, files: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap_or_else(|e| panic!("{directory:?}: {e}")) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    match package {
        "portcullis-tests" => collect(&root().join("tests"), &mut found),
        _ => collect(&root().join("crates").join(package), &mut found),
    }
    found
}

#[test]
fn every_test_that_guards_against_a_failure_seen_elsewhere_exists() {
    let security = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, table) = security.split_once("\n## What went wrong elsewhere\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 28, "{} rows", rows.len());
    let mut sources = BTreeMap::new();
    for row in rows {
        let mut tests = 0;
        for named in row.split('`').skip(1).step_by(2) {
            if let [package, module, function] = named.split("::").collect::<Vec<_>>()[..] {
                let files = sources.entry(package).or_insert_with(|| files(package));
                let is_there = files.iter().any(|(path, text)| {
                    let in_module = path
                        .with_extension("")
                        .components()
                        .any(|part| part.as_os_str().to_str() == Some(module));
                    in_module && text.contains(&format!("fn {function}("))
                });
                assert!(is_there, "no test `{named}`");
                tests += 1;
            } else if named.contains('/') {
                assert!(root().join(named).exists(), "no file `{named}`");
                tests += 1;
            } else if let Some(file) = named.strip_suffix(".json") {
                let (_, rest) = row.split_once(&format!("`{file}.json`")).unwrap();
                let quoted = rest.split(';').next().unwrap().split('"').skip(1).step_by(2);
                let all = cases(named);
                for case in quoted {
                    assert!(all.iter().any(|one| name(one) == case), "no case \"{case}\"");
                    tests += 1;
                }
            }
        }
        assert!(tests > 0, "nothing guards {row}");
    }
}
