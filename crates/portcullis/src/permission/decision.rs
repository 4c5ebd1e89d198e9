//! The answer to a check.

use std::fmt;

use super::Permission;

/// The answer to "may they?". A no is a value like a yes, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a decision that is not looked at protects nothing"]
pub enum Decision {
    /// Yes, because this permission is held.
    Allowed(Permission),
    /// No, for this reason.
    Denied(Denial),
}

impl Decision {
    /// Tells whether the answer is yes.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(permission) => write!(f, "allowed by {permission}"),
            Self::Denied(denial) => write!(f, "denied: {denial}"),
        }
    }
}

/// Why nothing allowed it. For operators; a client learns no more than "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The credential itself is inactive, whatever it holds.
    Inactive,
    /// The credential holds no permission at all.
    NothingHeld,
    /// The other action is held on this very resource.
    OtherAction,
    /// The action is held on other resources of the type.
    OtherResource,
    /// The action is held on no resource of the type.
    TypeNotHeld,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "the credential is inactive",
            Self::NothingHeld => "the credential holds no permission",
            Self::OtherAction => "only the other action is held on this resource",
            Self::OtherResource => "the action is held on other resources of this type only",
            Self::TypeNotHeld => "the action is held on no resource of this type",
        })
    }
}
