//! Where endpoints may be that are made by the API: nowhere that only we can reach (server-side request forgery).
//!
//! Every address is looked at when it is connected to, so a name that leads elsewhere the next time changes nothing.
//! What is refused: all that is not globally reachable by the IANA registries of special-purpose addresses (RFC 6890),
//! multicast (RFC 5771, RFC 4291), and IPv6 addresses that carry such an IPv4 address (RFC 4291 2.5.5, 3056, 4380, 6052).

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};
use url::{Host, Url};

/// Says which addresses may be connected to; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Networks that the operator allows all the same.
    allowed: Arc<[IpNet]>,
}

/// Addresses that are not for everybody; of IPv6, those among the global unicast ones (`2000::/3`).
const PRIVATE: [&str; 19] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32", // Azure's platform
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23", // Teredo, among others
    "2001:db8::/32",
    "3fff::/20",
];

// === impl Guard ===

impl Guard {
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self {
            allowed: allowed.into(),
        }
    }

    /// Whether this address may be connected to.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address)) || is_public(address)
    }

    /// Whether this URL may be used, as far as can be said before its name is looked up.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, url: &Url) -> Result<(), String> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err("the URL has no host".to_owned()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL may have no login".to_owned());
        }
        let named = address.is_some_and(|address| self.allowed.iter().any(|network| network.contains(&address)));
        match (url.scheme(), address) {
            ("http", _) if !named => Err("the URL must begin with https://".to_owned()),
            ("http" | "https", Some(address)) if !self.allows(address) => Err(refusal(address)),
            ("http" | "https", _) => Ok(()),
            _ => Err("the URL must begin with https://".to_owned()),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| guard.allows(address.ip()));
            match bad.first() {
                Some(bad) if good.is_empty() => Err(refusal(bad.ip()).into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

fn refusal(address: IpAddr) -> String {
    format!("{address} is not for everybody to reach, and not in webhook.allow_networks")
}

fn is_public(address: IpAddr) -> bool {
    let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
    match address {
        IpAddr::V4(_) => !within(&NETWORKS.private),
        // What it carries is where it goes.
        IpAddr::V6(_) if within(&NETWORKS.nat64) => carried(address, 12),
        IpAddr::V6(_) if within(&NETWORKS.six_to_four) => carried(address, 2),
        IpAddr::V6(_) => within(&NETWORKS.unicast) && !within(&NETWORKS.private),
    }
}

/// Whether the IPv4 address that stands at this byte of an IPv6 one is public.
fn carried(address: IpAddr, at: usize) -> bool {
    let IpAddr::V6(address) = address else { return false };
    let bytes = address.octets();
    let inner = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    inner.is_some_and(|inner| is_public(IpAddr::from(*inner)))
}

/// Networks by what they mean.
struct Networks {
    private: Vec<IpNet>,
    nat64: [IpNet; 1],
    six_to_four: [IpNet; 1],
    unicast: [IpNet; 1],
}

#[expect(clippy::unwrap_used, reason = "constants, which the tests read")]
static NETWORKS: LazyLock<Networks> = LazyLock::new(|| Networks {
    private: PRIVATE.iter().map(|network| network.parse().unwrap()).collect(),
    nat64: ["64:ff9b::/96".parse().unwrap()],
    six_to_four: ["2002::/16".parse().unwrap()],
    unicast: ["2000::/3".parse().unwrap()],
});

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn only_what_everybody_can_reach_may_be_reached() {
        let guard = guard(&[]);
        for good in [
            "1.1.1.1",
            "140.82.121.4",
            "2606:4700:4700::1111",
            "2002:0101:0101::1",
            "64:ff9b::101:101",
        ] {
            assert!(guard.allows(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:0:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001:db8::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!guard.allows(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn what_the_operator_allows_may_be_reached() {
        let guard = guard(&["10.0.0.0/8", "fd00::/8"]);
        assert!(guard.allows("10.1.2.3".parse().unwrap()) && guard.allows("fd00::1".parse().unwrap()));
        assert!(guard.allows("::ffff:10.1.2.3".parse().unwrap()) && !guard.allows("192.168.0.1".parse().unwrap()));
    }

    #[test]
    fn urls_say_what_is_wrong_with_them() {
        let check = |url: &str| guard(&["10.0.0.0/8"]).check(&url.parse().unwrap());
        for good in [
            "https://h.example/x",
            "https://1.1.1.1/",
            "http://10.0.0.1/",
            "https://10.0.0.1:8443/",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("http://h.example/", "https://"),
            ("ftp://h.example/", "https://"),
            ("https://127.0.0.1/", "not for everybody"),
            ("https://2130706433/", "not for everybody"),
            ("https://0x7f.1/", "not for everybody"),
            ("https://[::ffff:127.0.0.1]/", "not for everybody"),
            ("https://a:b@h.example/", "no login"),
            ("mailto:a@b", "no host"),
        ] {
            assert!(check(bad).unwrap_err().contains(why), "{bad}: {:?}", check(bad));
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_us_is_refused_when_it_is_looked_up() {
        let names = |guard: Guard| async move {
            let found = guard.resolve("localhost".parse().unwrap()).await;
            found.map(Iterator::count).map_err(|error| error.to_string())
        };
        assert!(names(guard(&[])).await.unwrap_err().contains("not for everybody"));
        assert!(names(guard(&["127.0.0.0/8", "::1/128"])).await.unwrap() > 0);
    }
}
