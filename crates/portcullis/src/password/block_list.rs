//! Passwords that are known to attackers.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead};

/// Passwords that a new password must not be, such as the most common ones
/// ([`PasswordPolicy::block_list`](super::PasswordPolicy::block_list)).
///
/// Upper and lower case of ASCII letters are not distinguished. A list of 100,000 takes some 5 MB.
///
/// ```
/// use portcullis::password::BlockList;
///
/// let list = BlockList::read(&b"correct horse battery staple\nhunter2\n"[..])?;
/// assert!(list.contains(b"Correct Horse Battery Staple"));
/// assert!(!list.contains(b"hunter"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BlockList(HashSet<Box<[u8]>>);

impl BlockList {
    /// The longest password of a list in bytes: no longer one can be set.
    const MAX_BYTES: usize = super::Password::MAX_BYTES;

    /// Reads a list with one password a line. Line ends, also those of Windows, are not part of a
    /// password, and empty lines are skipped. The text need not be UTF-8.
    ///
    /// # Errors
    ///
    /// Those of the reader; [`io::ErrorKind::InvalidData`] for a line over 4,096 bytes, which is in no list
    /// of passwords: the file is another one.
    pub fn read(mut from: impl BufRead) -> io::Result<Self> {
        let mut passwords = HashSet::new();
        let mut line = Vec::new();
        let mut number: u64 = 0;
        loop {
            line.clear();
            number += 1;
            let limit = Self::MAX_BYTES as u64 + 2;
            if io::Read::take(&mut from, limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(Self(passwords));
            }
            let password = line.strip_suffix(b"\n").unwrap_or(&line);
            let password = password.strip_suffix(b"\r").unwrap_or(password);
            if password.len() > Self::MAX_BYTES {
                let message = format!("line {number} is too long for a password");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if !password.is_empty() {
                passwords.insert(password.to_ascii_lowercase().into());
            }
        }
    }

    /// Tells whether the password is in the list.
    pub fn contains(&self, password: &[u8]) -> bool {
        self.0.contains(password.to_ascii_lowercase().as_slice())
    }

    /// Returns the number of passwords.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The passwords are no secrets, but many.
impl fmt::Debug for BlockList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockList({} passwords)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [PW-15]
    #[test]
    fn a_list_has_a_password_a_line_in_any_case() {
        let list = BlockList::read(&b"\nLetMeIn\r\n  blank  \n\xff\xfe\nlast"[..]).unwrap();
        assert_eq!(list.len(), 4);
        for password in [&b"letmein"[..], b"LETMEIN", b"  blank  ", b"\xff\xfe", b"LAST"] {
            assert!(list.contains(password), "{password:?}");
        }
        for password in [&b""[..], b"blank", b"letmein ", b"\xff"] {
            assert!(!list.contains(password), "{password:?}");
        }
        assert!(BlockList::read(&b""[..]).unwrap().is_empty());
        let long = [vec![b'x'; 4_097], b"\n".to_vec()].concat();
        let error = BlockList::read(&[b"one\n".to_vec(), long].concat()[..]).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is too long for a password");
    }
}
