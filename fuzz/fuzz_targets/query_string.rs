//! Query strings of the lists, through the real router as the operator. The first byte chooses the
//! list, the rest is the query. No query causes a server error, and every status but 2xx has an error
//! body. If the parameters can be read with the URL standard's own parser, a list of authorizations
//! holds exactly those that match the filter, ascending; and its pages together are the list without
//! pages.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use portcullis_fuzz::text;
use portcullis_fuzz::world::{PREFIX, World};
use serde_json::Value;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

const LISTS: [&str; 5] =
    [PREFIX, "/legacy/authorizations/", "/api/v2/orgs", "/api/v2/users", "/api/v2/buckets"];

/// Every authorization of the world: id, token, org, user, status.
const ALL: [[&str; 5]; 3] = [
    ["0d0d000000000001", "grafana", "0a11ce0000000001", "0b0b000000000002", "active"],
    ["0d0d000000000002", "telegraf", "0a11ce0000000001", "0b0b000000000003", "active"],
    ["0d0d000000000003", "collector", "0a11ce0000000002", "0b0b000000000002", "inactive"],
];

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((list, query)) = data.split_first() else { return Corpus::Reject };
    let Some(query) = text(query) else { return Corpus::Reject };
    let path = LISTS[usize::from(*list) % LISTS.len()];
    WORLD.run(async {
        let Some(response) = WORLD.call("GET", &format!("{path}?{query}"), Vec::new()).await else {
            return Corpus::Reject;
        };
        if response.status == 200 && path.contains("legacy") {
            let json = response.json();
            let first = ids(&json);
            let whole = follow(json).await;
            if let Some(filter) = Filter::read(query) {
                assert_eq!(whole, filter.expected(), "{query:?}");
                assert!(filter.limit.is_none_or(|limit| first.len() <= limit), "{query:?}");
            }
        }
        Corpus::Keep
    })
});

fn ids(list: &Value) -> Vec<String> {
    let items = list["authorizations"].as_array().expect("authorizations");
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

/// Reads on to the last page.
async fn follow(mut list: Value) -> Vec<String> {
    let mut found = ids(&list);
    while let Some(next) = list["links"]["next"].as_str() {
        assert!(found.len() < ALL.len(), "a page after the last authorization");
        let response = WORLD.call("GET", next, Vec::new()).await.expect("a link is a URL");
        list = response.json();
        let page = ids(&list);
        assert!(!page.is_empty(), "an empty page that was announced");
        found.extend(page);
    }
    assert!(found.is_sorted(), "{found:?}");
    found
}

/// The filter of a query, read by the parser of the URL standard.
#[derive(Default)]
struct Filter {
    /// In the order of [`ALL`].
    columns: [Option<String>; 5],
    after: Option<String>,
    limit: Option<usize>,
}

impl Filter {
    /// `None` when the two parsers read it differently, and for names and permissions, which are
    /// tested elsewhere.
    fn read(query: &str) -> Option<Self> {
        // The URL standard keeps parts that this API ignores, and ends a query at `#`.
        if query.contains([';', '#']) || !escapes_are_whole(query) {
            return None;
        }
        let mut filter = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                continue;
            }
            let lower = || (!value.is_empty()).then(|| value.to_ascii_lowercase());
            let exact = || (!value.is_empty()).then(|| value.clone().into_owned());
            match &*name {
                "id" | "authID" => {
                    let id = lower();
                    if id.is_some() {
                        if filter.columns[0].is_some() && filter.columns[0] != id {
                            return None;
                        }
                        filter.columns[0] = id;
                    }
                }
                "token" => filter.columns[1] = exact(),
                "orgID" => filter.columns[2] = lower(),
                "userID" => filter.columns[3] = lower(),
                "status" => filter.columns[4] = exact(),
                "after" => filter.after = lower(),
                "limit" => filter.limit = exact().map(|limit| limit.parse().expect("a limit")),
                "user" | "org" | "permits" if !value.is_empty() => return None,
                _ => {}
            }
            seen.push(name);
        }
        Some(filter)
    }

    fn expected(&self) -> Vec<&'static str> {
        let meant = |authorization: &&[&str; 5]| {
            let same = self.columns.iter().zip(*authorization);
            let mut same = same
                .map(|(requested, is)| requested.as_ref().is_none_or(|requested| requested == is));
            same.all(|same| same)
                && self.after.as_ref().is_none_or(|after| authorization[0] > after.as_str())
        };
        ALL.iter().filter(meant).map(|authorization| authorization[0]).collect()
    }
}

fn escapes_are_whole(query: &str) -> bool {
    query.split('%').skip(1).all(|escape| {
        escape.len() >= 2 && escape.bytes().take(2).all(|digit| digit.is_ascii_hexdigit())
    })
}
