//! The layers of the core are those of the table in ARCHITECTURE.md, and have no circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Uses = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the table "Layers of the core", from the top.
fn layers() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## Layers of the core\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.map(|(_, modules)| modules.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        .filter(|modules: &Vec<String>| !modules.is_empty())
        .collect()
}

/// Code without comments and without the tests at the end of the file.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    // A re-export offers a name to others and uses nothing itself.
    let is_use = |line: &&str| {
        let line = line.trim_start();
        !["//", "pub use crate::", "pub(crate) use crate::"].iter().any(|no| line.starts_with(no))
    };
    code.lines().filter(is_use).collect::<Vec<_>>().join("\n")
}

fn first_name(path: &str) -> &str {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    path.get(..end).unwrap_or_default()
}

/// The first name of each path in the braces of a `use`.
fn names_in_braces(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(first_name(list.get(start..at).unwrap_or_default().trim()));
                start = at + 1;
            }
            _ => {}
        }
        if c == '}' && start == at + 1 {
            break;
        }
    }
    names
}

/// What the code names after `crate::`.
fn names(code: &str) -> BTreeSet<&str> {
    let paths = code.match_indices("crate::").filter_map(|(at, word)| {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        // `$crate::` is of a macro, `some_crate::` of another crate.
        let is_own = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$');
        is_own.then(|| code.get(at + word.len()..)).flatten()
    });
    paths
        .flat_map(|path| match path.strip_prefix('{') {
            Some(list) => names_in_braces(list),
            None => vec![first_name(path)],
        })
        .collect()
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that each module of the core uses, without itself.
fn uses() -> Uses {
    let source = root().join("crates/portcullis/src");
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let modules: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod "))
        .filter_map(|rest| rest.strip_suffix(';').map(str::to_owned))
        .collect();
    // The module of each name that `lib.rs` exports.
    let mut exports: BTreeMap<&str, &str> = BTreeMap::new();
    for export in lib.split("pub use ").skip(1) {
        let (path, _) = export.split_once(';').unwrap();
        let Some((module, names)) = path.split_once("::") else { continue };
        let names = names.trim_matches(['{', '}', '\n', ' ', ',']);
        exports.extend(names.split(',').map(|name| (name.trim(), module)));
    }
    let mut all = Vec::new();
    files(&source, &mut all);
    let mut uses = Uses::new();
    for path in all {
        let inner = path.strip_prefix(&source).unwrap();
        let module = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" || path.ends_with("tests.rs") {
            continue;
        }
        let code = code(&path);
        let used = names(&code).into_iter().filter_map(|name| match exports.get(name) {
            Some(of) => Some((*of).to_owned()),
            None => modules.get(name).cloned(),
        });
        let used = used.filter(|of| of != module && modules.contains(of));
        uses.entry(module.to_owned()).or_default().extend(used);
    }
    assert_eq!(uses.keys().cloned().collect::<BTreeSet<_>>(), modules);
    uses
}

#[test]
fn a_module_of_the_core_uses_its_own_layer_and_those_below() {
    let layers = layers();
    let layer_of = |module: &str| {
        let of = |layer: &Vec<String>| layer.iter().any(|name| name == module);
        layers.iter().position(of)
    };
    for (module, used) in uses() {
        let own = layer_of(&module);
        assert!(own.is_some(), "`{module}` is in no layer of ARCHITECTURE.md");
        for other in used {
            assert!(
                layer_of(&other) >= own,
                "`{module}` uses `{other}`, which is in a layer above"
            );
        }
    }
    assert_eq!(layers.iter().flatten().count(), uses().len(), "a module is named twice or is gone");
}

#[test]
fn the_modules_of_the_core_have_no_circles() {
    let mut left = uses();
    loop {
        let modules: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, used| !used.is_disjoint(&modules));
        if left.len() == modules.len() {
            break;
        }
    }
    assert!(left.is_empty(), "circles among {:?}", left.keys());
}
