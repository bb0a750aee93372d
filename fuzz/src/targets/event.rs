use netspectra_common::abi::{EventHead, EventKind, PREFIX_LEN};
use zerocopy::IntoBytes as _;

/// A record of the ring buffer.
///
/// What is split off has the same bytes again, and is within its bounds; what is not is too short or says too much.
pub fn event(data: &[u8]) {
    let Some((head, prefix)) = EventHead::split(data) else {
        let stated = data.get(64..66).and_then(|b| b.first_chunk()).map(|b| usize::from(u16::from_ne_bytes(*b)));
        assert!(stated.is_none_or(|len| len > PREFIX_LEN || data.len() < size_of::<EventHead>() + len));
        return;
    };
    assert_eq!(Some(head.as_bytes()), data.get(..size_of::<EventHead>()));
    assert_eq!(prefix.len(), usize::from(head.prefix_len));
    let _ = EventKind::from_raw(head.kind);
}
