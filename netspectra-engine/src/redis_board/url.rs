//! Which kind of Redis a URL means, and whom its clients trust.

use crate::tls;
use redis::TlsCertificates;
use std::path::{Path, PathBuf};

/// A URL that names no Redis.
#[derive(Debug, thiserror::Error)]
pub enum BoardUrlError {
    /// Not one of the known kinds.
    #[error(
        "`{scheme}` is no kind of Redis: expected `redis://host`, `rediss://host`, `redis+cluster://host,host`, or \
         `redis+sentinel://host,host/service`"
    )]
    Kind {
        /// What is before `://`. The rest may hold a password.
        scheme: String,
    },
    /// A sentinel watches several services.
    #[error("a `redis+sentinel` URL names the service as its path: `redis+sentinel://host:26379/service`")]
    Service,
    /// The file of authorities is of no use.
    #[error("`cluster.redis_ca_file` is `{}`, expected a PEM file with certificates of authorities: {why}", .file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing to trust without TLS.
    #[error(
        "`cluster.redis_ca_file` is for `rediss`, `rediss+cluster` and `rediss+sentinel` URLs: leave it out, or change the URL"
    )]
    Plain,
    /// The client does not take it.
    #[error("the Redis URL is not valid: check host, port and database")]
    Refused(#[source] redis::RedisError),
}

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One server, with or without TLS.
    Server(String),
    /// Some nodes of a cluster; they know the others.
    Cluster(Vec<String>),
    /// Sentinels, and the name of the service whose master is meant.
    Sentinel(Vec<String>, String),
}

/// `rediss+cluster` and `rediss+sentinel` are those with TLS. User and password before `@` are for every host.
pub(super) fn target(url: &str) -> Result<Target, BoardUrlError> {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let kind = || BoardUrlError::Kind { scheme: scheme.chars().take(32).collect() };
    let (plain, what) = match scheme.split_once('+') {
        Some((plain, what)) => (plain, Some(what)),
        None => (scheme, None),
    };
    if !matches!(plain, "redis" | "rediss") || rest.is_empty() {
        return Err(kind());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let each = || hosts.split(',').map(|host| format!("{plain}://{user}{host}")).collect();
    match what {
        None => Ok(Target::Server(url.to_owned())),
        Some("cluster") => Ok(Target::Cluster(each())),
        Some("sentinel") if path.is_empty() => Err(BoardUrlError::Service),
        Some("sentinel") => Ok(Target::Sentinel(each(), path.to_owned())),
        Some(_) => Err(kind()),
    }
}

/// Those in `file` in place of the public authorities.
pub(super) fn authorities(url: &str, file: Option<&Path>) -> Result<Option<TlsCertificates>, BoardUrlError> {
    let Some(file) = file else { return Ok(None) };
    if !url.starts_with("rediss") {
        return Err(BoardUrlError::Plain);
    }
    let refused = |why| BoardUrlError::Authorities { file: file.to_owned(), why };
    tls::certificates(file).map_err(refused)?;
    let pem = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_kind_is_told() {
        let server = Target::Server("rediss://u:p@h:1/2".into());
        assert_eq!(target("rediss://u:p@h:1/2").unwrap(), server);
        let cluster = Target::Cluster(vec!["redis://:p@a:1".into(), "redis://:p@b".into()]);
        assert_eq!(target("redis+cluster://:p@a:1,b").unwrap(), cluster);
        let sentinel = Target::Sentinel(vec!["rediss://a:26379".into()], "main".into());
        assert_eq!(target("rediss+sentinel://a:26379/main").unwrap(), sentinel);
    }

    #[test]
    fn authorities_are_a_file_with_certificates_and_for_tls_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let said = |url: &str| authorities(url, Some(&file)).unwrap_err().to_string();
        assert!(said("rediss://h").contains("ca.pem`, expected a PEM file"), "{}", said("rediss://h"));
        std::fs::write(&file, "nothing").unwrap();
        assert!(said("rediss+cluster://h").ends_with("there is no certificate in it"));
        assert!(said("redis://h").starts_with("`cluster.redis_ca_file` is for `rediss`"));
        assert!(authorities("redis://h", None).unwrap().is_none());
    }

    #[test]
    fn what_is_refused_shows_no_password() {
        for url in ["http://u:secret@h", "redis+x://u:secret@h", "redis", "redis://", "redis+sentinel://:secret@h"] {
            let error = target(url).unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("redis+sentinel"), "{error}");
        }
    }
}
