//! Pods by the API server of Kubernetes, or by a kubelet, over HTTPS.

use super::pods::{KubernetesConfig, PodList, PodsError};
use crate::tls;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use netspectra_common::model::Pod;
use netspectra_common::report::chain;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Pods on a page.
const PAGE: usize = 500;
/// Pages of one list.
const PAGES: usize = 400;
/// Bytes of a page, or of a kubelet's list.
const LARGEST: usize = 64 << 20;
/// For one page.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that has a list of pods.
pub(super) struct Server {
    config: KubernetesConfig,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: String,
    /// The address is that of a list, not of an API server.
    is_whole: bool,
}

impl Server {
    /// Reads the authority's certificate; connects when it is asked.
    ///
    /// # Errors
    /// A key of the configuration, or the certificate.
    pub(super) fn new(config: &KubernetesConfig) -> Result<Self, PodsError> {
        let url = match &config.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => in_cluster().ok_or(PodsError::NoServer)?,
        };
        let refused =
            || PodsError::Config { key: "url", found: url.clone(), expected: "an address such as `https://host:6443`" };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let ca_file = uri.scheme_str().is_some_and(|scheme| scheme == "https").then_some(&*config.ca_file);
        let connector = tls::connector(ca_file);
        let connector = connector.map_err(|why| PodsError::Authority { path: config.ca_file.clone(), why })?;
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        let is_whole = !uri.path().trim_end_matches('/').is_empty();
        Ok(Self { config: config.clone(), client, url, is_whole })
    }

    /// The pods that it lists, by address.
    ///
    /// # Errors
    /// The server's, in words; nothing of a list that is not whole.
    pub(super) async fn pods(&self) -> Result<Vec<(IpAddr, Arc<Pod>)>, PodsError> {
        if self.is_whole {
            return Ok(self.page(&self.url).await?.addresses().collect());
        }
        let of_node =
            self.config.node.as_ref().map_or_else(String::new, |node| {
                format!("&fieldSelector={}", encoded(&format!("spec.nodeName={node}")))
            });
        let (mut all, mut next) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let page = self.page(&format!("{}/api/v1/pods?limit={PAGE}{of_node}{next}", self.url)).await?;
            let follows = page.metadata.next.clone().filter(|token| !token.is_empty());
            all.extend(page.addresses());
            match follows {
                Some(token) => next = format!("&continue={}", encoded(&token)),
                None => return Ok(all),
            }
        }
        Err(self.failed(format!("has more than {PAGES} pages of pods: name a `node`")))
    }

    async fn page(&self, url: &str) -> Result<PodList, PodsError> {
        let body = tokio::time::timeout(PATIENCE, self.read(url));
        let body = body.await.map_err(|_| self.failed(format!("gave no answer within {} s", PATIENCE.as_secs())))??;
        PodList::parse(&body, &self.url)
    }

    async fn read(&self, url: &str) -> Result<Bytes, PodsError> {
        let mut request =
            Request::get(url).body(Empty::new()).map_err(|error| self.failed(format!("is no address: {error}")))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Tokens are given anew while this runs.
        match std::fs::read_to_string(&self.config.token_file) {
            Ok(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
                    self.failed(format!("needs a token: `{}` has none", self.config.token_file.display()))
                })?;
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            // A list that is open to everybody.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(PodsError::File { path: self.config.token_file.clone(), source }),
        }
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| self.failed(format!("does not answer: {}", chain(&error))))?;
        let status = answer.status();
        if !status.is_success() {
            let hint = match status.as_u16() {
                401 => ": the token is not good, see `token_file`",
                403 => ": the service account needs the right to list pods",
                _ => "",
            };
            return Err(self.failed(format!("answers {status}{hint}")));
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| self.failed(format!("gives no whole answer: {error}")))
    }

    fn failed(&self, why: String) -> PodsError {
        PodsError::Server { url: self.url.clone(), why }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The API server, as every pod is told.
fn in_cluster() -> Option<String> {
    let of = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (host, port) = (of("KUBERNETES_SERVICE_HOST")?, of("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into()));
    Some(if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") })
}

/// A value of a query (RFC 3986 section 2.3: what is not unreserved is written as `%XX`).
fn encoded(value: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::pods::testing::LIST;
    use super::super::{EnrichConfig, Enrichment};
    use super::*;
    use crate::test_tls::certified;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// An HTTPS server that gives what `answer` says to a request's target and token; returns its port.
    async fn serve(
        dir: &Path,
        answer: impl Fn(&str, Option<&str>) -> (u16, String) + Send + Sync + 'static,
    ) -> (u16, PathBuf) {
        let (ca_file, acceptor) = certified(dir);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = client.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let target = head.split(' ').nth(1).unwrap();
                    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
                    let (status, body) = answer(target, token);
                    let text = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    client.write_all(text.as_bytes()).await.unwrap();
                    // Who asked may have gone.
                    let _ = client.shutdown().await;
                });
            }
        });
        (port, ca_file)
    }

    fn config(url: String, ca_file: PathBuf, token: &str) -> KubernetesConfig {
        let token_file = ca_file.with_file_name("token");
        std::fs::write(&token_file, format!("{token}\n")).unwrap();
        KubernetesConfig { url: Some(url), ca_file, token_file, ..KubernetesConfig::default() }
    }

    fn opened(config: KubernetesConfig) -> Enrichment {
        Enrichment::open(&EnrichConfig { kubernetes: Some(config), ..EnrichConfig::default() }).unwrap()
    }

    async fn round(enrichment: &Enrichment) -> Result<(), String> {
        let sources = enrichment.0.as_ref().unwrap();
        let list = sources.list_pods(sources.config.kubernetes.as_ref().unwrap()).await;
        list.map(|list| sources.take_pods(list)).map_err(|error| chain(&error))
    }

    #[tokio::test]
    async fn the_pods_of_a_node_come_from_the_api_server_page_by_page() {
        let dir = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        let (port, ca_file) = serve(dir.path(), move |target, token| {
            notes.lock().unwrap().push(target.to_owned());
            let second = r#"{"metadata":{"continue":""},"items":[{"metadata":{"name":"late","namespace":"shop"},"status":{"phase":"Running","podIP":"10.244.1.50"}}]}"#;
            match (token, target.contains("&continue=")) {
                (Some("secret"), false) => (200, LIST.replace(r#""resourceVersion":"12345""#, r#""continue":"a+b=""#)),
                (Some("secret"), true) => (200, second.to_owned()),
                _ => (401, "{}".to_owned()),
            }
        })
        .await;
        let url = format!("https://127.0.0.1:{port}");
        let known = config(url.clone(), ca_file, "secret");
        let enrichment = opened(KubernetesConfig { node: Some("n1".into()), ..known.clone() });
        let pod = |ip: &str| enrichment.place(ip.parse().unwrap()).pod_name().map(str::to_owned);
        assert_eq!(pod("10.244.1.6"), None);
        round(&enrichment).await.unwrap();
        assert_eq!(pod("10.244.1.6").as_deref(), Some("db-0"), "known from now on, though it was asked for before");
        assert_eq!(pod("10.244.1.50").as_deref(), Some("late"));
        let first = "/api/v1/pods?limit=500&fieldSelector=spec.nodeName%3Dn1";
        assert_eq!(*asked.lock().unwrap(), [first.to_owned(), format!("{first}&continue=a%2Bb%3D")]);
        // The token is read each time, and a refusal changes nothing of what is known.
        std::fs::write(&known.token_file, "other").unwrap();
        let refused = round(&enrichment).await.unwrap_err();
        assert_eq!(refused, format!("`{url}` answers 401 Unauthorized: the token is not good, see `token_file`"));
        assert_eq!(pod("10.244.1.6").as_deref(), Some("db-0"));
    }

    #[tokio::test]
    async fn a_kubelets_list_is_asked_for_as_it_is_and_strangers_are_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (port, ca_file) = serve(dir.path(), |target, _| match target {
            "/pods" => (200, LIST.to_owned()),
            "/html" => (200, "<html>".to_owned()),
            _ => (403, String::new()),
        })
        .await;
        let of =
            |path: &str, ca_file: &Path| config(format!("https://127.0.0.1:{port}{path}"), ca_file.to_owned(), "t");
        let enrichment = opened(of("/pods", &ca_file));
        round(&enrichment).await.unwrap();
        let place = enrichment.place("fd00:10:244:1::5".parse().unwrap());
        assert_eq!((place.namespace(), place.workload()), (Some("shop"), Some("Deployment/web")));
        let refused = round(&opened(of("/html", &ca_file))).await.unwrap_err();
        assert!(refused.contains("gives no list of pods: expected a PodList as JSON"), "{refused}");
        let refused = round(&opened(of("/other", &ca_file))).await.unwrap_err();
        assert!(
            refused.ends_with("answers 403 Forbidden: the service account needs the right to list pods"),
            "{refused}"
        );
        // Another authority's certificate.
        let stranger = tempfile::tempdir().unwrap();
        let (_, other) = serve(stranger.path(), |_, _| (200, LIST.to_owned())).await;
        let refused = round(&opened(of("/pods", &other))).await.unwrap_err();
        assert!(refused.contains("does not answer"), "{refused}");
        // A file that is none.
        std::fs::write(&other, "no certificate").unwrap();
        let config = EnrichConfig { kubernetes: Some(of("/pods", &other)), ..EnrichConfig::default() };
        assert!(Enrichment::open(&config).unwrap_err().to_string().contains("there is no certificate in it"));
    }
}
