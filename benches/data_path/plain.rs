//! The peers in memory: what one would write for nothing but speed.
//!
//! Both do what a warm `authenticate` and `check` do: look the username up, compare the password
//! with a digest under a key in constant time, check the status, hand out a principal that the
//! caller owns, and check one permission against its 8. They never invalidate an entry, and can
//! neither be changed nor bounded.

use std::sync::{Arc, RwLock};

use portcullis::{Authorization, Permission, Resource, Status};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::world::{Request, password};

/// The outcome of a login. Cheap to clone.
type Principal = Arc<Inner>;

struct Inner {
    status: Status,
    permissions: Vec<Permission>,
}

fn principal(authorization: &Authorization) -> Principal {
    Arc::new(Inner { status: authorization.status, permissions: authorization.permissions.clone() })
}

fn may_write(principal: &Principal, resource: &Resource) -> bool {
    let requested = Permission::write(*resource);
    principal.permissions.iter().any(|held| held.allows(&requested))
}

/// A hash map as fast as there are, and BLAKE3 under a key: nothing here can be changed while it is
/// read.
pub(crate) struct PlainMap {
    key: [u8; 32],
    entries: hashbrown::HashMap<String, ([u8; 32], Principal)>,
}

impl PlainMap {
    /// Holds the authorizations with these numbers, inserted in this order.
    pub(crate) fn new(authorizations: &[Authorization], order: &[usize]) -> Self {
        let key = std::array::from_fn(|_| fastrand::u8(..));
        let entry = |&number: &usize| {
            let authorization = &authorizations[number];
            let digest = blake3::keyed_hash(&key, password(number).as_bytes());
            (authorization.username.as_str().to_owned(), (digest.into(), principal(authorization)))
        };
        Self { key, entries: order.iter().map(entry).collect() }
    }

    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Principal> {
        let (digest, principal) = self.entries.get(username)?;
        let presented = blake3::keyed_hash(&self.key, password);
        let right = bool::from(presented.as_bytes().ct_eq(digest));
        (right && principal.status.is_active()).then(|| Arc::clone(principal))
    }

    pub(crate) fn warm(&self, request: &Request) -> bool {
        let principal = self.authenticate(&request.username, request.password.as_bytes());
        may_write(&principal.expect("refused"), &request.resource)
    }
}

/// The way of the reference: one map behind one lock, and SHA-256 with a salt for each.
pub(crate) struct ReferenceWay(RwLock<std::collections::HashMap<String, Salted>>);

struct Salted {
    salt: [u8; 32],
    digest: [u8; 32],
    principal: Principal,
}

impl ReferenceWay {
    /// Holds the authorizations with these numbers, inserted in this order.
    pub(crate) fn new(authorizations: &[Authorization], order: &[usize]) -> Self {
        let entry = |&number: &usize| {
            let authorization = &authorizations[number];
            let salt = std::array::from_fn(|_| fastrand::u8(..));
            let digest = salted(&salt, password(number).as_bytes());
            let principal = principal(authorization);
            (authorization.username.as_str().to_owned(), Salted { salt, digest, principal })
        };
        Self(RwLock::new(order.iter().map(entry).collect()))
    }

    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Principal> {
        let entries = self.0.read().unwrap();
        let entry = entries.get(username)?;
        let right = bool::from(salted(&entry.salt, password).ct_eq(&entry.digest));
        (right && entry.principal.status.is_active()).then(|| Arc::clone(&entry.principal))
    }

    pub(crate) fn warm(&self, request: &Request) -> bool {
        let principal = self.authenticate(&request.username, request.password.as_bytes());
        may_write(&principal.expect("refused"), &request.resource)
    }
}

fn salted(salt: &[u8; 32], password: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password).finalize().into()
}

/// API tokens by the SHA-256 of their secret, which needs no key: it is of 256 random bits.
pub(crate) struct PlainTokens(hashbrown::HashMap<[u8; 32], Principal>);

impl PlainTokens {
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = (&'a str, &'a Authorization)>) -> Self {
        let digest = |secret: &str| Sha256::digest(secret).into();
        Self(tokens.map(|(secret, as_)| (digest(secret), principal(as_))).collect())
    }

    pub(crate) fn warm(&self, secret: &str, resource: &Resource) -> bool {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let principal = Arc::clone(self.0.get(&digest).expect("refused"));
        principal.status.is_active() && may_write(&principal, resource)
    }
}
