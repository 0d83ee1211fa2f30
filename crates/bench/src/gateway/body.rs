//! Bodies of pushes that differ in their commits alone.

use bytes::Bytes;
use serde_json::json;

/// A push of some size, with a place for its commit.
#[derive(Debug)]
pub(crate) struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

const COMMIT: &str = "cccccccccccccccccccccccccccccccccccccccc";

// === impl Template ===

impl Template {
    /// About so many bytes, filled as GitHub does: with commits.
    pub(crate) fn new(bytes: usize) -> Self {
        let text = testkit::push_body("acme/shop", "https://github.com/acme/shop.git", "refs/heads/main", "H");
        let mut body: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut commits = Vec::new();
        let mut long = text.len();
        while long < bytes {
            let commit = json!({
                "id": format!("{:040x}", commits.len()), "tree_id": format!("{:040x}", commits.len() + 7),
                "distinct": true, "message": "Make the \"cart\" remember what was in it\n\nIt forgot when two tabs were open.",
                "timestamp": "2026-11-21T09:00:00+01:00", "url": format!("https://github.com/acme/shop/commit/{:040x}", commits.len()),
                "author": {"name": "Émile Żuk", "email": "emile@example.com", "username": "emile"},
                "committer": {"name": "GitHub", "email": "noreply@github.com", "username": "web-flow"},
                "added": ["src/cart/store.rs"], "removed": [], "modified": ["src/cart.rs", "README.md", "Cargo.toml"],
            });
            long += commit.to_string().len() + 1;
            commits.push(commit);
        }
        body["commits"] = commits.into();
        body["after"] = COMMIT.into();
        let text = body.to_string();
        let (before, after) = text.split_once(COMMIT).unwrap();
        Self {
            before: before.into(),
            after: after.into(),
        }
    }

    /// The body of commit `n`.
    pub(crate) fn body(&self, n: usize) -> Bytes {
        let commit = format!("{n:040x}");
        [&self.before, commit.as_bytes(), &self.after].concat().into()
    }
}
