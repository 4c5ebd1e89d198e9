//! `portcullis login`, `logout` and `profiles`: servers with their API tokens.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, bail};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Record, Shown};
use crate::profiles::{self, Profile, ProfileName};
use crate::remote::{Client, Connection};
use crate::runtime::block_on;
use crate::server_args::{ServerArgs, TOKEN_VARIABLE, token_of};

#[derive(clap::Args)]
#[command(after_help = "\
The API token is read from a prompt, unless it comes from --token-file or the variable
PORTCULLIS_TOKEN. The server must accept it. Url and token are stored in the configuration
directory, $XDG_CONFIG_HOME/portcullis or ~/.config/portcullis, readable by their owner alone.

Examples:
  portcullis login --url https://portcullis.example.com:8087
  portcullis login --profile eu --url https://eu.example.com:8087 --token-file eu.token
  portcullis --profile eu org list")]
pub(crate) struct LoginArgs {}

#[derive(clap::Args)]
#[command(after_help = "\
The API token itself remains valid: `portcullis token revoke` ends it.")]
pub(crate) struct LogoutArgs {}

#[derive(clap::Args)]
pub(crate) struct ProfilesArgs {}

/// A profile, without its token.
#[derive(Serialize)]
struct ProfileView {
    profile: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl Record for ProfileView {
    const COLUMNS: &'static [&'static str] = &["profile", "url"];

    fn cells(&self) -> Vec<String> {
        vec![self.profile.clone(), self.url.clone()]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = vec![("profile", self.profile.clone()), ("url", self.url.clone())];
        details.extend(self.user.clone().map(|user| ("user", user)));
        details
    }
}

pub(crate) fn login(server: &ServerArgs, context: Context) -> anyhow::Result<Outcome> {
    let name = server.profile_name();
    let address = server.address()?;
    let (ca_file, ca) = server.ca()?;
    let allow_http = server.allow_http();
    if address.is_exposed() && !allow_http {
        bail!(
            "the API token would be sent to {address} without TLS, where others can read it: give an \
             https URL, or allow it with --allow-http"
        );
    }
    let token = match server.token()? {
        Some(token) => token,
        None if io::stdin().is_terminal() => {
            let text = rpassword::prompt_password(format!("API token for {address}: "));
            let text = Zeroizing::new(text.context("cannot prompt for the API token")?);
            token_of(text.as_bytes())?
        }
        None => bail!(
            "there is no API token, and no terminal to prompt for it: give --token-file FILE or \
             {TOKEN_VARIABLE}"
        ),
    };
    let connection = Connection { address: address.clone(), token: token.clone(), ca, allow_http };
    let me = block_on(async { Ok(Client::new(connection)?.me().await?) })?;
    let profile = Profile { url: address.to_string(), ca_file, allow_http, token };
    profile.store(&name)?;
    let url = profile.url.clone();
    let view = ProfileView { profile: name.to_string(), url, user: Some(me.name.to_string()) };
    context.output.records(&Shown::One(view))?;
    Ok(Outcome::Done)
}

pub(crate) fn logout(server: &ServerArgs, context: Context) -> anyhow::Result<Outcome> {
    let name = server.profile_name();
    let view = match Profile::read(&name) {
        Ok(profile) => view(&name, profile.url),
        // What cannot be read is removed as well.
        Err(_) => view(&name, String::new()),
    };
    Profile::remove(&name)?;
    context.output.records(&Shown::One(view))?;
    Ok(Outcome::Done)
}

pub(crate) fn profiles(context: Context) -> anyhow::Result<Outcome> {
    let mut views = Vec::new();
    for name in profiles::names()? {
        let profile = Profile::read(&name)?;
        views.push(view(&name, profile.url));
    }
    context.output.records(&Shown::Many(views))?;
    Ok(Outcome::Done)
}

fn view(name: &ProfileName, url: String) -> ProfileView {
    ProfileView { profile: name.to_string(), url, user: None }
}
