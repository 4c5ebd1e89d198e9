//! The behaviour vectors in `vectors/`, and the list of those that are known to fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Cases that are wrong, each with the reason. A case listed here that passes is a failure too.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Reads a file of vectors.
pub fn read(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cases of a file; their number is what the file says.
pub fn cases(file: &str) -> Vec<Value> {
    let file = read(file);
    assert_eq!(file["format"], "legacy-auth-vectors/1");
    let cases = file["cases"].as_array().expect("cases").clone();
    assert_eq!(Some(cases.len() as u64), file["case_count"].as_u64());
    cases
}

/// The worlds that cases are set in, by name.
pub fn worlds() -> BTreeMap<String, Value> {
    let worlds = read("worlds.json");
    let worlds = worlds.as_object().expect("worlds");
    worlds.iter().map(|(name, world)| (name.clone(), world.clone())).collect()
}

/// Returns the name of a case.
pub fn name(case: &Value) -> &str {
    case["name"].as_str().expect("a name")
}

/// Collects the outcomes of a file's cases and fails with all that went wrong.
#[derive(Default)]
pub struct Report {
    passed: usize,
    failures: Vec<String>,
}

impl Report {
    /// Adds the outcome of a case.
    pub fn add(&mut self, case: &Value, outcome: Result<(), String>) {
        let name = name(case);
        let excepted = EXCEPTIONS.iter().any(|(excepted, _)| *excepted == name);
        match (outcome, excepted) {
            (Ok(()), false) => self.passed += 1,
            (Err(_), true) => {}
            (Err(reason), false) => self.failures.push(format!("- {name}\n    {reason}")),
            (Ok(()), true) => self.failures.push(format!("- {name}\n    passes and is excepted")),
        }
    }

    /// Ends the test.
    pub fn finish(self, what: &str) {
        println!("{what}: {} cases pass", self.passed);
        let failures = self.failures.len();
        assert!(failures == 0, "{what}: {failures} fail:\n{}", self.failures.join("\n"));
        assert!(self.passed > 0, "{what}: nothing was tested");
    }
}
