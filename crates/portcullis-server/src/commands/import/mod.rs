//! `portcullis import`.

mod foreign;
mod report;
mod snapshot;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use portcullis_import::{Admins, Format, Options};

use crate::context::Context;
use crate::failure::Outcome;

#[derive(clap::Args)]
#[command(after_help = "\
Every record is imported, or none. The store is created if there is none. A record that is there
already and equal is not changed, so that an import can be run again.

Without --from, the file is a snapshot, and standard error names each line that is refused. With
--from, it is a file of another program, and the report says what becomes of each user, grant,
API token and database. If any is skipped, nothing is imported unless --allow-skipped is given.

Examples:
  portcullis import --dry-run snapshot.jsonl
  portcullis export --store sqlite:old.db | portcullis import --store sqlite:new.db -
  portcullis import --from influxdb-1x --org acme --user ada --dry-run /var/lib/influxdb/meta/meta.db
  portcullis import --from influxdb-2x --dry-run /var/lib/influxdb/influxd.bolt
  portcullis import --from htpasswd --org acme --user ada --write-bucket telemetry /etc/nginx/users")]
pub(crate) struct Args {
    /// The snapshot (- is standard input), or the file of another program
    file: PathBuf,

    /// Check everything and import nothing
    #[arg(long)]
    dry_run: bool,

    /// The format of the file, if it is not a snapshot
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    from: Option<Format>,

    /// The org of what has none in the file, by name or id. It is created if there is none of the name
    #[arg(long, value_name = "ORG", requires = "from")]
    org: Option<String>,

    /// The user to which credentials belong that have none in the file, by name or id. It is created if
    /// there is none of the name
    #[arg(long, value_name = "USER", requires = "from")]
    user: Option<String>,

    /// What becomes of administrators: a new operator token, read and write on all buckets of the org, or
    /// nothing. Required if there are any
    #[arg(long, value_name = "CHOICE", requires = "from", value_parser = admins())]
    admins: Option<Admins>,

    /// A bucket of the org that the credentials of a format without permissions may read, by name or id;
    /// repeatable. It is created if there is none of the name
    #[arg(long, value_name = "BUCKET", requires = "from")]
    read_bucket: Vec<String>,

    /// The same for writing
    #[arg(long, value_name = "BUCKET", requires = "from")]
    write_bucket: Vec<String>,

    /// Import although something is skipped
    #[arg(long, requires = "from")]
    allow_skipped: bool,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    let names = Format::ALL.iter().map(|format| format.as_str());
    PossibleValuesParser::new(names).try_map(|name| {
        let found = Format::ALL.iter().find(|format| format.as_str() == name);
        found.copied().ok_or("not a format")
    })
}

fn admins() -> impl TypedValueParser<Value = Admins> {
    PossibleValuesParser::new(Admins::ALL.map(Admins::as_str))
        .try_map(|name| name.parse::<Admins>())
}

pub(crate) fn run(args: Args, context: Context) -> anyhow::Result<Outcome> {
    let Args { file, dry_run, from, org, user, admins, read_bucket, write_bucket, allow_skipped } =
        args;
    match from {
        None => snapshot::run(&file, dry_run, context),
        Some(format) => {
            let mut options = Options::default();
            options.org = org;
            options.user = user;
            options.admins = admins;
            options.read_buckets = read_bucket;
            options.write_buckets = write_bucket;
            let decisions = foreign::Decisions { options, allow_skipped, dry_run };
            foreign::run(format, &file, decisions, context)
        }
    }
}
