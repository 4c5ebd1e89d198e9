//! The address that a request comes from, with proxies in between.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, HeaderName, Request};
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use thiserror::Error;
use tower_layer::Layer;
use tower_service::Service;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The first 96 bits of an IPv4 address that is written as an IPv6 address.
const MAPPED_PREFIX: u8 = 96;

/// Extension of a request: the address of the client, as [`ClientAddressLayer`] finds it.
///
/// The management API, [`V1CredentialLayer`](crate::V1CredentialLayer) and forward-auth pass it to
/// the engine, and log it with refused logins. A host that determines it in another way inserts it
/// itself. It is optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Extension of a request: the address at the other end of the connection, of a proxy or the client.
///
/// A server of axum has `ConnectInfo<SocketAddr>` instead (`into_make_service_with_connect_info`);
/// other servers insert this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// A proxy, or a network of proxies, whose `X-Forwarded-For` is trusted.
///
/// As text, also in a configuration file, it is an IP address, or a network in CIDR notation:
///
/// ```
/// use portcullis_http::TrustedProxy;
///
/// assert!("10.1.0.0/16".parse::<TrustedProxy>().is_ok());
/// assert!("2001:db8::7".parse::<TrustedProxy>().is_ok());
/// assert!("proxy.example.org".parse::<TrustedProxy>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedProxy(IpNet);

impl TryFrom<String> for TrustedProxy {
    type Error = ParseTrustedProxyError;

    fn try_from(text: String) -> Result<Self, ParseTrustedProxyError> {
        text.parse()
    }
}

impl FromStr for TrustedProxy {
    type Err = ParseTrustedProxyError;

    fn from_str(text: &str) -> Result<Self, ParseTrustedProxyError> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address.to_canonical())),
            Err(_) => text.parse().ok().and_then(canonical),
        };
        network
            .map(Self)
            .ok_or_else(|| ParseTrustedProxyError { text: text.chars().take(128).collect() })
    }
}

impl TrustedProxy {
    /// Returns whether the network is so large that it contains clients, which could then forge
    /// their addresses: larger than a /8 of IPv4, the largest private network, or a /7 of IPv6.
    pub fn is_too_wide(&self) -> bool {
        match self.0 {
            IpNet::V4(network) => network.prefix_len() < 8,
            IpNet::V6(network) => network.prefix_len() < 7,
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns a network of IPv4 addresses that is written as one of IPv6 as one of IPv4.
fn canonical(network: IpNet) -> Option<IpNet> {
    let IpAddr::V4(address) = network.addr().to_canonical() else {
        return Some(network);
    };
    match (network, network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (IpNet::V4(_), _) => Some(network),
        (IpNet::V6(_), None) => Some(network),
        (IpNet::V6(_), Some(prefix)) => Ipv4Net::new(address, prefix).ok().map(IpNet::V4),
    }
}

/// The error for a text that is neither an IP address nor a network.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is neither an IP address nor a network such as 10.0.0.0/8")]
pub struct ParseTrustedProxyError {
    text: String,
}

/// Finds the client's address and puts it into the request's extensions, as [`ClientAddress`].
///
/// It is the peer's ([`PeerAddress`], or axum's `ConnectInfo<SocketAddr>`), unless the peer is a
/// trusted proxy: then it is the right-most address of `X-Forwarded-For`, over all lines of the
/// header, that is not a trusted proxy; if all are trusted, the left-most. Entries further left are
/// not trustworthy. If an entry that is reached is not an address, it is the peer's. No other header
/// is read, `Forwarded` neither: a proxy that sets one of the two passes on the client's own version
/// of the other.
///
/// Without an address of the peer, nothing is inserted.
///
/// ```no_run
/// use axum::Router;
/// use portcullis_http::ClientAddressLayer;
///
/// # async fn serve(app: Router) -> Result<(), Box<dyn std::error::Error>> {
/// let app = app.layer(ClientAddressLayer::new(["10.0.0.0/8".parse()?]));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8086").await?;
/// let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
/// axum::serve(listener, app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientAddressLayer {
    trusted: Arc<[TrustedProxy]>,
    has_warned: Arc<AtomicBool>,
}

impl ClientAddressLayer {
    /// Trusts these proxies, and no others.
    pub fn new(trusted: impl IntoIterator<Item = TrustedProxy>) -> Self {
        Self { trusted: trusted.into_iter().collect(), has_warned: Arc::default() }
    }

    /// Returns the client's address, if the request has the peer's.
    pub(crate) fn find(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        peer(extensions).map(|peer| self.client(peer, headers))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|proxy| proxy.0.contains(&address))
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            self.warn_once(peer, headers);
            return peer;
        }
        let mut client = peer;
        let mut entries = forwarded_for(headers);
        // An entry counts only if the hop that has added it is trusted.
        while self.trusts(client) {
            match entries.next() {
                Some(Some(address)) => client = address,
                Some(None) => return peer,
                None => break,
            }
        }
        client
    }
}

impl ClientAddressLayer {
    /// Warns of a proxy that is not configured as trusted: all of its clients count as one source.
    fn warn_once(&self, peer: IpAddr, headers: &HeaderMap) {
        if headers.contains_key(X_FORWARDED_FOR) && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "`X-Forwarded-For` is ignored, as it comes from an address that is no trusted proxy: \
                 if this is your proxy, configure it as trusted, or all of its clients count as one \
                 source. This is logged once"
            );
        }
    }
}

/// Returns the address at the other end of the connection.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<PeerAddress>().map(|peer| peer.0);
    peer.or_else(|| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()))
}

/// Returns the entries of `X-Forwarded-For` from right to left, without empty ones.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()).map(address)
}

/// Parses an address, with or without a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let in_brackets = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    bare().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

impl<S> Layer<S> for ClientAddressLayer {
    type Service = ClientAddressService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientAddressService { inner, layer: self.clone() }
    }
}

/// The service of [`ClientAddressLayer`].
#[derive(Clone, Debug)]
pub struct ClientAddressService<S> {
    inner: S,
    layer: ClientAddressLayer,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for ClientAddressService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(client) = self.layer.find(request.extensions(), request.headers()) {
            request.extensions_mut().insert(ClientAddress(client));
        }
        self.inner.call(request)
    }
}

/// Returns the client's address, if the request has one.
pub(crate) fn source(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ClientAddress>().map(|client| client.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer(trusted: &[&str]) -> ClientAddressLayer {
        ClientAddressLayer::new(trusted.iter().map(|text| text.parse().unwrap()))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// [ADDR-3]
    #[test]
    fn no_other_header_is_read() {
        let mut headers = HeaderMap::new();
        for name in ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "via"] {
            headers.insert(name, http::HeaderValue::from_static("for=6.6.6.6"));
        }
        assert_eq!(layer(&["10.0.0.0/8"]).client(ip("10.0.0.1"), &headers), ip("10.0.0.1"));
        headers.insert(X_FORWARDED_FOR, http::HeaderValue::from_static("192.0.2.1"));
        assert_eq!(layer(&["10.0.0.0/8"]).client(ip("10.0.0.1"), &headers), ip("192.0.2.1"));
    }

    #[test]
    fn a_proxy_is_read_from_a_configuration_file() {
        let read = |text: &str| serde_json::from_str::<TrustedProxy>(text);
        assert_eq!(read("\"10.1.0.0/16\"").unwrap(), "10.1.0.0/16".parse().unwrap());
        let error = read("\"proxy.example.org\"").unwrap_err().to_string();
        assert!(error.starts_with("`proxy.example.org` is neither an IP address"), "{error}");
    }

    fn found(trusted: &[&str], peer: &str, lines: &[&str]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(X_FORWARDED_FOR, line);
        }
        layer(trusted).client(ip(peer), &headers)
    }

    /// [ADDR-1]
    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_sends() {
        for lines in [&["6.6.6.6"][..], &["10.0.0.1"], &["6.6.6.6", "10.0.0.1"], &["nonsense"]] {
            assert_eq!(found(&[], "192.0.2.1", lines), ip("192.0.2.1"), "{lines:?}");
            assert_eq!(found(&["10.0.0.0/8"], "192.0.2.1", lines), ip("192.0.2.1"), "{lines:?}");
        }
    }

    /// [ADDR-1]
    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1, 10.2.2.2"], "192.0.2.1"),
            (&["6.6.6.6,192.0.2.1", "10.2.2.2,10.3.3.3"], "192.0.2.1"),
            (&["10.9.9.9, 10.2.2.2"], "10.9.9.9"),
            (&["6.6.6.6, 192.0.2.1, ,", ""], "192.0.2.1"),
            (&["nonsense, 192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1:5000"], "192.0.2.1"),
            (&["[2001:db9::1]"], "2001:db9::1"),
            (&["[2001:db9::1]:443"], "2001:db9::1"),
            (&["192.0.2.1, 2001:db8::7"], "192.0.2.1"),
            (&[], "10.1.1.1"),
        ] {
            assert_eq!(found(&trusted, "10.1.1.1", lines), ip(expected), "{lines:?}");
        }
    }

    #[test]
    fn a_malformed_entry_makes_the_peer_the_client() {
        for entry in
            ["unknown", "_hidden", "192.0.2", "192.0.2.1.1", "fe80::1%eth0", "ä", "1.2.3.4:x"]
        {
            for line in [entry.to_owned(), format!("6.6.6.6, {entry}, 10.2.2.2")] {
                assert_eq!(found(&["10.0.0.0/8"], "10.1.1.1", &[&line]), ip("10.1.1.1"), "{line}");
            }
        }
    }

    /// [ADDR-2]
    #[test]
    fn an_ipv4_address_is_the_same_when_it_is_mapped_into_ipv6() {
        for trusted in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            for peer in ["10.1.1.1", "::ffff:10.1.1.1"] {
                let client = found(&[trusted], peer, &["6.6.6.6, ::ffff:192.0.2.1"]);
                assert_eq!(client, ip("192.0.2.1"), "{trusted} {peer}");
            }
        }
        assert_eq!(found(&["::ffff:10.1.1.1"], "10.1.1.1", &["192.0.2.1"]), ip("192.0.2.1"));
        // All of IPv6 is not all of IPv4.
        assert_eq!(found(&["::/0"], "10.1.1.1", &["192.0.2.1"]), ip("10.1.1.1"));
        assert_eq!(found(&[], "::ffff:192.0.2.1", &[]), ip("192.0.2.1"));
    }

    #[test]
    fn a_hundred_hops_are_followed() {
        let hops: Vec<_> = (0..100).map(|n| format!("10.0.0.{n}")).collect();
        let line = format!("6.6.6.6, 192.0.2.1, {}", hops.join(", "));
        assert_eq!(found(&["10.0.0.0/8"], "10.1.1.1", &[&line]), ip("192.0.2.1"));
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "proxy", "10.0.0.1:80", "::/129", "*", "/8"] {
            let error = text.parse::<TrustedProxy>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`{text}` is neither an IP address nor a network such as 10.0.0.0/8")
            );
        }
    }

    #[test]
    fn a_network_in_which_clients_are_is_too_wide_for_proxies() {
        for (text, expected) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("128.0.0.0/1", true),
            ("10.0.0.0/8", false),
            ("fc00::/7", false),
            ("2000::/3", true),
            ("192.0.2.1", false),
        ] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().is_too_wide(), expected, "{text}");
        }
    }

    fn hop() -> impl Strategy<Value = IpAddr> {
        let trusted = any::<[u8; 3]>().prop_map(|[b, c, d]| IpAddr::from([10, b, c, d]));
        let other = any::<[u8; 3]>().prop_map(|[b, c, d]| IpAddr::from([192, b, c, d]));
        prop_oneof![3 => trusted, 1 => other]
    }

    proptest! {
        #[test]
        fn the_client_is_the_first_untrusted_from_the_right_or_the_last(
            hops in prop::collection::vec(hop(), 1..40),
            breaks in prop::collection::vec(any::<bool>(), 40),
        ) {
            let (peer, forwarded) = hops.split_last().unwrap();
            let mut lines = vec![String::new()];
            for (hop, fresh) in forwarded.iter().zip(breaks) {
                if fresh {
                    lines.push(String::new());
                }
                let line = lines.last_mut().unwrap();
                *line = if line.is_empty() { hop.to_string() } else { format!("{line}, {hop}") };
            }
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let trusted = |hop: &IpAddr| hop.to_string().starts_with("10.");
            let expected = hops.iter().rev().find(|hop| !trusted(hop)).unwrap_or(&hops[0]);
            prop_assert_eq!(found(&["10.0.0.0/8"], &peer.to_string(), &lines), *expected);
        }

        /// [ADDR-1]
        #[test]
        fn entries_left_of_the_client_change_nothing(forged in "[!-~ ]{0,60}") {
            let lines = [forged.as_str(), "192.0.2.1, 10.2.2.2"];
            prop_assert_eq!(found(&["10.0.0.0/8"], "10.1.1.1", &lines), ip("192.0.2.1"));
        }

        #[test]
        fn no_header_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                headers.append(X_FORWARDED_FOR, value);
            }
            layer(&["10.0.0.0/8"]).client(ip("10.1.1.1"), &headers);
        }
    }
}
