//! Where a request comes from, and whether anybody there may ask.

use axum::http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// Networks by their CIDRs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<IpNet>);

/// A network, or one address of its own.
pub(crate) struct Cidr(IpNet);

/// The header in which trusted proxies say who asks. Only one is believed: the others are the stranger's own
/// words, which proxies pass on as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// `X-Forwarded-For`, which nearly every proxy writes.
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Most hops that are followed back.
const HOPS: usize = 32;

// === impl Networks ===

impl Networks {
    pub(crate) fn new(all: Vec<Cidr>) -> Self {
        Self(all.into_iter().map(|Cidr(net)| net).collect())
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::str::FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse::<IpNet>().ok();
        let net = net.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        net.map(Self)
            .ok_or("expected an address, or a network such as 10.0.0.0/8")
    }
}

impl std::str::FromStr for ProxyHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("expected x-forwarded-for or forwarded"),
        }
    }
}

/// Who asks: the peer, unless that is a trusted proxy; then whoever the nearest proxy that is not trusted says
/// it is. What is further away may be made up.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &Networks, header: ProxyHeader) -> IpAddr {
    let mut client = peer.to_canonical();
    if proxies.is_empty() || !proxies.has(client) {
        return client;
    }
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match header {
        ProxyHeader::XForwardedFor => ("x-forwarded-for", address),
        ProxyHeader::Forwarded => ("forwarded", forwarded_for),
    };
    let values = headers.get_all(name).iter().rev();
    let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for hop in hops.take(HOPS) {
        let Some(hop) = read(hop) else { return client };
        client = hop;
        if !proxies.has(client) {
            break;
        }
    }
    client
}

/// By what an address is counted: one of IPv6 by its /64, of which anybody has as many as they like.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The `for=` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    address(named.next()?.1.trim().trim_matches('"'))
}

/// An address with or without port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    plain
        .or_else(with_port)
        .or_else(in_brackets)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| text.parse().ok().unwrap()).collect())
    }

    #[test]
    fn networks_are_cidrs_or_addresses_of_both_families() {
        let all = networks(&["140.82.112.0/20", "2a0a:a440::/29", "192.0.2.7"]);
        for inside in ["140.82.127.255", "2a0a:a447::1", "192.0.2.7"] {
            assert!(all.has(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["140.82.128.0", "2a0a:a448::1", "192.0.2.8", "::1"] {
            assert!(!all.has(outside.parse().unwrap()), "{outside}");
        }
        for wrong in ["", "300.0.0.1", "10.0.0.0/33", "host"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_who_asks_and_only_the_nearest_word_counts() {
        let proxies = networks(&["10.0.0.0/8", "::1"]);
        for (peer, header, value, expected) in [
            ("203.0.113.9", "x-forwarded-for", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "x-forwarded-for", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "x-forwarded-for", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "6.6.6.6, 198.51.100.1, 10.0.0.2",
                "198.51.100.1",
            ),
            ("10.0.0.1", "x-forwarded-for", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "x-forwarded-for", "", "10.0.0.1"),
            (
                "::1",
                "forwarded",
                "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https",
                "2001:db8::1",
            ),
            ("::1", "forwarded", "For=198.51.100.1:80", "198.51.100.1"),
            ("::1", "forwarded", "by=10.0.0.1", "::1"),
            (
                "::ffff:10.0.0.1",
                "x-forwarded-for",
                "::ffff:198.51.100.1",
                "198.51.100.1",
            ),
        ] {
            // The other header is the stranger's own.
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
            headers.insert("forwarded", "for=6.6.6.6".parse().unwrap());
            headers.insert(header, value.parse().unwrap());
            let found = client(peer.parse().unwrap(), &headers, &proxies, header.parse().unwrap());
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {value}");
        }
    }
}
