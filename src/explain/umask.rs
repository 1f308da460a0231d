//! Two checkouts of the same files under different umasks: every mode differs, and none of it is anybody's change.

use super::files::Change;
use crate::manifest::Files;

/// The umasks that people and machines have, the usual first; of those that take from others than the owner the rest comes
/// after them.
const USUAL: [u32; 8] = [0o022, 0o000, 0o002, 0o027, 0o007, 0o077, 0o026, 0o006];
/// One entry in so many may have a mode of its own: what a build made beside what git checked out.
const ODD_ONE_IN: usize = 10;

/// The umasks of an old and a new checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Umasks {
    pub(super) old: u32,
    pub(super) new: u32,
}

impl Umasks {
    /// Those that made all of the changes of what a step reads, and nearly all that the directories have.
    pub(super) fn of(changes: &[(String, Change)], old: &[&Files<'_>], new: &[&Files<'_>]) -> Option<Umasks> {
        let modes = changes.iter().map(|(_, change)| match change {
            Change::Mode(old, new) => Some((octal(old)?, octal(new)?)),
            _ => None,
        });
        let modes: Vec<(u32, u32)> = modes.collect::<Option<_>>()?;
        if modes.is_empty() || modes.iter().any(|(old, new)| is_executable(*old) != is_executable(*new)) {
            return None;
        }
        let umask = |side: &dyn Fn(&(u32, u32)) -> u32, files: &[&Files<'_>]| {
            let makes_all = |umask: &u32| modes.iter().all(|pair| makes(*umask, side(pair)));
            candidates().find(makes_all).filter(|umask| is_of_nearly_all(*umask, files))
        };
        let umasks = Umasks { old: umask(&|(old, _)| *old, old)?, new: umask(&|(_, new)| *new, new)? };
        (umasks.old != umasks.new).then_some(umasks)
    }
}

fn candidates() -> impl Iterator<Item = u32> {
    USUAL.into_iter().chain((0..=0o077).filter(|umask| !USUAL.contains(umask)))
}

fn octal(mode: &str) -> Option<u32> {
    u32::from_str_radix(mode, 8).ok()
}

fn is_executable(mode: u32) -> bool {
    mode & 0o100 != 0
}

/// Whether a checkout under a umask gives this mode to anything.
fn makes(umask: u32, mode: u32) -> bool {
    mode == if is_executable(mode) { 0o777 & !umask } else { 0o666 & !umask }
}

fn is_of_nearly_all(umask: u32, files: &[&Files<'_>]) -> bool {
    let entries = files.iter().flat_map(|files| files.iter()).filter(|(_, entry)| matches!(entry.kind, "f" | "d"));
    let (mut all, mut odd) = (0, 0);
    for (_, entry) in entries {
        all += 1;
        odd += usize::from(!octal(entry.mode).is_some_and(|mode| makes(umask, mode)));
    }
    odd * ODD_ONE_IN <= all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::Context;

    fn context(modes: &[&str]) -> Context {
        let entries = modes.iter().enumerate().map(|(number, mode)| format!("f {mode} 1 aa {number}")).collect();
        Context { entries, ..Context::default() }
    }

    fn umasks(old: &[&str], new: &[&str]) -> Option<(u32, u32)> {
        let pairs = old.iter().zip(new).filter(|(old, new)| old != new);
        let changes: Vec<_> =
            pairs.map(|(old, new)| (String::new(), Change::Mode((*old).to_owned(), (*new).to_owned()))).collect();
        let (old, new) = (context(old), context(new));
        let found = Umasks::of(&changes, &[&Files::of(&old)], &[&Files::of(&new)]);
        found.map(|umasks| (umasks.old, umasks.new))
    }

    #[test]
    fn what_two_umasks_made_is_told_from_what_somebody_changed() {
        assert_eq!(umasks(&["0644", "0755"], &["0666", "0777"]), Some((0o022, 0)));
        assert_eq!(umasks(&["0666", "0777"], &["0640", "0750"]), Some((0, 0o027)));
        assert_eq!(umasks(&["0644"], &["0600"]), Some((0o022, 0o077)));
        // A bit that git records, modes that no umask makes, and one file among others.
        assert_eq!(umasks(&["0644", "0644"], &["0755", "0666"]), None);
        assert_eq!(umasks(&["0644", "0444"], &["0666", "0777"]), None);
        assert_eq!(umasks(&["0644", "0644", "0644"], &["0600", "0644", "0644"]), None);
        // One odd file in eleven is left out of account.
        let (mut old, mut new) = (["0644"; 11], ["0666"; 11]);
        (old[3], new[3]) = ("0400", "0400");
        assert_eq!(umasks(&old, &new), Some((0o022, 0)));
        assert_eq!(umasks(&old[..9], &new[..9]), None);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_made_the_modes(old in 0..=0o077_u32, new in 0..=0o077_u32) {
            let modes = |umask: u32| [0o666, 0o777].map(|base| format!("{:04o}", base & !umask));
            let (before, now) = (modes(old), modes(new));
            let found = umasks(&before.each_ref().map(String::as_str), &now.each_ref().map(String::as_str));
            // Under umasks that differ in the bits of programs alone a text has the same mode.
            prop_assert!(before[0] == now[0] || found == Some((old, new)), "{found:?}");
            prop_assert!(before != now || found.is_none());
        }

        #[test]
        fn no_mode_is_too_odd(old in ".{0,6}", new in ".{0,6}") {
            let _ = umasks(&[&old], &[&new]);
        }
    }
}
