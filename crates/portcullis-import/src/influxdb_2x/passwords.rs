//! The passwords of v1 credentials, which are in a bucket of their own.

use std::io::{Read, Seek};

use zeroize::Zeroizing;

use crate::bolt::{Bolt, BoltError, Bucket, Cursor, Value};

/// A key and the hash.
type Entry = (Vec<u8>, Zeroizing<Vec<u8>>);

/// Goes through the passwords beside the credentials: both have the same keys in the same order.
pub(super) struct Passwords {
    cursor: Option<Cursor>,
    /// The next password and its key, if it has been read.
    next: Option<Entry>,
    /// How many passwords have no credential.
    left_over: u64,
}

impl Passwords {
    pub(super) fn new(bucket: Option<Bucket>) -> Self {
        Self { cursor: bucket.map(Cursor::new), next: None, left_over: 0 }
    }

    /// Returns the password with the key. Keys ascend from call to call.
    pub(super) fn take<R: Read + Seek>(
        &mut self,
        file: &mut Bolt<R>,
        key: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, BoltError> {
        while let Some(next) = self.next(file)? {
            if next.0.as_slice() < key {
                self.left_over += 1;
            } else if next.0 == key {
                return Ok(Some(next.1));
            } else {
                self.next = Some(next);
                break;
            }
        }
        Ok(None)
    }

    /// Returns how many passwords have no credential, after the last one was taken.
    pub(super) fn left_over<R: Read + Seek>(
        &mut self,
        file: &mut Bolt<R>,
    ) -> Result<u64, BoltError> {
        while self.next(file)?.is_some() {
            self.left_over += 1;
        }
        Ok(self.left_over)
    }

    fn next<R: Read + Seek>(&mut self, file: &mut Bolt<R>) -> Result<Option<Entry>, BoltError> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        while let Some((key, value)) = cursor.next(file)? {
            // An empty value counts as absent.
            if let Value::Bytes(value) = value
                && !value.is_empty()
            {
                return Ok(Some((key.to_vec(), Zeroizing::new(value.to_vec()))));
            }
        }
        Ok(None)
    }
}
