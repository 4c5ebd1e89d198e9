//! All records of an index, page by page.

use std::iter;
use std::num::NonZeroUsize;

use crate::Id;
use crate::store::{Page, PageRequest};

/// Reads the pages of an index from the beginning, of at most `limit` records each. Ends after an
/// error.
pub fn pages<E>(
    limit: NonZeroUsize,
    mut read: impl FnMut(PageRequest) -> Result<Page, E>,
) -> impl Iterator<Item = Result<Page, E>> {
    let mut next: Option<Option<Id>> = Some(None);
    iter::from_fn(move || {
        let page = read(PageRequest { after: next?, limit });
        next = page.as_ref().ok().and_then(|page| page.next).map(Some);
        Some(page)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: NonZeroUsize = NonZeroUsize::new(7).unwrap();

    #[test]
    fn every_page_is_read_once_and_none_after_an_error() {
        let to_id = |page: usize| Id::from_u64(page as u64);
        let mut requests = Vec::new();
        let read = |request: PageRequest| {
            requests.push(request.after);
            let next = (requests.len() < 3).then(|| to_id(requests.len()));
            Ok::<_, ()>(Page { next, ..Page::default() })
        };
        assert_eq!(pages(LIMIT, read).count(), 3);
        assert_eq!(requests, [None, Some(to_id(1)), Some(to_id(2))]);
        assert_eq!(pages(LIMIT, |_| Err::<Page, _>(())).count(), 1);
    }
}
