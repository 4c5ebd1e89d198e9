//! The formats, and opening a file of one.

use std::fmt;
use std::path::Path;

use crate::htpasswd::Htpasswd;
use crate::influxdb_1x::Influxdb1x;
use crate::influxdb_2x::Influxdb2x;
use crate::source::{Source, SourceError};
use crate::vault_userpass::VaultUserpass;
use crate::vmauth::Vmauth;
use crate::web_yml::WebYml;

/// A format of files that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `meta.db` of InfluxDB 1.x.
    Influxdb1x,
    /// `influxd.bolt` of InfluxDB 2.x.
    Influxdb2x,
    /// A password file of Apache or nginx, or `web.yml` of Prometheus and its exporters.
    Htpasswd,
    /// The configuration of vmauth.
    Vmauth,
    /// The raw storage of the users of Vault's or OpenBao's `userpass`.
    VaultUserpass,
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] =
        &[Self::Influxdb1x, Self::Influxdb2x, Self::Htpasswd, Self::Vmauth, Self::VaultUserpass];

    /// Returns the name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Influxdb1x => "influxdb-1x",
            Self::Influxdb2x => "influxdb-2x",
            Self::Htpasswd => "htpasswd",
            Self::Vmauth => "vmauth",
            Self::VaultUserpass => "vault-userpass",
        }
    }

    /// Opens a file of the format.
    ///
    /// # Errors
    ///
    /// [`SourceError`] when it cannot be read, or when its beginning shows that it is not of the format.
    pub fn open(self, path: &Path) -> Result<Box<dyn Source>, SourceError> {
        match self {
            Self::Influxdb1x => Ok(Box::new(Influxdb1x::open(path)?)),
            Self::Influxdb2x => Ok(Box::new(Influxdb2x::open(path)?)),
            Self::Htpasswd if is_yaml(path) => Ok(Box::new(WebYml::open(path)?)),
            Self::Htpasswd => Ok(Box::new(Htpasswd::open(path)?)),
            Self::Vmauth => Ok(Box::new(Vmauth::open(path)?)),
            Self::VaultUserpass => Ok(Box::new(VaultUserpass::open(path)?)),
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
