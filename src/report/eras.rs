//! What is said of a root that one BuildKit wrote and another one uses.

use super::words::{bytes, count};

/// What a BuildKit unpacks again, for lack of finding it.
pub(crate) fn unpacked_again(name: &str, layers: usize, size: u64) -> String {
    let (layers, size) = (count(layers, "layer"), bytes(size));
    format!("{name} unpacks {layers} of an older BuildKit again, {size}, as builds with --cache-from come to use them")
}

/// Says so where another version was asked than the one that uses the root.
pub(crate) fn other_version(uses: &str, asked: &str) -> Option<String> {
    let differ = !uses.is_empty() && !asked.is_empty() && uses != asked;
    differ.then(|| format!("BuildKit {asked} was asked, on a shadow of the root that BuildKit {uses} uses"))
}
