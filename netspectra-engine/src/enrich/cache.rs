use hashbrown::HashMap;
use netspectra_common::model::Place;
use std::net::IpAddr;

/// Addresses that are kept at most, about 100 bytes each.
const MOST: usize = 65_536;

/// Where addresses are that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct Cache {
    recent: HashMap<IpAddr, Place>,
    /// What was recent before; asked for again it is so once more.
    older: HashMap<IpAddr, Place>,
}

impl Cache {
    pub(super) fn get_or_insert_with(&mut self, address: IpAddr, find: impl FnOnce() -> Place) -> Place {
        if let Some(place) = self.recent.get(&address) {
            return place.clone();
        }
        let place = self.older.remove(&address).unwrap_or_else(find);
        if self.recent.len() >= MOST / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(address, place.clone());
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_often_stays_and_memory_is_bounded() {
        let mut cache = Cache::default();
        let (mut looked_up, often) = (0, IpAddr::from([10, 0, 0, 1]));
        for n in 0..200_000u32 {
            cache.get_or_insert_with(IpAddr::from(n.to_be_bytes()), Place::default);
            cache.get_or_insert_with(often, || {
                looked_up += 1;
                Place { asn: Some(1), ..Place::default() }
            });
            assert!(cache.recent.len() + cache.older.len() <= MOST);
        }
        assert_eq!(looked_up, 1);
    }
}
