//! The name of an instance: what it left in the kernel belongs to the data that it wrote.

use std::path::Path;

/// The node's name and a hash of the data folder's path, which is held by one process at a time.
pub(crate) fn name(node: &str, data_dir: &Path) -> String {
    let path = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    // FNV-1a: the name is the same in every build.
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{node}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_folder_is_another_instance_and_the_same_one_by_another_path_is_not() {
        assert_eq!(name("n", Path::new("/tmp")), name("n", Path::new("/tmp/../tmp")));
        assert_ne!(name("n", Path::new("/tmp")), name("n", Path::new("/usr")));
        assert_ne!(name("n", Path::new("/tmp")), name("m", Path::new("/tmp")));
    }
}
