//! Finds passwords outside the URL: in the environment, or in a password file of `psql`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::url::Host;

/// Returns the password for the host: from `PGPASSWORD`, or else from `file`, the file that
/// `PGPASSFILE` names, or `~/.pgpass`. This blocks.
pub(crate) fn find(
    file: Option<&Path>,
    (host, port): &(Host, u16),
    database: &str,
    user: &str,
) -> Option<Vec<u8>> {
    if let Some(password) = env::var_os("PGPASSWORD").filter(|password| !password.is_empty()) {
        return Some(password.into_encoded_bytes());
    }
    let path = match file {
        Some(path) => path.to_owned(),
        None => env::var_os("PGPASSFILE").map(PathBuf::from).or_else(|| {
            let home = env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".pgpass"))
        })?,
    };
    let text = read(&path)?;
    let host = match host {
        Host::Name(name) => name.as_str(),
        Host::Directory(_) => "localhost",
    };
    find_in(&text, [host, &port.to_string(), database, user]).map(String::into_bytes)
}

/// Reads the file, unless other users may read it.
fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(
                "`{}` is not read: others may read it, and its mode should be 0600",
                path.display()
            );
            return None;
        }
    }
    #[cfg(not(unix))]
    let _ = metadata;
    fs::read_to_string(path).ok()
}

/// Returns the password of the first line whose first four fields match, or are `*`.
fn find_in(text: &str, key: [&str; 4]) -> Option<String> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let fields = fields(line);
        let (password, patterns) =
            fields.split_last().filter(|(_, patterns)| patterns.len() == 4)?;
        let fits = |(field, value): (&String, &str)| field == "*" || field == value;
        patterns.iter().zip(key).all(fits).then(|| password.clone())
    })
}

/// Splits a line at its colons. A backslash escapes the character after it.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let ordinary = match c {
            // The fifth field, the password, has no end.
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next(),
            other => Some(other),
        };
        if let Some(field) = fields.last_mut() {
            field.extend(ordinary);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_has_the_password() {
        let text = "# comment\nbroken\ndb:5432:x:ada:one:two\n*:*:*:ada:any\\:\\\\\n";
        assert_eq!(find_in(text, ["db", "5432", "x", "ada"]).as_deref(), Some("one:two"));
        assert_eq!(find_in(text, ["db", "5433", "x", "ada"]).as_deref(), Some("any:\\"));
        assert_eq!(find_in(text, ["db", "5433", "x", "bob"]), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_other_users_may_read_is_not_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        fs::write(&path, "*:*:*:*:x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).is_some());
    }
}
