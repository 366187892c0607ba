//! Which parts of files may be continued. A client that keeps a part of a file asks for the rest of it, but the part may be
//! of bytes that went out before they were verified, and were wrong.

use std::collections::HashSet;
use std::net::IpAddr;

use ibuild_cache::Sha256;

/// More than this is forgotten, which costs no more than a file that is sent whole.
const MOST: usize = 100_000;

/// What this process has sent to whom. What another one has sent, before a restart, is not known to have been right.
#[derive(Default)]
pub(crate) struct ResumeGuard {
    sent: HashSet<(IpAddr, Sha256)>,
    tainted: HashSet<Sha256>,
}

impl ResumeGuard {
    /// Bytes of a file that went out were wrong.
    pub(crate) fn taint(&mut self, file: Sha256) {
        self.tainted.insert(file);
    }

    /// A file is sent to a client, or a part of it.
    pub(crate) fn send(&mut self, client: IpAddr, file: Sha256) {
        if self.sent.len() >= MOST {
            self.sent.clear();
        }
        self.sent.insert((client, file));
    }

    /// Whether all that went out of a file was right.
    pub(crate) fn is_right(&self, file: &Sha256) -> bool {
        !self.tainted.contains(file)
    }

    /// Whether a part that a client has of a file can be continued.
    pub(crate) fn may_continue(&self, client: IpAddr, file: Sha256) -> bool {
        self.is_right(&file) && self.sent.contains(&(client, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_and_right_is_continued() {
        let (mut handed_out, file) = (ResumeGuard::default(), Sha256::from_bytes([7; 32]));
        let (one, another): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        assert!(!handed_out.may_continue(one, file));
        handed_out.send(one, file);
        assert!(handed_out.may_continue(one, file) && !handed_out.may_continue(another, file));
        handed_out.taint(file);
        assert!(!handed_out.may_continue(one, file) && !handed_out.is_right(&file));
    }
}
