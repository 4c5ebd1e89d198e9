//! Options for the end and the networks of a credential.

use std::str::FromStr;
use std::time::Duration;

use portcullis::{AllowedNetworks, AuthorizationUpdate, InvalidNetworks, Timestamp};

/// A time, or one from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    At(Timestamp),
    FromNow(Duration),
}

impl Time {
    /// Returns the time itself.
    pub(crate) fn time(self) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::FromNow(duration) => Timestamp::now().saturating_add(duration),
        }
    }
}

/// The units of a duration, in seconds.
const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 604_800)];

/// Parses a whole number and a unit, such as `90d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| unit.starts_with(*name))?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| is_number)?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(duration) = parse_duration(text) {
            return Ok(Self::FromNow(duration));
        }
        text.parse().map(Self::At).map_err(|_| {
            "neither a time such as 2030-01-31T23:59:59Z nor one from now such as 90d or 12h"
                .to_owned()
        })
    }
}

/// The new end of a credential, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NewEnd(Option<Time>);

impl FromStr for NewEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self(None)),
            text => text.parse().map(|time| Self(Some(time))),
        }
    }
}

impl NewEnd {
    fn time(self) -> Option<Timestamp> {
        self.0.map(Time::time)
    }
}

/// Checks a network; the list is parsed as a whole later.
fn parse_network(text: &str) -> Result<String, InvalidNetworks> {
    AllowedNetworks::parse([text]).map(|_| text.to_owned())
}

/// The restrictions of a new credential.
#[derive(clap::Args)]
pub(crate) struct RestrictionArgs {
    /// Refuse it from this time on: RFC 3339, or a time from now such as 90d or 12h
    #[arg(long, value_name = "TIME")]
    expires: Option<Time>,

    /// Accept it only from this IP address or network, such as 10.0.0.0/8 (can be repeated)
    #[arg(long, value_name = "NETWORK", value_parser = parse_network)]
    allow_network: Vec<String>,
}

impl RestrictionArgs {
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.expires.map(Time::time)
    }

    pub(crate) fn allowed_networks(&self) -> Result<AllowedNetworks, InvalidNetworks> {
        AllowedNetworks::parse(&self.allow_network)
    }
}

/// Changes of the restrictions of a credential.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct RestrictArgs {
    /// Refuse it from this time on: RFC 3339, a time from now such as 90d or 12h, or `never`
    #[arg(long, value_name = "TIME")]
    expires: Option<NewEnd>,

    /// Accept it only from this IP address or network, such as 10.0.0.0/8, in place of those before
    /// (can be repeated)
    #[arg(long, value_name = "NETWORK", value_parser = parse_network)]
    allow_network: Vec<String>,

    /// Accept it from every address again
    #[arg(long, conflicts_with = "allow_network")]
    any_network: bool,
}

impl RestrictArgs {
    pub(crate) fn update(&self) -> Result<AuthorizationUpdate, InvalidNetworks> {
        let is_given = self.any_network || !self.allow_network.is_empty();
        let networks = is_given.then(|| AllowedNetworks::parse(&self.allow_network)).transpose()?;
        Ok(AuthorizationUpdate {
            expires_at: self.expires.map(NewEnd::time),
            allowed_networks: networks,
            ..AuthorizationUpdate::default()
        })
    }
}

/// The end of the present password.
#[derive(clap::Args)]
pub(crate) struct PasswordEndArgs {
    /// Refuse its present password from this time on: RFC 3339, a time from now, or `never`
    #[arg(long, value_name = "TIME", group = "RestrictArgs")]
    password_expires: Option<NewEnd>,
}

impl PasswordEndArgs {
    pub(crate) fn end(&self) -> Option<Option<Timestamp>> {
        self.password_expires.map(NewEnd::time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_in_rfc_3339_or_one_from_now() {
        let seconds = |seconds| Ok(Time::FromNow(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("0s", seconds(0)),
            ("5m", seconds(300)),
            ("12h", seconds(43_200)),
            ("90d", seconds(7_776_000)),
            ("2w", seconds(1_209_600)),
            ("2030-01-31T23:59:59Z", Ok(Time::At("2030-01-31T23:59:59Z".parse().unwrap()))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["", "d", "90", "-1d", "+1d", "1.5h", "1y", "1 d", "é", "18446744073709551615w"]
        {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        assert_eq!("never".parse(), Ok(NewEnd(None)));
        assert!("never".parse::<Time>().is_err());
    }
}
