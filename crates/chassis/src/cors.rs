//! Which pages may ask, from a browser (Fetch Standard, CORS protocol).

use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Where a page that may ask comes from (RFC 6454), or `*`.
#[derive(Clone, Debug)]
pub struct Origin(HeaderValue);

/// Lets pages from these origins ask with these methods; without origins nothing is added.
pub fn cors<const N: usize>(origins: &[Origin], methods: [Method; N]) -> Option<CorsLayer> {
    let origins = match origins {
        [] => return None,
        some if some.iter().any(|Origin(origin)| origin == "*") => AllowOrigin::any(),
        some => AllowOrigin::list(some.iter().map(|Origin(origin)| origin.clone())),
    };
    let cors = CorsLayer::new().allow_origin(origins).allow_methods(methods);
    Some(cors.allow_headers(AllowHeaders::mirror_request()))
}

impl std::str::FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = text
            .split_once("://")
            .is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        let value = HeaderValue::from_str(text).ok().filter(|_| host || text == "*");
        value
            .map(Self)
            .ok_or("expected an origin such as https://forge.example, or *")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_path() {
        for good in ["*", "https://forge.example", "http://localhost:3000"] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "forge.example",
            "https://",
            "https://forge.example/",
            "https://a\nb",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        }
    }
}
