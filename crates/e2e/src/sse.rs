//! Server-sent events, one by one (WHATWG HTML, section 9.2).

/// A stream of them.
#[derive(Debug)]
pub struct Sse {
    response: reqwest::Response,
    text: String,
}

// === impl Sse ===

impl Sse {
    /// Asks for a stream.
    pub async fn open(url: &str, token: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(url).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{url}");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event: its name and its data.
    pub async fn next(&mut self) -> (String, String) {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(ToOwned::to_owned)
                };
                let (name, data) = (field("event: "), field("data: "));
                if let Some(data) = data {
                    return (name.unwrap_or_default(), data);
                }
            }
            let chunk = self.response.chunk().await.unwrap().unwrap();
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    /// The data of the next event of this name.
    pub async fn next_named(&mut self, wanted: &str) -> serde_json::Value {
        loop {
            let (name, data) = self.next().await;
            if name == wanted {
                return serde_json::from_str(&data).unwrap();
            }
        }
    }
}
