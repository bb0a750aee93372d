use netspectra_common::sketch::{Hll, Quantiles, TopK};

/// Bytes of a stored sketch; the first byte picks the kind.
///
/// What is accepted has the same bytes again, and can be merged and asked.
pub fn sketch(data: &[u8]) {
    let Some((pick, bytes)) = data.split_first() else { return };
    match pick % 3 {
        0 => {
            let Ok(mut hll) = Hll::from_bytes(bytes) else { return };
            let other = hll.clone();
            hll.merge(&other);
            assert_eq!(hll.to_bytes(), other.to_bytes(), "a union with itself changes nothing");
            let e = hll.estimate();
            assert!(e.low <= e.estimate && e.estimate <= e.high, "{e:?}");
        }
        1 => {
            let Ok(mut top) = TopK::from_bytes(bytes) else { return };
            let again = TopK::from_bytes(&top.to_bytes());
            assert_eq!(again.as_ref().ok(), Some(&top));
            top.merge(&top.clone());
            let _ = top.top(10);
        }
        _ => {
            let Ok(mut quantiles) = Quantiles::from_bytes(bytes) else { return };
            let again = Quantiles::from_bytes(&quantiles.to_bytes());
            assert_eq!(again.as_ref().ok(), Some(&quantiles));
            quantiles.merge(&quantiles.clone());
            let _ = quantiles.quantile(0.99);
        }
    }
}
