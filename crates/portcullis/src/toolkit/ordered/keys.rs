//! Keys of records, and of the entries by which they are found.
//!
//! The numbers of kinds and of entries are part of the format and never given anew.

use crate::Id;
use crate::store::{Entry, EntryKey, Index, Kind};

const ORG: u8 = 1;
const USER: u8 = 2;
const GRANT: u8 = 3;

/// Ends the text of a grant key, which has no such byte.
const END: u8 = 0;

const fn number(kind: Kind) -> u8 {
    match kind {
        Kind::ApiToken => 1,
        Kind::Authorization => 2,
        Kind::Bucket => 3,
        Kind::Tombstone => 4,
        Kind::Org => 5,
        Kind::User => 6,
        Kind::Dbrp => 7,
        Kind::ApiTokenUse => 8,
        Kind::AuthorizationUse => 9,
    }
}

fn kind(number_of_kind: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| number(*kind) == number_of_kind)
}

/// Makes the key of the record.
pub(super) fn record(kind: Kind, id: Id) -> [u8; 9] {
    let mut key = [number(kind); 9];
    let (_, digits) = key.split_at_mut(1);
    digits.copy_from_slice(&id.as_u64().to_be_bytes());
    key
}

/// Returns the prefix of all records of the kind.
pub(super) fn records(kind: Kind) -> Vec<u8> {
    vec![number(kind)]
}

/// Reads what [`record`] has written.
pub(super) fn parse_record(key: &[u8]) -> Option<(Kind, Id)> {
    let (number, id) = key.split_first()?;
    Some((kind(*number)?, parse_id(id)?))
}

/// Makes the key of the unique key.
pub(super) fn unique(kind: Kind, unique_key: &str) -> Vec<u8> {
    let mut key = vec![number(kind)];
    key.extend(unique_key.as_bytes());
    key
}

/// Reads what [`unique`] has written.
pub(super) fn parse_unique(key: &[u8]) -> Option<(Kind, &str)> {
    let (number, text) = key.split_first()?;
    Some((kind(*number)?, std::str::from_utf8(text).ok()?))
}

/// Returns the prefix of the entries with the tag.
fn index_prefix(kind: Kind, tag: u8, of: &[u8]) -> Vec<u8> {
    let mut key = vec![number(kind), tag];
    key.extend(of);
    key
}

/// Returns the prefix of the entries of the index; `None` for a whole kind, which needs no entries.
pub(super) fn entries_of(index: Index) -> Option<Vec<u8>> {
    match index {
        Index::All(_) => None,
        Index::Org(kind, org) => Some(index_prefix(kind, ORG, &org.as_u64().to_be_bytes())),
        Index::User(kind, user) => Some(index_prefix(kind, USER, &user.as_u64().to_be_bytes())),
        Index::Grant(kind, grant) => Some(grant_prefix(kind, &grant.to_string())),
    }
}

fn grant_prefix(kind: Kind, grant: &str) -> Vec<u8> {
    let mut key = index_prefix(kind, GRANT, grant.as_bytes());
    key.push(END);
    key
}

/// Completes a prefix to the key of the record with the id.
pub(super) fn with_id(mut prefix: Vec<u8>, id: Id) -> Vec<u8> {
    prefix.extend(id.as_u64().to_be_bytes());
    prefix
}

/// Reads the key of an index entry.
pub(super) fn parse_entry(key: &[u8]) -> Option<Entry> {
    let (prefix, id) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let id = parse_id(id)?;
    let (number, rest) = prefix.split_first()?;
    let kind = kind(*number)?;
    let (tag, of) = rest.split_first()?;
    let key = match *tag {
        ORG => EntryKey::Org(parse_id(of)?.into()),
        USER => EntryKey::User(parse_id(of)?.into()),
        GRANT => EntryKey::Grant(std::str::from_utf8(of.strip_suffix(&[END])?).ok()?.parse().ok()?),
        _ => return None,
    };
    Some(Entry { kind, key, id })
}

/// Reads the id at the end of the key of a record or an index entry.
pub(super) fn last_id(key: &[u8]) -> Option<Id> {
    parse_id(key.get(key.len().checked_sub(8)?..)?)
}

pub(super) fn parse_id(bytes: &[u8]) -> Option<Id> {
    Some(Id::from_u64(u64::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for of in Kind::ALL {
            assert_eq!(kind(number(of)), Some(of));
        }
        assert_eq!(kind(0), None);
    }

    /// Pins the format.
    #[test]
    fn keys_are_as_they_always_were() {
        let id = Id::from_u64(0x0102);
        let org = Index::Org(Kind::User, Id::from_u64(5).into());
        let grant = crate::GrantKey::of("write:buckets/0c0c000000000001".parse().unwrap());
        let by_grant = entries_of(Index::Grant(Kind::Authorization, grant)).unwrap();
        assert_eq!(record(Kind::Authorization, id), *b"\x02\0\0\0\0\0\0\x01\x02");
        assert_eq!(unique(Kind::Org, "acme\0"), b"\x05acme\0");
        assert_eq!(
            with_id(entries_of(org).unwrap(), id),
            b"\x06\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x01\x02"
        );
        assert_eq!(
            with_id(by_grant, id),
            b"\x02\x03write:buckets/0c0c000000000001\0\0\0\0\0\0\0\x01\x02"
        );
    }

    #[test]
    fn what_is_no_key_is_not_read_as_one() {
        for key in [&b""[..], b"\x02", b"\x63\0\0\0\0\0\0\0\x01", b"\x02\0\0\0\0\0\0\0\x01\0"] {
            assert_eq!(parse_record(key), None);
        }
        for key in [&b""[..], b"\x02\x01\0", b"\x02\x03nonsense\0\0\0\0\0\0\0\0\x01"] {
            assert_eq!(parse_entry(key), None);
        }
        assert_eq!(parse_unique(b"\x02\xff"), None);
    }
}
