//! Management: what administrators and the embedding program change and list.
//!
//! Every operation on authorizations exists once, as steps of [`Access`](access::Access), which
//! knows on whose authority it runs. Two public surfaces combine these steps: the methods of
//! [`Engine`](super::Engine) are trusted, those of [`OnBehalfOf`] enforce the permissions of a
//! caller. DBRP mappings, tenants and API tokens are managed in the same way.

mod access;
mod authorizations;
mod dbrps;
mod deletion;
mod list;
mod names;
mod on_behalf_of;
mod precondition;
mod preview;
mod setup;
mod snapshot;
mod tenants;
mod tokens;
mod trusted;
mod view;

pub use list::AuthorizationPage;
pub use names::NameResolver;
pub use on_behalf_of::OnBehalfOf;
pub use precondition::{Precondition, Versioned};
pub use preview::{Deletion, DeletionPreview};
pub use setup::{Setup, SetupDone};
pub use snapshot::{ExportError, ImportError};
pub use tokens::{ApiTokenPage, NewApiToken};
pub use view::{ApiTokenView, AuthorizationView, ResourceNames};
