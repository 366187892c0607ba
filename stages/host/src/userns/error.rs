//! Why an ordinary user cannot build here, and what to do about it.

use std::io;

use super::host::Obstacle;
use super::subid::SubidRange;

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    /// A tool that writes mappings is not there, or has no right to.
    #[error("`{name}` {problem}")]
    Tool {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The user has no ids to hand out, or too few.
    #[error("`{file}` gives the user `{user}` no range of at least 65535 ids")]
    NoRange {
        /// Of `/etc/subuid` and `/etc/subgid` the first that lacks it.
        file: &'static str,
        /// Who.
        user: String,
        /// What the user could get.
        uids: SubidRange,
        /// The same for groups.
        gids: SubidRange,
    },
    /// The kernel refuses.
    #[error("the kernel refuses a user namespace")]
    Refused {
        /// A setting that forbids it.
        obstacle: Option<Obstacle>,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// The ids could not be set.
    #[error("cannot set the ids of a user namespace: {0}")]
    Mapping(String),
    /// The namespace does not allow what it is for.
    #[error("cannot {act} in a user namespace")]
    Powerless {
        /// What, as a verb.
        act: &'static str,
        /// A setting that forbids it.
        obstacle: Option<Obstacle>,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

impl UserNamespaceError {
    /// What to do: a command for root, where there is one.
    pub fn hint(&self) -> String {
        match self {
            Self::Tool { .. } => "apt-get install uidmap".to_owned(),
            Self::NoRange { user, uids, gids, .. } => {
                let span =
                    |range: &SubidRange| format!("{}-{}", range.start, range.start + (range.count - 1));
                format!("usermod --add-subuids {} --add-subgids {} {user}", span(uids), span(gids))
            }
            Self::Refused { obstacle: Some(obstacle), .. }
            | Self::Powerless { obstacle: Some(obstacle), .. } => obstacle.remedy().to_owned(),
            Self::Mapping(_) => "apt-get install --reinstall uidmap".to_owned(),
            Self::Powerless { act: MOUNT, .. } => {
                "keep the store on ext4, xfs, btrfs or tmpfs: pass `--cache-dir DIR`".to_owned()
            }
            Self::Refused { .. } | Self::Powerless { .. } => {
                "in a container: let it make user namespaces; else run ibuild with `sudo`".to_owned()
            }
        }
    }
}

/// What mounting an overlay is called in an error, because its remedy is another one.
pub(super) const MOUNT: &str = "mount an overlay";
