//! Who has a connection to the proxy: one client is not to keep out all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients at a time; more have to wait. Each takes a descriptor, and its file another.
pub(crate) const ALL: usize = 400;

/// Those who are told why they are not served, at a time. It takes a moment only, and who finds all of these taken is told
/// nothing.
const ASIDE: usize = 16;

/// The places for connections.
pub(crate) struct Seats {
    all: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    taken: Taken,
    most_of_an_address: usize,
}

type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A place for somebody. Dropped, it is free again.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// A client's place.
pub(crate) struct Seat {
    _room: Room,
    client: IpAddr,
    taken: Taken,
}

impl Seats {
    /// So many, of which one address may have a part.
    pub(crate) fn new(most_of_an_address: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL)),
            aside: Arc::new(Semaphore::new(ASIDE)),
            taken: Taken::default(),
            most_of_an_address,
        }
    }

    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) -> Room {
        Room { _permit: self.all.clone().acquire_owned().await.expect("the semaphore is never closed") }
    }

    /// Gives a client the room, unless it has as much as an address may have.
    pub(crate) fn take(&self, room: Room, client: IpAddr) -> Option<Seat> {
        let client = client.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= self.most_of_an_address {
            return None;
        }
        *count += 1;
        Some(Seat { _room: room, client, taken: self.taken.clone() })
    }

    /// Where somebody is told why there is no seat, if there is room for that.
    pub(crate) fn aside(&self) -> Option<Room> {
        self.aside.clone().try_acquire_owned().ok().map(|permit| Room { _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_part_and_gets_it_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seats = Seats::new(2);
        let room = || runtime.block_on(seats.room());
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = seats.take(room(), one).unwrap();
        // The same client, to a listener for both families.
        let mapped = seats.take(room(), "::ffff:192.0.2.1".parse().unwrap());
        assert!(mapped.is_some());
        assert!(seats.take(room(), one).is_none());
        assert!(seats.take(room(), other).is_some());
        assert_eq!(seats.all.available_permits(), ALL - 2, "who got no seat has kept its room");
        drop((first, mapped));
        assert!(seats.take(room(), one).is_some());
        assert!(seats.taken.lock().unwrap().is_empty(), "an address is remembered for good");
    }

    #[test]
    fn few_are_told_why_at_a_time() {
        let seats = Seats::new(1);
        let told: Vec<_> = (0..ASIDE).map(|_| seats.aside().unwrap()).collect();
        assert!(seats.aside().is_none());
        drop(told);
        assert!(seats.aside().is_some());
    }
}
