//! The bodies of last uses, as they are stored.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Entity, Version1};
use crate::model::{ApiTokenUse, AuthorizationUse, LastUse};
use crate::store::{InvalidUniqueKey, Kind, UniqueKey};
use crate::{Id, OrgId, Timestamp, UserId};

#[doc(hidden)]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UseBody {
    v: Version1,
    id: Id,
    #[serde(rename = "orgID")]
    org: OrgId,
    #[serde(rename = "userID")]
    user: UserId,
    last_used_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_from: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_used_at: Option<Timestamp>,
}

/// The entity of a kind of last uses. It is found by its id, which is also its unique key, and listed
/// by the org and the user of its credential: as the credentials are, so that both lists can be read
/// side by side.
macro_rules! use_entity {
    ($entity:ident) => {
        impl Entity for $entity {
            const KIND: Kind = Kind::$entity;

            type Body = UseBody;

            fn id(&self) -> Id {
                self.id.untyped()
            }

            fn unique_key(&self) -> Result<UniqueKey, InvalidUniqueKey> {
                UniqueKey::new(self.id.to_string())
            }

            fn org(&self) -> Option<OrgId> {
                Some(self.org)
            }

            fn user(&self) -> Option<UserId> {
                Some(self.user)
            }

            fn to_body(&self) -> UseBody {
                UseBody {
                    v: Version1,
                    id: self.id.untyped(),
                    org: self.org,
                    user: self.user,
                    last_used_at: self.last.at,
                    last_used_from: self.last.from,
                    previous_used_at: self.last.previous_at,
                }
            }

            fn from_body(body: UseBody) -> Self {
                let last = LastUse {
                    at: body.last_used_at,
                    from: body.last_used_from,
                    previous_at: body.previous_used_at,
                };
                Self { id: body.id.into(), org: body.org, user: body.user, last }
            }
        }
    };
}

use_entity!(ApiTokenUse);
use_entity!(AuthorizationUse);
