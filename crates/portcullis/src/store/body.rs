//! The body of a record.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// The body of a [`Record`](super::Record): a text, JSON, written and read by core alone.
///
/// Whoever takes it as a `&str` gets the text. The [store in memory](super::MemoryStore) keeps
/// bodies in fewer bytes, from which core reads what it wants without a text; that is made of them
/// when somebody asks for it, once for each value.
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

    /// Its fewer bytes, if it came in them.
    pub(crate) const fn compact(&self) -> Option<&Arc<[u8]>> {
        match &self.0 {
            Form::Text(_) => None,
            Form::Compact { bytes, .. } => Some(bytes),
        }
    }

    /// What it is kept as. Bodies from one store with the same bytes are the same.
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
