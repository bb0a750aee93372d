use netspectra_common::abi::{EventKind, PREFIX_LEN, PrefixEvent};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// A record of the ring buffer.
///
/// A record of the right size is an event, whatever is in it, and has the same bytes again.
pub fn event(data: &[u8]) {
    let Ok((event, _)) = PrefixEvent::read_from_prefix(data) else {
        assert!(data.len() < size_of::<PrefixEvent>());
        return;
    };
    assert_eq!(Some(event.as_bytes()), data.get(..size_of::<PrefixEvent>()));
    let _ = EventKind::from_raw(event.kind);
    let len = usize::from(event.prefix_len).min(PREFIX_LEN);
    assert!(event.prefix.get(..len).is_some());
}
