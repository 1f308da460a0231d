//! What each BuildKit names, keys, keeps and drops. **Invariant:** nowhere else a version number decides anything;
//! `tests/behavior/eras.rs` holds that.
//!
//! | since | what changed | source in BuildKit |
//! |---|---|---|
//! | v0.33.1 | layers have other names, and those with the older ones are not found by their blobs | `snapshot/snapshotid.go`, `cache/manager.go` |
//! | v0.33.1 | an image has one key, of its digest, and none of its layers | `source/containerimage/pull.go` |
//! | v0.33.1 | what a layer unpacks to is held against its diff id | `cache/refs.go` |
//! | v0.34 | databases have a list of free pages only after a clean stop | `util/db/boltutil/db.go` |
//!
//! A version that nobody can read, and one that is newer than all that were measured, is taken for the newest known: that
//! one reuses least.

use std::fmt;
use std::str::FromStr;

/// The first BuildKit that does not find layers by their blobs if they, or what they stand on, have the older names.
const NEW_LAYER_NAMES: Version = Version { major: 0, minor: 33, patch: 1 };
/// The first one that knows an image by its digest alone.
const ONE_KEY_OF_IMAGES: Version = NEW_LAYER_NAMES;
/// The first one whose databases tell how the last daemon stopped.
const FREELIST_AT_STOP: Version = Version { major: 0, minor: 34, patch: 0 };
/// The newest one whose ways were measured.
pub(crate) const NEWEST_KNOWN: Version = Version { major: 0, minor: 34, patch: 2 };
/// What newer names of layers begin with.
const NEW_NAME: &str = "buildkit-layer-snapshot-v1-";

/// A release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ();

    /// `v0.34.2`, `0.34`, and what stands behind such a number: `v0.35.0-rc1`, `v0.12.5+azure`.
    fn from_str(text: &str) -> Result<Version, ()> {
        let number = text.trim().trim_start_matches('v');
        let end = number.find(['-', '+', '~']).unwrap_or(number.len());
        let parts: Vec<u32> = number[..end].split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| ())?;
        match parts[..] {
            // What was built without being told its version says this.
            [0, 0, 0] => Err(()),
            [major, minor] => Ok(Version { major, minor, patch: 0 }),
            [major, minor, patch] => Ok(Version { major, minor, patch }),
            _ => Err(()),
        }
    }
}

/// What a BuildKit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Era(Version);

impl Era {
    /// Of a daemon that says this of its version.
    pub(crate) fn of(version: &str) -> Era {
        Era(version.parse().unwrap_or(NEWEST_KNOWN))
    }

    /// Whether it finds a layer by its blob though it, or what it stands on, has the older name. Results in `cache.db` lead
    /// every BuildKit to such a layer.
    pub(crate) fn finds_legacy_layers(self) -> bool {
        self.0 < NEW_LAYER_NAMES
    }

    /// Whether it finds what was built on an image when that was pushed again with the same layers.
    pub(crate) fn knows_images_by_layers(self) -> bool {
        self.0 < ONE_KEY_OF_IMAGES
    }

    /// Whether it holds what a layer unpacks to against the layer's diff id.
    pub(crate) fn compares_diff_ids(self) -> bool {
        self.0 >= NEW_LAYER_NAMES
    }

    /// Whether it is newer than all that were measured.
    pub(crate) fn is_beyond_knowledge(self) -> bool {
        (self.0.major, self.0.minor) > (NEWEST_KNOWN.major, NEWEST_KNOWN.minor)
    }
}

/// Whether a layer has a name that newer daemons do not find by its blob: the one that follows from its chain id alone.
pub(crate) fn is_legacy_name(snapshot: &str, chain_id: &str) -> bool {
    !chain_id.is_empty() && snapshot == chain_id
}

/// Who wrote a root, as far as its databases tell.
pub(crate) fn writers(traces: Traces) -> Vec<String> {
    let mut writers = Vec::new();
    if traces.legacy_names {
        writers.push(format!("one before {NEW_LAYER_NAMES}"));
    }
    match (traces.freelist_left_out, traces.new_names) {
        (true, _) => writers.push(format!("{FREELIST_AT_STOP} or later")),
        (false, true) => writers.push(format!("{NEW_LAYER_NAMES} or later")),
        (false, false) => {}
    }
    writers
}

/// What different BuildKits left in a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Layers with the older names.
    pub(crate) legacy_names: bool,
    /// Layers with the newer names, or with identities.
    pub(crate) new_names: bool,
    /// A database that some transaction left without a list of free pages.
    pub(crate) freelist_left_out: bool,
}

/// Whether a snapshot has a newer name of a layer.
pub(crate) fn is_new_name(snapshot: &str) -> bool {
    snapshot.starts_with(NEW_NAME)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_version_is_read_as_buildkit_and_people_write_it() {
        let version = |major, minor, patch| Ok(Version { major, minor, patch });
        assert_eq!("v0.34.2".parse(), version(0, 34, 2));
        assert_eq!("0.33".parse(), version(0, 33, 0));
        assert_eq!("v0.35.0-rc1".parse(), version(0, 35, 0));
        assert_eq!("v0.12.5+azure".parse(), version(0, 12, 5));
        for wrong in ["", "v0.0.0+unknown", "4b1a3c2", "v1", "v0.34.x", "0.1.2.3", "v0.99999999999"] {
            assert_eq!(wrong.parse::<Version>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn the_security_release_parts_the_eras_and_what_is_unknown_reuses_least() {
        for (version, finds) in
            [("v0.20.2", true), ("v0.33.0", true), ("v0.33.1", false), ("v0.40", false), ("?", false)]
        {
            assert_eq!(Era::of(version).finds_legacy_layers(), finds, "{version}");
            assert_eq!(Era::of(version).compares_diff_ids(), !finds, "{version}");
        }
        assert!(Era::of("v0.35.0").is_beyond_knowledge() && !Era::of("v0.34.9").is_beyond_knowledge());
    }

    #[test]
    fn a_name_tells_its_era() {
        let chain = "sha256:34a8ffc6";
        assert!(is_legacy_name(chain, chain) && !is_legacy_name("", "") && !is_legacy_name("k3j", chain));
        assert!(is_new_name("buildkit-layer-snapshot-v1-sha256-34a8ffc6") && !is_new_name(chain));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,30}") {
            let _ = Era::of(&text);
        }
    }
}
