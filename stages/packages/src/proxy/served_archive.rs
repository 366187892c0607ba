//! Whom a server answers, and what for: the frozen archive of one stage, or the living one for everybody who may ask.

use std::net::IpAddr;
use std::sync::Arc;

use crate::archive::view::{ArchiveView, Lookup};
use crate::fetch::archive_file::ArchiveFile;
use crate::fetch::shared::Shared;
use crate::proxy::address::Addresses;
use crate::proxy::found::Found;
use crate::proxy::live::{Clients, LiveArchive, Statistics};
use crate::proxy::problem::Problem;
use crate::proxy::target::Target;
use crate::proxy::tunnel::StageTls;

/// What a server serves.
pub(crate) enum ServedArchive {
    /// A frozen archive.
    Stage {
        /// The stage's name, for messages.
        name: String,
        /// What it sees.
        view: Arc<ArchiveView>,
        /// How it knows the archive.
        addresses: Addresses,
        /// Who answers there by https.
        tls: StageTls,
    },
    /// The archive as it is.
    LiveArchive(Arc<LiveArchive>),
}

impl ServedArchive {
    /// The addresses that are served.
    pub(crate) fn addresses(&self) -> &Addresses {
        match self {
            Self::Stage { addresses, .. } => addresses,
            Self::LiveArchive(live) => live.addresses(),
        }
    }

    /// Who answers by https; of the living archive nobody, because its clients believe nobody who could.
    pub(crate) fn tls(&self) -> Option<&StageTls> {
        match self {
            Self::Stage { tls, .. } => Some(tls),
            Self::LiveArchive(_) => None,
        }
    }

    /// Who may ask.
    pub(crate) fn clients(&self) -> &Clients {
        const LOCAL: &Clients = &Clients::local();
        match self {
            Self::Stage { .. } => LOCAL,
            Self::LiveArchive(live) => live.clients(),
        }
    }

    /// What is counted, where anything is shown to people.
    pub(crate) fn statistics(&self) -> Option<&Statistics> {
        match self {
            Self::Stage { .. } => None,
            Self::LiveArchive(live) => Some(live.statistics()),
        }
    }

    /// What a target is. Gets the indices that are needed for an answer.
    pub(crate) async fn find(&self, shared: &Arc<Shared>, target: &Target) -> Result<Found, Problem> {
        match self {
            Self::Stage { view, .. } => frozen(view, shared, target).await.map(Found::File),
            Self::LiveArchive(live) => live.find(shared, target).await,
        }
    }

    /// The words before an error.
    pub(crate) fn complaint(&self, client: IpAddr, address: &str) -> String {
        match self {
            Self::Stage { name, .. } => format!("ibuild: stage `{name}` asked for {address}"),
            Self::LiveArchive(_) => format!("ibuild: {client} asked for {address}"),
        }
    }
}

async fn frozen(
    view: &Arc<ArchiveView>,
    shared: &Arc<Shared>,
    target: &Target,
) -> Result<ArchiveFile, Problem> {
    loop {
        match view.lookup(&target.base, &target.path) {
            Lookup::File(file) => return Ok(file),
            Lookup::Missing(why) => {
                let hint = "`ibuild update` takes up what is new in the archive";
                return Err(Problem::not_found(format_args!("{why} ({hint})")));
            }
            Lookup::Needs(indices) => {
                for index in indices {
                    shared.obtain(&index).await?;
                    let view = view.clone();
                    let loaded = tokio::task::spawn_blocking(move || view.load(&index)).await;
                    loaded.expect("an index is read without a panic")?;
                }
            }
        }
    }
}
