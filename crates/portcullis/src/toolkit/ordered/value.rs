//! Values: a record and its grant keys, as bytes.
//!
//! Everything has a length in front of it, numbers are written most significant byte first, and
//! the first byte is the version of the form. A value that has too few or too many bytes is not
//! read at all.

use crate::store::{Kind, Record, Revision, UniqueKey};
use crate::{GrantKey, Id, Status};

const VERSION: u8 = 1;

const ACTIVE: u8 = 1;
const HAS_ORG: u8 = 2;
const HAS_USER: u8 = 4;

/// A record, and by which grant keys it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) grants: Vec<GrantKey>,
}

pub(super) fn write(record: &Record, grants: &[GrantKey]) -> Vec<u8> {
    let mut value = Vec::with_capacity(record.body.len() + 128);
    let flag = |set, flag| if set { flag } else { 0 };
    value.push(VERSION);
    value.push(
        flag(record.status == Status::Active, ACTIVE)
            | flag(record.org.is_some(), HAS_ORG)
            | flag(record.user.is_some(), HAS_USER),
    );
    value.extend(record.revision.as_u128().to_be_bytes());
    if let Some(org) = record.org {
        value.extend(org.as_u64().to_be_bytes());
    }
    if let Some(user) = record.user {
        value.extend(user.as_u64().to_be_bytes());
    }
    write_text(&mut value, record.unique_key.as_str());
    write_length(&mut value, grants.len());
    for grant in grants {
        write_text(&mut value, &grant.to_string());
    }
    write_text(&mut value, &record.body);
    value
}

fn write_text(value: &mut Vec<u8>, text: &str) {
    write_length(value, text.len());
    value.extend(text.as_bytes());
}

fn write_length(value: &mut Vec<u8>, length: usize) {
    value.extend((length as u64).to_be_bytes());
}

/// Reads the record alone; its grant keys are passed over.
pub(super) fn read_record(kind: Kind, id: Id, value: &[u8]) -> Option<Record> {
    let mut reader = Reader(value);
    let head = reader.head()?;
    for _ in 0..reader.length()? {
        reader.text()?;
    }
    reader.rest(kind, id, head)
}

/// Reads everything.
pub(super) fn read(kind: Kind, id: Id, value: &[u8]) -> Option<Stored> {
    let mut reader = Reader(value);
    let head = reader.head()?;
    let mut grants = Vec::new();
    for _ in 0..reader.length()? {
        grants.push(reader.text()?.parse().ok()?);
    }
    Some(Stored { record: reader.rest(kind, id, head)?, grants })
}

/// The bytes that are not read yet.
struct Reader<'a>(&'a [u8]);

struct Head {
    flags: u8,
    revision: Revision,
    org: Option<Id>,
    user: Option<Id>,
    unique_key: UniqueKey,
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u64::from_be_bytes(self.take()?)).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn id(&mut self) -> Option<Id> {
        Some(Id::from_u64(u64::from_be_bytes(self.take()?)))
    }

    fn head(&mut self) -> Option<Head> {
        let [version, flags] = self.take()?;
        if version != VERSION || flags & !(ACTIVE | HAS_ORG | HAS_USER) != 0 {
            return None;
        }
        Some(Head {
            flags,
            revision: Revision::from_u128(u128::from_be_bytes(self.take()?)),
            org: if flags & HAS_ORG != 0 { Some(self.id()?) } else { None },
            user: if flags & HAS_USER != 0 { Some(self.id()?) } else { None },
            unique_key: UniqueKey::new(self.text()?).ok()?,
        })
    }

    fn rest(mut self, kind: Kind, id: Id, head: Head) -> Option<Record> {
        let body = self.text()?.into();
        let status = if head.flags & ACTIVE != 0 { Status::Active } else { Status::Inactive };
        self.0.is_empty().then_some(Record {
            kind,
            id,
            revision: head.revision,
            unique_key: head.unique_key,
            org: head.org.map(Into::into),
            user: head.user.map(Into::into),
            status,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        let record = Record {
            kind: Kind::Authorization,
            id: Id::from_u64(7),
            revision: Revision::from_u128(0x0a0b),
            unique_key: UniqueKey::new("tele\0graf").unwrap(),
            org: Some(Id::from_u64(1).into()),
            user: None,
            status: Status::Active,
            body: r#"{"v":1}"#.into(),
        };
        Stored { record, grants: vec![GrantKey::of("read:buckets".parse().unwrap())] }
    }

    /// Pins the format.
    #[test]
    fn a_value_is_as_it_always_was() {
        let Stored { record, grants } = stored();
        let value = write(&record, &grants);
        let expected = [
            &b"\x01\x03"[..],
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\x0b",
            b"\0\0\0\0\0\0\0\x01",
            b"\0\0\0\0\0\0\0\x09tele\0graf",
            b"\0\0\0\0\0\0\0\x01",
            b"\0\0\0\0\0\0\0\x0cread:buckets",
            b"\0\0\0\0\0\0\0\x07{\"v\":1}",
        ];
        assert_eq!(value, expected.concat());
        assert_eq!(read(record.kind, record.id, &value), Some(stored()));
        assert_eq!(read_record(record.kind, record.id, &value), Some(record));
    }

    #[test]
    fn a_value_cut_short_or_with_something_behind_it_is_not_read() {
        let Stored { record, grants } = stored();
        let mut value = write(&record, &grants);
        for length in 0..value.len() {
            assert_eq!(read(record.kind, record.id, &value[..length]), None);
            assert_eq!(read_record(record.kind, record.id, &value[..length]), None);
        }
        value.push(0);
        assert_eq!(read(record.kind, record.id, &value), None);
        assert_eq!(read_record(record.kind, record.id, &value), None);
    }
}
