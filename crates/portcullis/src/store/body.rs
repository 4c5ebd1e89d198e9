//! The body of a record.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// The body of a [`Record`](super::Record): JSON, which only this crate writes and reads.
///
/// It dereferences to the text. The [memory store](super::MemoryStore) returns bodies in a compact
/// encoding, which is decoded without the text; the text is made on first use.
#[derive(Clone)]
pub struct Body(Form);

#[derive(Clone)]
enum Form {
    Text(Box<str>),
    Compact { bytes: Arc<[u8]>, to_text: fn(&[u8]) -> Box<str>, text: OnceLock<Box<str>> },
}

impl Body {
    pub(crate) const fn from_compact(bytes: Arc<[u8]>, to_text: fn(&[u8]) -> Box<str>) -> Self {
        Self(Form::Compact { bytes, to_text, text: OnceLock::new() })
    }

    /// Returns the compact encoding, if it has one.
    pub(crate) const fn compact(&self) -> Option<&Arc<[u8]>> {
        match &self.0 {
            Form::Text(_) => None,
            Form::Compact { bytes, .. } => Some(bytes),
        }
    }

    /// Returns the stored bytes. Bodies of one store with equal bytes are equal.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Text(text) => text.as_bytes(),
            Form::Compact { bytes, .. } => bytes,
        }
    }
}

impl Deref for Body {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Form::Text(text) => text,
            Form::Compact { bytes, to_text, text } => text.get_or_init(|| to_text(bytes)),
        }
    }
}

impl From<Box<str>> for Body {
    fn from(text: Box<str>) -> Self {
        Self(Form::Text(text))
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Box::<str>::from(text).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        text.into_boxed_str().into()
    }
}

impl From<Cow<'_, str>> for Body {
    fn from(text: Cow<'_, str>) -> Self {
        Box::<str>::from(text).into()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

/// It may hold a password hash, so it is not shown.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.bytes().len())
    }
}
