//! The name that was probably meant.

/// Names that are less similar than this are no typing mistake.
const SIMILAR: f64 = 0.7;

/// Returns the name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similar = names.map(|candidate| (strsim::jaro(name, candidate), candidate));
    let similar = similar.filter(|(similarity, _)| *similarity > SIMILAR);
    similar.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}
