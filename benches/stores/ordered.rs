//! Engines with ordered keys by hand: the keys and values of the stores, with as little around them as
//! there can be.

use std::hint::black_box;

use portcullis::store::Record;
use portcullis::{Authorization, GrantKey, OrgId, UserId};
use portcullis_benches::data;

/// The kind of the records, as the stores number it, and what is behind it in an entry.
pub(crate) const AUTHORIZATION: u8 = 2;
const ORG: u8 = 1;
const USER: u8 = 2;
const GRANT: u8 = 3;

/// How long a value is before the first text: flags, revision, ids, a length.
const HEAD: usize = 42;

/// Whose records.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    Org(OrgId),
    User(UserId),
}

/// An engine with the three trees or tables that a store has.
pub(crate) trait Bare {
    fn by_id(&self, id: u64) -> usize;

    fn by_name(&self, name: &str) -> usize;

    /// Scans the index and gets each record; returns how many there were.
    fn list(&self, of: Of, most: usize) -> usize;

    /// Puts the record and its entries in one transaction, and makes it durable.
    fn create(&self, record: &Record, grants: &[GrantKey]);

    /// Puts the record in place of another one with the same entries.
    fn patch(&self, record: &Record, grants: &[GrantKey]);

    /// Removes the record and its entries.
    fn delete(&self, record: &Record, grants: &[GrantKey]);
}

/// By what the record is found: its owners and its grants.
pub(crate) fn entries(record: &Record, grants: &[GrantKey]) -> Vec<Vec<u8>> {
    let id = record.id.as_u64().to_be_bytes();
    let of = [Of::Org(record.org.unwrap()), Of::User(record.user.unwrap())];
    let owners = of.map(|of| [prefix(of), id.to_vec()].concat());
    let by_grant = grants.iter().map(|grant| {
        let grant = grant.to_string();
        [&[AUTHORIZATION, GRANT][..], grant.as_bytes(), &[0], &id].concat()
    });
    owners.into_iter().chain(by_grant).collect()
}

pub(crate) fn record_key(id: u64) -> Vec<u8> {
    [&[AUTHORIZATION][..], &id.to_be_bytes()].concat()
}

pub(crate) fn unique_key(name: &str) -> Vec<u8> {
    [&[AUTHORIZATION][..], name.as_bytes()].concat()
}

pub(crate) fn prefix(of: Of) -> Vec<u8> {
    let (tag, id) = match of {
        Of::Org(org) => (ORG, org.as_u64()),
        Of::User(user) => (USER, user.as_u64()),
    };
    [&[AUTHORIZATION, tag][..], &id.to_be_bytes()].concat()
}

/// As many bytes as the store writes, the body last.
pub(crate) fn value(record: &Record, grants: &[GrantKey]) -> Vec<u8> {
    let mut value = vec![0; HEAD];
    value.extend(record.unique_key.as_str().as_bytes());
    for grant in grants {
        value.extend(grant.to_string().as_bytes());
    }
    value.extend(record.body.as_bytes());
    value
}

pub(crate) fn decode(value: &[u8]) -> Authorization {
    // No text before it has a brace in it, and no length a quote behind one.
    let body = value[HEAD..].windows(2).position(|two| two == b"{\"").unwrap();
    let body = std::str::from_utf8(&value[HEAD + body..]).unwrap();
    black_box(data::parse(body))
}
