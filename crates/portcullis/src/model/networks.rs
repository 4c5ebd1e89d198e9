//! The networks from which a credential may be used.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::Error;

/// The networks from which a credential may be used. An empty list allows every address, also an unknown
/// one; any other list refuses an address that is in none of them, and an unknown one.
///
/// A network is an IP address, or a network in CIDR notation. It is kept in one form: bits after the
/// prefix are zero, a prefix that covers the whole address is left out, and a network of IPv4 addresses
/// that is written as one of IPv6 (`::ffff:10.0.0.0/104`) is one of IPv4. So `::/0` contains every IPv6
/// address and no IPv4 address.
///
/// ```
/// use portcullis::AllowedNetworks;
///
/// let networks = AllowedNetworks::parse(["10.1.2.3/16", "2001:db8::7"])?;
/// assert_eq!(networks.to_string(), "10.1.0.0/16, 2001:db8::7");
/// assert!(networks.allows(Some("10.1.255.255".parse()?)));
/// assert!(!networks.allows(Some("10.2.0.0".parse()?)));
/// assert!(!networks.allows(None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AllowedNetworks(Option<Arc<[IpNet]>>);

/// The error for a list of networks that is not valid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidNetworks {
    /// A text is neither an IP address nor a network. Of a long text, the beginning.
    #[error("`{0}` is neither an IP address nor a network such as 10.0.0.0/8")]
    NotANetwork(String),
    /// There are more than [`AllowedNetworks::MAX`].
    #[error("there must be at most 64 networks, not {0}")]
    TooMany(usize),
}

impl From<InvalidNetworks> for Error {
    fn from(error: InvalidNetworks) -> Self {
        Self::invalid(error.to_string())
    }
}

impl AllowedNetworks {
    /// The most networks of a list.
    pub const MAX: usize = 64;

    /// Parses a list, in its order. A network that is repeated counts once.
    ///
    /// # Errors
    ///
    /// [`InvalidNetworks::NotANetwork`] for the first that is none, [`InvalidNetworks::TooMany`].
    pub fn parse<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidNetworks> {
        let mut networks: Vec<IpNet> = Vec::new();
        for text in texts {
            let network = parse_network(text.as_ref())?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        match networks.len() {
            0 => Ok(Self(None)),
            1..=Self::MAX => Ok(Self(Some(networks.into()))),
            count => Err(InvalidNetworks::TooMany(count)),
        }
    }

    /// Tells whether the list is empty, so that every address is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Tells whether the address is allowed. `None` is an unknown address.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = &self.0 else { return true };
        address.is_some_and(|address| {
            let address = address.to_canonical();
            networks.iter().any(|network| network.contains(&address))
        })
    }

    /// Returns the texts of the networks.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        self.networks().iter().map(|network| Shown(network).to_string())
    }

    fn networks(&self) -> &[IpNet] {
        self.0.as_deref().unwrap_or_default()
    }
}

fn parse_network(text: &str) -> Result<IpNet, InvalidNetworks> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => text.parse::<IpNet>().ok().and_then(canonical),
    };
    let refused = || InvalidNetworks::NotANetwork(text.chars().take(128).collect());
    network.map(|network| network.trunc()).ok_or_else(refused)
}

/// The length of the prefix of IPv4 addresses that are written as IPv6 addresses.
const MAPPED_PREFIX: u8 = 96;

/// Returns a network of IPv4 addresses that is written as one of IPv6 as one of IPv4.
fn canonical(network: IpNet) -> Option<IpNet> {
    let IpAddr::V4(address) = network.addr().to_canonical() else { return Some(network) };
    match (network, network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (IpNet::V4(_), _) | (IpNet::V6(_), None) => Some(network),
        (IpNet::V6(_), Some(prefix)) => Ipv4Net::new(address, prefix).ok().map(IpNet::V4),
    }
}

/// A network as text: without a prefix that covers the whole address.
struct Shown<'a>(&'a IpNet);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Display for AllowedNetworks {
    /// The networks with a comma between them; nothing for an empty list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, network) in self.networks().iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Shown(network))?;
        }
        Ok(())
    }
}

impl fmt::Debug for AllowedNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.networks()).finish()
    }
}

impl FromStr for AllowedNetworks {
    type Err = InvalidNetworks;

    /// Parses networks with commas between them; nothing but space is the empty list.
    fn from_str(text: &str) -> Result<Self, InvalidNetworks> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Self::parse(text.split(',').map(str::trim))
    }
}

impl Serialize for AllowedNetworks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for AllowedNetworks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Vec::<String>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> AllowedNetworks {
        AllowedNetworks::parse(texts).unwrap()
    }

    #[test]
    fn a_network_has_one_text() {
        for (text, canonical) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("10.9.8.7/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            let networks = parse(&[text]);
            assert_eq!(networks.to_string(), canonical);
            assert_eq!(parse(&[canonical]), networks);
            let json = serde_json::to_string(&networks).unwrap();
            assert_eq!(serde_json::from_str::<AllowedNetworks>(&json).unwrap(), networks);
        }
    }

    #[test]
    fn a_text_that_is_no_network_is_refused() {
        for text in ["", " ", "10.0.0", "10.0.0.0/33", "::/129", "localhost", "10.0.0.1 ", "*"] {
            let refused = AllowedNetworks::parse([text]).unwrap_err();
            assert_eq!(refused, InvalidNetworks::NotANetwork(text.to_owned()));
        }
        let long = AllowedNetworks::parse(["é".repeat(1000)]).unwrap_err();
        assert_eq!(long, InvalidNetworks::NotANetwork("é".repeat(128)));
    }

    /// [NET-1]
    #[test]
    fn an_empty_list_allows_every_address_and_any_other_only_its_own() {
        let address = |text: &str| Some(text.parse().unwrap());
        let everywhere = AllowedNetworks::default();
        assert!(everywhere.is_empty() && everywhere.allows(None));
        assert!(everywhere.allows(address("192.0.2.1")));
        let networks = parse(&["10.0.0.0/8", "2001:db8::/32"]);
        for allowed in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "2001:db8:ffff::"] {
            assert!(networks.allows(address(allowed)), "{allowed}");
        }
        for refused in ["11.0.0.0", "9.255.255.255", "2001:db9::", "::a00:1", "::"] {
            assert!(!networks.allows(address(refused)), "{refused}");
        }
        assert!(!networks.allows(None));
        assert!(!parse(&["::/0"]).allows(address("10.0.0.1")));
    }

    #[test]
    fn a_list_holds_at_most_64_different_networks() {
        let addresses = |count: usize| (0..count).map(|last| format!("10.0.0.{last}"));
        assert!(AllowedNetworks::parse(addresses(64)).is_ok());
        assert!(AllowedNetworks::parse(addresses(64).chain(addresses(64))).is_ok());
        let refused = AllowedNetworks::parse(addresses(65)).unwrap_err();
        assert_eq!(refused.to_string(), "there must be at most 64 networks, not 65");
        assert_eq!("10.0.0.1, 10.0.0.1".parse(), Ok(parse(&["10.0.0.1"])));
        assert_eq!(" ".parse(), Ok(AllowedNetworks::default()));
        assert!("10.0.0.1,".parse::<AllowedNetworks>().is_err());
    }
}
