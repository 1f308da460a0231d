//! The rules of garbage collection, from `buildkitd.toml` and the size of the disk.
//!
//! Sources: `cmd/buildkitd/config/{config,gcpolicy,gcpolicy_unix}.go` and `getGCPolicy` of BuildKit v0.32.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Deserializer};

use super::filter::Filter;
use crate::failure::{Explain, Kind};
use crate::units;

/// What BuildKit takes a percentage of when the size of the disk is unknown.
const UNKNOWN_DISK: u64 = 2_000_000_000;
const GB: u64 = 1_000_000_000;

/// The disk a state root lies on, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// All of it.
    pub(crate) total: u64,
    /// What is free, also for root alone.
    pub(crate) free: u64,
}

impl Disk {
    /// The disk a path lies on.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) fn of(path: &Path) -> std::io::Result<Disk> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Disk { total: bytes(found.f_blocks), free: bytes(found.f_bfree) })
    }
}

/// A limit: so many bytes, or a share of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Bytes(u64),
    Percent(u64),
}

impl Space {
    fn parse(text: &str) -> anyhow::Result<Space> {
        match text.strip_suffix('%') {
            Some(percent) => Ok(Space::Percent(percent.parse().with_context(|| format!("invalid share: '{text}'"))?)),
            None => units::size(text).map(Space::Bytes),
        }
    }

    /// In bytes; a share is rounded up to whole GB, which BuildKit counts in GiB.
    fn on(self, disk: Disk) -> u64 {
        match self {
            Space::Bytes(bytes) => bytes,
            Space::Percent(0) => 0,
            Space::Percent(_) if disk.total == 0 => UNKNOWN_DISK,
            Space::Percent(percent) => {
                let share = u128::from(disk.total) * u128::from(percent) / 100;
                u64::try_from((share >> 30) + 1).unwrap_or(u64::MAX).saturating_mul(GB)
            }
        }
    }

    fn at_most(self, bytes: u64, disk: Disk) -> Space {
        if self.on(disk) > bytes { Space::Bytes(bytes) } else { self }
    }
}

impl<'de> Deserialize<'de> for Space {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Space, D::Error> {
        let text = text_or_number(deserializer)?;
        Space::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A time as Go writes it, or whole seconds.
fn keep_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = text_or_number(deserializer)?;
    let read = || {
        if let Ok(seconds) = text.parse::<u64>() {
            return Ok(Duration::from_secs(seconds));
        }
        let span: jiff::SignedDuration = text.parse().with_context(|| format!("invalid duration: '{text}'"))?;
        Ok::<_, anyhow::Error>(Duration::try_from(span)?)
    };
    read().map_err(serde::de::Error::custom)
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("neither a text nor a whole number")),
    }
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    worker: Workers,
}

#[derive(Default, Deserialize)]
struct Workers {
    #[serde(default)]
    oci: Settings,
}

/// `[worker.oci]`; everything else in it is BuildKit's business.
#[derive(Default, Deserialize)]
struct Settings {
    gc: Option<bool>,
    gckeepstorage: Option<Space>,
    #[serde(rename = "reservedSpace")]
    reserved: Option<Space>,
    #[serde(rename = "maxUsedSpace")]
    max_used: Option<Space>,
    #[serde(rename = "minFreeSpace")]
    min_free: Option<Space>,
    #[serde(default)]
    gcpolicy: Vec<RuleSettings>,
}

/// `[[worker.oci.gcpolicy]]`.
#[derive(Default, Deserialize)]
struct RuleSettings {
    #[serde(default)]
    all: bool,
    #[serde(default)]
    filters: Vec<String>,
    #[serde(default, rename = "keepDuration", deserialize_with = "keep_duration")]
    keep_duration: Duration,
    #[serde(rename = "keepBytes")]
    keep_bytes: Option<Space>,
    #[serde(rename = "reservedSpace")]
    reserved: Option<Space>,
    #[serde(rename = "maxUsedSpace")]
    max_used: Option<Space>,
    #[serde(rename = "minFreeSpace")]
    min_free: Option<Space>,
}

/// One rule; sizes in bytes, 0 for "not limited".
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    /// Also what BuildKit made for itself, and frontends.
    pub(crate) all: bool,
    /// What it is about; everything when there is none.
    pub(crate) filters: Vec<Filter>,
    /// What was used since is kept.
    pub(crate) keep_duration: Duration,
    /// The cache is never taken below this.
    pub(crate) reserved: u64,
    /// What the cache may take.
    pub(crate) max_used: u64,
    /// What has to stay free on the disk.
    pub(crate) min_free: u64,
}

/// Which limit decides how much a rule leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// None: everything the rule is about goes.
    None,
    /// `maxUsedSpace`.
    MaxUsed,
    /// `minFreeSpace`.
    MinFree,
    /// `reservedSpace`.
    Reserved,
}

impl Rule {
    /// How many bytes of a cache the rule leaves at least; 0 stands for "everything it is about goes".
    pub(super) fn kept_bytes(&self, total: u64, disk: Disk) -> i128 {
        self.decided(total, disk).1
    }

    /// Which limit decides that.
    pub(crate) fn limit(&self, total: u64, disk: Disk) -> Limit {
        self.decided(total, disk).0
    }

    fn decided(&self, total: u64, disk: Disk) -> (Limit, i128) {
        let [total, max_used, reserved] = [total, self.max_used, self.reserved].map(i128::from);
        let excess = i128::from(self.min_free) - i128::from(disk.free);
        let (limit, keep) = match self {
            Rule { max_used: 0, reserved: 0, min_free: 0, .. } => return (Limit::None, 0),
            Rule { max_used: 0, .. } if excess > 0 => (Limit::MinFree, total - excess),
            Rule { max_used: 0, min_free: 1.., .. } => (Limit::MinFree, total),
            _ if excess > 0 && total - excess < max_used => (Limit::MinFree, total - excess),
            _ => (Limit::MaxUsed, max_used),
        };
        if reserved > keep { (Limit::Reserved, reserved) } else { (limit, keep) }
    }
}

/// What a daemon's garbage collection does.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The rules, in order; none when it collects nothing.
    pub(crate) rules: Vec<Rule>,
    /// Whether they are those of BuildKit, from the limits in `[worker.oci]` or from nothing at all.
    pub(crate) is_default: bool,
}

impl Policy {
    /// The policy of a daemon without a configuration.
    pub(crate) fn default_on(disk: Disk) -> Policy {
        Policy::of(Settings::default(), disk).unwrap_or(Policy { rules: Vec::new(), is_default: true })
    }

    /// The policy a `buildkitd.toml` makes.
    ///
    /// # Errors
    /// Explained: when it cannot be read, is none, or has limits or filters BuildKit would refuse.
    pub(crate) fn of_file(path: &Path, disk: Disk) -> anyhow::Result<Policy> {
        let text = std::fs::read_to_string(path).map_err(anyhow::Error::from);
        text.and_then(|text| Policy::of_toml(&text, disk)).explain(
            Kind::Usage,
            format!("could not use the garbage collection of {}", path.display()),
            "name the buildkitd.toml of the daemon that will use the root with --buildkitd-config",
        )
    }

    /// As [`Policy::of_file`], from the text.
    pub(in crate::inspect) fn of_toml(text: &str, disk: Disk) -> anyhow::Result<Policy> {
        Policy::of(toml::from_str::<Configuration>(text)?.worker.oci, disk)
    }

    fn of(settings: Settings, disk: Disk) -> anyhow::Result<Policy> {
        if settings.gc == Some(false) {
            return Ok(Policy { rules: Vec::new(), is_default: false });
        }
        let is_default = settings.gcpolicy.is_empty();
        let rules = if is_default { default_rules(&settings, disk) } else { settings.gcpolicy };
        let bytes = |space: Option<Space>| space.map_or(0, |space| space.on(disk));
        let rule = |rule: RuleSettings| {
            ensure!(rule.filters.len() < 1000, "more filters than anybody writes");
            Ok(Rule {
                all: rule.all,
                filters: rule.filters.iter().map(|text| Filter::parse(text)).collect::<anyhow::Result<_>>()?,
                keep_duration: rule.keep_duration,
                reserved: bytes(rule.reserved.or(rule.keep_bytes)),
                max_used: bytes(rule.max_used),
                min_free: bytes(rule.min_free),
            })
        };
        Ok(Policy { rules: rules.into_iter().map(rule).collect::<anyhow::Result<_>>()?, is_default })
    }
}

fn default_rules(settings: &Settings, disk: Disk) -> Vec<RuleSettings> {
    // Nothing is what BuildKit calls a limit of 0.
    let given = |limit: Option<Space>| limit.filter(|limit| !matches!(limit, Space::Bytes(0) | Space::Percent(0)));
    let is_unset = |limits: [Option<Space>; 3]| limits.iter().all(Option::is_none);
    let mut limits = [settings.reserved, settings.max_used, settings.min_free].map(given);
    if is_unset(limits) {
        limits[0] = given(settings.gckeepstorage);
    }
    if is_unset(limits) {
        limits = [
            Some(Space::Percent(10).at_most(10 * GB, disk)),
            Some(Space::Percent(80).at_most(100 * GB, disk)),
            Some(Space::Percent(20)),
        ];
    }
    let [reserved, max_used, min_free] = limits;
    let capped = || RuleSettings { reserved, max_used, min_free, ..RuleSettings::default() };
    let day = Duration::from_secs(24 * 60 * 60);
    let easily_made_again = ["type==source.local", "type==exec.cachemount", "type==source.git.checkout"];
    vec![
        RuleSettings {
            filters: easily_made_again.map(str::to_owned).into(),
            keep_duration: 2 * day,
            max_used: Some(Space::Bytes(512_000_000)),
            ..RuleSettings::default()
        },
        RuleSettings { keep_duration: 60 * day, ..capped() },
        capped(),
        RuleSettings { all: true, ..capped() },
    ]
}
