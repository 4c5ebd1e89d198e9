//! The tests that `docs/deviations.md` and `docs/security.md` name exist, and so do the rules of
//! `docs/spec` that code and documents cite.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::vectors::{cases, name};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust below a directory in one text.
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

/// The names of the functions that are defined in a text of Rust, those in line comments left out.
fn functions(rust: &str) -> BTreeSet<&str> {
    let code = rust.lines().map(|line| line.split("//").next().unwrap_or_default());
    let definitions = code.flat_map(|line| {
        line.match_indices("fn ").filter_map(move |(at, _)| {
            let is_word = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let rest = &line[at + "fn ".len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            // A parameter list or generic parameters follow the name.
            (is_word && rest[end..].starts_with(['(', '<'])).then_some(&rest[..end])
        })
    });
    definitions.collect()
}

/// The functions of the whole project.
fn all_functions() -> BTreeSet<String> {
    let mut rust = String::new();
    for directory in ["crates", "tests"] {
        sources(&root().join(directory), &mut rust);
    }
    functions(&rust).into_iter().map(str::to_owned).collect()
}

/// Texts between backticks that look like the name of a test: words joined by three underscores or
/// more, after the last `::`. Blocks of code are left out.
fn test_names(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let quoted = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let names = quoted.filter_map(|quoted| quoted.rsplit("::").next());
    let is_name = |name: &&str| {
        name.matches('_').count() >= 3
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    names.filter(is_name).collect()
}

#[test]
fn a_function_is_found_by_its_definition_alone() {
    let rust = "fn one() {}\n// fn two() {}\n    /// fn three()\n    pub async fn four<T>() {\n\
                let fn_five = \"six\"; call_fn seven(); // fn eight()\n";
    assert_eq!(functions(rust), BTreeSet::from(["one", "four"]));
    let text =
        "`a_test_of_it` and `x::y::another_test_of_it`\n```\n`not_a_test_here`\n```\n`short`";
    assert_eq!(test_names(text), ["a_test_of_it", "another_test_of_it"]);
}

/// Names in documents that are no functions: metrics, settings of PostgreSQL, files of vectors.
const NO_FUNCTIONS: &[&str] = &[
    "default_transaction_read_only",
    "http_get_patch_delete_password",
    "idle_in_transaction_session_timeout",
    "pg_current_wal_insert_lsn",
    "pg_current_xact_id",
    "wal_retrieve_retry_interval",
];

#[test]
fn every_test_that_a_document_names_exists() {
    let functions = all_functions();
    let mut all = Vec::new();
    documents(&root(), &mut all);
    let mut named = 0;
    for (path, text) in &all {
        for name in test_names(text) {
            if !name.starts_with("portcullis_") && !NO_FUNCTIONS.contains(&name) {
                named += 1;
                assert!(functions.contains(name), "{}: no test `{name}`", path.display());
            }
        }
    }
    assert!(named > 100, "{named} names");

    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    // One page: a longer map is not read.
    assert!(architecture.len() <= 10 * 1024, "{} bytes", architecture.len());
    let (_, invariants) = architecture.split_once("\n## Invariants\n").unwrap();
    for row in invariants.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let names_one = !test_names(row).is_empty() || row.contains("`.ci/run`");
        assert!(names_one, "no test for the invariant {row}");
    }
}

#[test]
fn every_deviation_names_tests_and_cases_of_the_vectors() {
    let deviations = fs::read_to_string(root().join("docs/deviations.md")).unwrap();
    let (deviations, _) = deviations.split_once("\n## Decisions ").unwrap();
    let functions = test_names(deviations);
    assert!(functions.len() > 50, "{} tests", functions.len());

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
    let quoted = tests.split('"').skip(1).step_by(2);
    let quoted = quoted.map(|quoted| quoted.split_whitespace().collect::<Vec<_>>().join(" "));
    let named = quoted.filter(|quoted| all.contains(quoted)).count();
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
    let (_, table) = security.split_once("\n## Failures of similar software\n").unwrap();
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
                    in_module && functions(text).contains(function)
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

/// The documents of the project, each with its path.
fn documents(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            documents(&path, found);
        } else if name.ends_with(".md") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// Ids of rules in a text, such as `LOGIN-3`, if they begin with one of the prefixes.
fn cited<'t>(text: &'t str, prefixes: &BTreeSet<&str>) -> Vec<&'t str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| {
            word.split_once('-').is_some_and(|(prefix, number)| {
                prefixes.contains(prefix) && number.parse::<u32>().is_ok()
            })
        })
        .collect()
}

/// The ids of the rules that a text defines.
fn rules(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("**[").skip(1).filter_map(|rest| rest.split_once("]**"));
    after.map(|(id, _)| id)
}

#[test]
fn every_rule_has_an_id_of_its_own_and_every_rule_that_is_cited_exists() {
    let mut texts = Vec::new();
    documents(&root().join("docs/spec"), &mut texts);
    let rules: Vec<&str> = texts.iter().flat_map(|(_, text)| rules(text)).collect();
    let ids: BTreeSet<&str> = rules.iter().copied().collect();
    assert!(ids.len() > 120, "{} rules", ids.len());
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = rules.iter().filter(|id| !seen.insert(**id)).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");

    let prefixes = ids.iter().filter_map(|id| id.split_once('-')).map(|(prefix, _)| prefix);
    let prefixes: BTreeSet<&str> = prefixes.collect();
    let mut cite = Vec::new();
    documents(&root(), &mut cite);
    for directory in ["crates", "tests"] {
        let mut rust = String::new();
        sources(&root().join(directory), &mut rust);
        cite.push((directory.into(), rust));
    }
    for (path, text) in &cite {
        for id in cited(text, &prefixes) {
            assert!(ids.contains(id), "{}: no rule {id}", path.display());
        }
    }
}

/// Rules that no test cites, and why.
const WITHOUT_A_TEST: &[(&str, &str)] = &[
    ("FWD-2", "tests/forward-auth/statuses.py, with real proxies"),
    ("LOOKUP-5", "says what a page costs, which is read off the code"),
    ("PW-11", "comparisons are `subtle`'s; a test of their time would be a guess"),
];

/// The rules that a text cites as tests do: in brackets, at the beginning of a line of documentation.
fn cited_by_tests(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("/// ["));
    lines.flat_map(|line| line.split(" [").filter_map(|rest| rest.split(']').next()))
}

#[test]
fn every_rule_is_cited_by_a_test() {
    let mut texts = Vec::new();
    documents(&root().join("docs/spec"), &mut texts);
    let ids: BTreeSet<&str> = texts.iter().flat_map(|(_, text)| rules(text)).collect();
    let mut tests = String::new();
    for directory in ["crates", "tests"] {
        sources(&root().join(directory), &mut tests);
    }
    let cited: BTreeSet<&str> = cited_by_tests(&tests).collect();
    let without: Vec<&str> = ids.difference(&cited).copied().collect();
    let expected: Vec<&str> = WITHOUT_A_TEST.iter().map(|(id, _)| *id).collect();
    assert_eq!(without, expected, "rules without a test");
}

#[test]
fn every_decision_is_listed_with_its_title() {
    let directory = root().join("docs/decisions");
    let list = fs::read_to_string(directory.join("README.md")).unwrap();
    let mut all = Vec::new();
    documents(&directory, &mut all);
    for (path, text) in all.iter().filter(|(path, _)| !path.ends_with("README.md")) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap();
        let (number, title) = title.split_once(' ').unwrap();
        assert!(file.starts_with(number), "{file}: {number}");
        assert!(list.contains(&format!("- [{number}]({file}) {title}\n")), "{file}: {title}");
    }
    assert!(all.len() > 40);
}

/// What GitHub makes of a heading: the name that a link gives after `#`.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let mut all = Vec::new();
    documents(&root(), &mut all);
    let mut links = 0;
    for (path, text) in &all {
        let prose: String = text.split("```").step_by(2).collect();
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            // A name of Rust, for rustdoc, or an address elsewhere.
            let is_here = !target.contains("::") && !target.contains(':') && !target.contains(' ');
            if !is_here || path.ends_with("src/lib.md") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                _ => path.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let is_there = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(is_there, "{}: {target}", path.display());
            }
        }
    }
    assert!(links > 150, "{links} links");
}

/// Every file of the repository, by its path from the root.
fn paths(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.push(format!("{}/", path.to_str().unwrap()));
            paths(&path, found);
        } else {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_file_that_the_architecture_and_the_decisions_name_exists() {
    let mut all = Vec::new();
    paths(&root(), &mut all);
    let mut named = vec![root().join("ARCHITECTURE.md"), root().join("CONTRIBUTING.md")];
    named.extend(fs::read_dir(root().join("docs/decisions")).unwrap().map(|e| e.unwrap().path()));
    for document in named {
        let text = fs::read_to_string(&document).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
                && !name.starts_with('/')
                && (name.ends_with(".rs") || name.ends_with('/'));
            let end = format!("/{name}");
            assert!(
                !is_path || all.iter().any(|path| path.ends_with(&end)),
                "{}: no `{name}`",
                document.display()
            );
        }
    }
}
