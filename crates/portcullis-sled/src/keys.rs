//! Keys: where a record is, and where the entries are by which it is found.
//!
//! Ids are written most significant byte first, so that the order of the bytes is the order of
//! the ids. The numbers of kinds and of entries are part of the format and never given anew.

use portcullis::Id;
use portcullis::store::{Entry, EntryKey, Index, Kind};

const ORG: u8 = 1;
const USER: u8 = 2;
const GRANT: u8 = 3;

/// Ends the text of a grant key, which has no such byte.
const END: u8 = 0;

const fn number(kind: Kind) -> Option<u8> {
    Some(match kind {
        Kind::ApiToken => 1,
        Kind::Authorization => 2,
        Kind::Bucket => 3,
        Kind::Tombstone => 4,
        Kind::Org => 5,
        Kind::User => 6,
        _ => return None,
    })
}

fn kind(number_of_kind: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| number(*kind) == Some(number_of_kind))
}

/// Begins a key; 0 for a kind that this version does not know, of which there are no records.
fn begin(kind: Kind) -> Vec<u8> {
    vec![number(kind).unwrap_or(0)]
}

/// Tells whether records of the kind can be kept.
pub(crate) const fn is_known(kind: Kind) -> bool {
    number(kind).is_some()
}

/// Where the record is, in the tree of records.
pub(crate) fn record(kind: Kind, id: Id) -> Vec<u8> {
    let mut key = begin(kind);
    key.extend(id.as_u64().to_be_bytes());
    key
}

/// What all records of the kind begin with.
pub(crate) fn records(kind: Kind) -> Vec<u8> {
    begin(kind)
}

/// Reads what [`record`] has written.
pub(crate) fn parse_record(key: &[u8]) -> Option<(Kind, Id)> {
    let (number, id) = key.split_first()?;
    Some((kind(*number)?, parse_id(id)?))
}

/// Where the id of the record with the unique key is, in the tree of unique keys.
pub(crate) fn unique(kind: Kind, unique_key: &str) -> Vec<u8> {
    let mut key = begin(kind);
    key.extend(unique_key.as_bytes());
    key
}

/// Reads what [`unique`] has written.
pub(crate) fn parse_unique(key: &[u8]) -> Option<(Kind, &str)> {
    let (number, text) = key.split_first()?;
    Some((kind(*number)?, std::str::from_utf8(text).ok()?))
}

/// Where an entry is, in the tree of index entries, before the id.
fn index_prefix(kind: Kind, tag: u8, of: &[u8]) -> Vec<u8> {
    let mut key = begin(kind);
    key.push(tag);
    key.extend(of);
    key
}

/// What the entries of the index begin with; `None` for a whole kind, which needs no entries.
pub(crate) fn entries_of(index: Index) -> Option<Vec<u8>> {
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

/// The entry of a record in the index.
pub(crate) fn entry(mut prefix: Vec<u8>, id: Id) -> Vec<u8> {
    prefix.extend(id.as_u64().to_be_bytes());
    prefix
}

/// Reads an entry of the tree of index entries.
pub(crate) fn parse_entry(key: &[u8]) -> Option<Entry> {
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

/// Reads the id that an entry ends with.
pub(crate) fn id_of_entry(key: &[u8]) -> Option<Id> {
    parse_id(key.get(key.len().checked_sub(8)?..)?)
}

pub(crate) fn parse_id(bytes: &[u8]) -> Option<Id> {
    Some(Id::from_u64(u64::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for of in Kind::ALL {
            assert_eq!(kind(number(of).unwrap()), Some(of));
        }
        assert_eq!(kind(0), None);
    }

    /// Pins the format.
    #[test]
    fn keys_are_as_they_always_were() {
        let id = Id::from_u64(0x0102);
        let org = Index::Org(Kind::User, Id::from_u64(5).into());
        let grant = portcullis::GrantKey::of("write:buckets/0c0c000000000001".parse().unwrap());
        let by_grant = entries_of(Index::Grant(Kind::Authorization, grant)).unwrap();
        assert_eq!(record(Kind::Authorization, id), b"\x02\0\0\0\0\0\0\x01\x02");
        assert_eq!(unique(Kind::Org, "acme\0"), b"\x05acme\0");
        assert_eq!(
            entry(entries_of(org).unwrap(), id),
            b"\x06\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x01\x02"
        );
        assert_eq!(
            entry(by_grant, id),
            b"\x02\x03write:buckets/0c0c000000000001\0\0\0\0\0\0\0\x01\x02"
        );
    }

    #[test]
    fn what_is_no_key_is_not_read_as_one() {
        for key in [&b""[..], b"\x02", b"\x09\0\0\0\0\0\0\0\x01", b"\x02\0\0\0\0\0\0\0\x01\0"] {
            assert_eq!(parse_record(key), None);
        }
        for key in [&b""[..], b"\x02\x01\0", b"\x02\x03nonsense\0\0\0\0\0\0\0\0\x01"] {
            assert_eq!(parse_entry(key), None);
        }
        assert_eq!(parse_unique(b"\x02\xff"), None);
    }
}
