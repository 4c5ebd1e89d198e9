//! Questions before deletions, on a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use portcullis::{Deletion, DeletionPreview};

use crate::session::Session;
use crate::table::escape;

/// The option that answers the question in advance.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Delete without a question. There is none without a terminal
    #[arg(long)]
    yes: bool,
}

impl ConfirmArgs {
    /// Asks whether to delete `what`, such as "the org `acme`", and shows how much goes with it.
    ///
    /// # Errors
    ///
    /// When the deletion is not confirmed.
    pub(crate) async fn confirm(
        self,
        session: &Session,
        what: &str,
        deletion: Deletion,
    ) -> anyhow::Result<()> {
        if !self.asks() {
            return Ok(());
        }
        let preview = session.preview_deletion(deletion).await?;
        ask(&question(what, deletion, &preview))
    }

    /// Asks the question, if there is one: whether to delete several records.
    ///
    /// # Errors
    ///
    /// When the deletions are not confirmed.
    pub(crate) fn confirm_deletions(self, question: Option<&str>) -> anyhow::Result<()> {
        match question.filter(|_| self.asks()) {
            Some(question) => ask(question),
            None => Ok(()),
        }
    }

    fn asks(self) -> bool {
        !self.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
    }
}

/// Asks a question that only `y` or `yes` affirms.
fn ask(question: &str) -> anyhow::Result<()> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{} [y/N] ", escape(question))
        .and_then(|()| stderr.flush())
        .context("cannot ask for a confirmation")?;
    let mut reply = String::new();
    io::stdin().lock().read_line(&mut reply).context("cannot read the confirmation")?;
    match reply.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("not confirmed: nothing was deleted"),
    }
}

fn question(what: &str, deletion: Deletion, preview: &DeletionPreview) -> String {
    let mut counts = *preview;
    // The record itself is counted as well.
    let itself = match deletion {
        Deletion::ApiToken(_) => Some(&mut counts.api_tokens),
        Deletion::Authorization(_) => Some(&mut counts.authorizations),
        Deletion::Bucket(_) => Some(&mut counts.buckets),
        Deletion::Dbrp(..) => Some(&mut counts.dbrps),
        _ => None,
    };
    if let Some(count) = itself {
        *count = count.saturating_sub(1);
    }
    let parts: Vec<String> = [
        (counts.authorizations, "authorization"),
        (counts.api_tokens, "API token"),
        (counts.buckets, "bucket"),
        (counts.dbrps, "DBRP mapping"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, noun)| counted(count, noun))
    .collect();
    let mut text = format!("Delete {what}");
    if let Some((last, first)) = parts.split_last() {
        let at_least = if counts.is_complete { "" } else { "at least " };
        let first = if first.is_empty() { String::new() } else { first.join(", ") + " and " };
        text += &format!(" with {at_least}{first}{last}");
    }
    text.push('?');
    if counts.grants > 0 {
        let stay = if counts.grants == 1 { "stays and allows" } else { "stay and allow" };
        text += &format!(
            " {} of other credentials {stay} nothing.",
            counted(counts.grants, "permission")
        );
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use portcullis::store::MemoryStore;
    use portcullis::{Engine, Id, Name};

    use super::*;

    /// [CLI-14]
    #[tokio::test]
    async fn a_question_has_the_numbers_of_what_goes_too() {
        let engine = Engine::builder(MemoryStore::new().unwrap()).build().await.unwrap();
        let org = engine.create_org(Name::new("acme").unwrap()).await.unwrap();
        for name in ["one", "two"] {
            engine.create_bucket(org.id, Name::new(name).unwrap()).await.unwrap();
        }
        let deletion = Deletion::Org(org.id);
        let mut preview = engine.preview_deletion(deletion).await.unwrap();
        let shown = |deletion, preview: &DeletionPreview| question("it", deletion, preview);
        assert_eq!(shown(deletion, &preview), "Delete it with 2 buckets?");
        preview.authorizations = 12;
        preview.dbrps = 1;
        assert_eq!(
            shown(deletion, &preview),
            "Delete it with 12 authorizations, 2 buckets and 1 DBRP mapping?"
        );
        preview.is_complete = false;
        preview.grants = 3;
        let bucket = Deletion::Bucket(Id::from_u64(1).into());
        assert_eq!(
            shown(bucket, &preview),
            "Delete it with at least 12 authorizations, 1 bucket and 1 DBRP mapping? 3 permissions \
             of other credentials stay and allow nothing."
        );
        let mut alone = DeletionPreview::default();
        alone.is_complete = true;
        alone.buckets = 1;
        alone.grants = 1;
        assert_eq!(
            shown(bucket, &alone),
            "Delete it? 1 permission of other credentials stays and allows nothing."
        );
    }
}
