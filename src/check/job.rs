//! Everything a check needs to know.

use std::path::PathBuf;
use std::str::FromStr;

use super::UsedBy;
use crate::auth::Keychain;
use crate::targets::Donor;

/// Everything a check needs to know; nothing in it was read from the environment below `cli`.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The state root.
    pub(crate) root: PathBuf,
    /// The manifest of a warm run to hold it against.
    pub(crate) manifest: Option<PathBuf>,
    /// The donors to hold it against.
    pub(crate) donors: Vec<Donor>,
    /// Who logs in where.
    pub(crate) keychain: Keychain,
    /// Whether every byte is read.
    pub(crate) deep: bool,
    /// What is required; a default of everything stands in for what is not named.
    pub(crate) thresholds: Vec<Threshold>,
    /// Whether the report has every record; else only those that a build cannot use as they are.
    pub(crate) every_record: bool,
    /// The daemon that will use the root; the one that is found here when absent.
    pub(crate) used_by: Option<UsedBy>,
    /// The `buildkitd.toml` of the daemon that will use the root; the usual one, if it is there, when absent.
    pub(crate) buildkitd_config: Option<PathBuf>,
}

/// What a threshold is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Of the layers with results, those that are extracted and survive a restart.
    Extracted,
    /// Of the layers with results, those that survive a restart.
    Survives,
    /// Of the layers with results, those that the first garbage collection keeps.
    Kept,
    /// Of the layers with results, those that a build of the daemon that will use the root finds when it imports a cache.
    Reused,
    /// Of the donors' layers, those that are extracted and survive a restart.
    Donor,
    /// Of the manifest's layers, those that are extracted and survive a restart.
    Manifest,
}

impl Subject {
    const ALL: [Subject; 6] =
        [Subject::Extracted, Subject::Survives, Subject::Kept, Subject::Reused, Subject::Donor, Subject::Manifest];

    /// As it is typed and reported.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Extracted => "extracted",
            Subject::Survives => "survives",
            Subject::Kept => "kept",
            Subject::Reused => "reused",
            Subject::Donor => "donor",
            Subject::Manifest => "manifest",
        }
    }
}

/// The least share that counts as warm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    /// Of what.
    pub(crate) subject: Subject,
    /// 0 to 1.
    pub(crate) least: f64,
}

impl FromStr for Threshold {
    type Err = String;

    /// `SUBJECT=SHARE`; a share is `95%` or `0.95`.
    fn from_str(text: &str) -> Result<Threshold, String> {
        let (name, share) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
        let subject = Subject::ALL
            .into_iter()
            .find(|subject| subject.name() == name)
            .ok_or_else(|| format!("`{name}` is not one of {}", Subject::ALL.map(Subject::name).join(", ")))?;
        let (number, whole) = share.strip_suffix('%').map_or((share, 1.0), |percent| (percent, 100.0));
        match number.parse::<f64>() {
            Ok(number) if (0.0..=whole).contains(&number) => Ok(Threshold { subject, least: number / whole }),
            _ => Err(format!("`{share}` is not between 0% and 100%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_threshold_is_a_word_and_a_share() {
        let read = |text: &str| text.parse::<Threshold>();
        assert_eq!(read("extracted=95%"), Ok(Threshold { subject: Subject::Extracted, least: 0.95 }));
        assert_eq!(read("donor=0.5"), Ok(Threshold { subject: Subject::Donor, least: 0.5 }));
        for wrong in ["extracted", "extracted=", "extracted=101%", "extracted=2", "kept=NaN", "kept=-1%", "x=1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            read("warm=1").unwrap_err(),
            "`warm` is not one of extracted, survives, kept, reused, donor, manifest"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,30}") {
            let _ = text.parse::<Threshold>();
        }
    }
}
