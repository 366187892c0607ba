//! What a proxy has done since it was started, as numbers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::proxy::access_record::{AccessObserver, AccessRecord, CacheStatus, Sent};
use crate::{FetchEnd, FetchObserver};
use ibuild_debian::Timestamp;

/// So many problems are remembered.
const PROBLEMS: usize = 20;

/// Counts what clients ask and what mirrors send.
#[derive(Default)]
pub struct Statistics {
    verdicts: [Count; CacheStatus::WORDS.len()],
    fetched: AtomicU64,
    failed: AtomicU64,
    downloads: AtomicU64,
    connections: AtomicU64,
    problems: Mutex<VecDeque<Noted>>,
}

/// The answers of one kind.
#[derive(Default)]
struct Count {
    requests: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
}

/// Something that went wrong.
#[derive(Clone)]
pub(crate) struct Noted {
    pub time: Timestamp,
    pub address: String,
    pub problem: String,
}

/// A count at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    pub word: &'static str,
    pub requests: u64,
    pub bytes: u64,
    pub micros: u64,
}

impl Statistics {
    /// The answers of each kind of verdict.
    pub(crate) fn totals(&self) -> impl Iterator<Item = Total> {
        self.verdicts.iter().zip(CacheStatus::WORDS).map(|(count, word)| Total {
            word,
            requests: read(&count.requests),
            bytes: read(&count.bytes),
            micros: read(&count.micros),
        })
    }

    /// Bytes that mirrors have sent for the store.
    pub(crate) fn fetched(&self) -> u64 {
        read(&self.fetched)
    }

    /// Downloads that failed.
    pub(crate) fn failed(&self) -> u64 {
        read(&self.failed)
    }

    /// Downloads that run now.
    pub(crate) fn downloads(&self) -> u64 {
        read(&self.downloads)
    }

    /// Clients that are connected now.
    pub(crate) fn connections(&self) -> u64 {
        read(&self.connections)
    }

    /// What went wrong last, the latest first.
    pub(crate) fn problems(&self) -> Vec<Noted> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    fn note(&self, address: &str, problem: &str) {
        let time = Timestamp::now();
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.push_back(Noted { time, address: address.to_owned(), problem: problem.to_owned() });
        let surplus = problems.len().saturating_sub(PROBLEMS);
        problems.drain(..surplus);
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl AccessObserver for Statistics {
    fn connected(&self) {
        add(&self.connections, 1);
    }

    fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn answered(&self, exchange: &AccessRecord) {
        if let Some(problem) = &exchange.problem {
            self.note(&exchange.address, problem);
        }
    }

    fn finished(&self, exchange: &AccessRecord, sent: &Sent) {
        let count = &self.verdicts[exchange.verdict.kind()];
        add(&count.requests, 1);
        add(&count.bytes, sent.bytes);
        add(&count.micros, u64::try_from(sent.elapsed.as_micros()).unwrap_or(u64::MAX));
    }
}

impl FetchObserver for Statistics {
    fn started(&self, _: &str) {
        add(&self.downloads, 1);
    }

    fn received(&self, _: &str, bytes: u64) {
        add(&self.fetched, bytes);
    }

    fn finished(&self, _: &str, end: FetchEnd) {
        self.downloads.fetch_sub(1, Ordering::Relaxed);
        add(&self.failed, u64::from(end == FetchEnd::Failed));
    }
}
