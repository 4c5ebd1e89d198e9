//! What the handlers share.

use std::sync::Arc;

use portcullis::Engine;

use crate::callers::Callers;

/// The state of the management API's handlers.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) callers: Arc<dyn Callers>,
}
