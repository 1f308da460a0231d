//! Whose a container is that we made: a label says which process made it, so that what a killed run left is known.

use std::fs;

/// The label of a container that goes with the run that made it.
pub(super) const LABEL: &str = "cachewarm.owner";

/// Who made a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This process of this machine, which is still there.
    Alive(u32),
    /// A process that is gone.
    Gone,
    /// A process of another machine, boot or container, or nobody we can tell.
    Unknown,
}

/// What the label says of a container of ours: where we are, process, and when that began.
pub(super) fn ourselves() -> String {
    let id = std::process::id();
    format!("{}/{id}/{}", place(), began(id).unwrap_or_default())
}

/// Who wrote a label.
pub(super) fn of(label: &str) -> Owner {
    let mut parts = label.split('/');
    let (Some(machine), Some(Ok(id)), Some(began_at)) =
        (parts.next(), parts.next().map(str::parse::<u32>), parts.next())
    else {
        return Owner::Unknown;
    };
    match began(id) {
        _ if machine != place() => Owner::Unknown,
        Some(began) if began == began_at => Owner::Alive(id),
        _ => Owner::Gone,
    }
}

/// Where the numbers of processes mean something: this boot of this machine, and our namespace of them.
fn place() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}+{}", boot.trim(), namespace.display())
}

/// When a process began, in clock ticks since boot: `starttime` of proc(5), the twentieth field after the name.
fn began(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_containers_and_those_of_the_dead() {
        let label = ourselves();
        assert_eq!(of(&label), Owner::Alive(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = child.id();
        child.wait().unwrap();
        assert_eq!(of(&format!("{}/{id}/1", place())), Owner::Gone);
        // The number of a process is given again.
        assert_eq!(of(&format!("{}/{}/1", place(), std::process::id())), Owner::Gone);
        assert_eq!(of("elsewhere/1/1"), Owner::Unknown);
        assert_eq!((of(""), of("a/b/c")), (Owner::Unknown, Owner::Unknown));
    }
}
