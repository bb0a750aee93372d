//! ClickHouse: an installed server, or the engine as a library (chDB) behind the project's own small HTTP server.

use super::service::Service;
use super::state::{Folder, Run, Server};
use super::{cache, data_folder, path_text};
use crate::process::{capture, find_program, run, run_within, say};
use crate::setup;
use crate::workspace::{Workspace, metadata};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Before it there is no `DateTime64` with codecs and TTL as the tables have them.
const OLDEST: u32 = 23;
const PACKAGE: &str = "@chdb/lib-linux-x64-gnu";
const VERSION: &str = "26.7.3-stable.1";
/// SHA-512 of the package; npm calls it `integrity`.
const SHA512: &str = "5cff7b98caa7739b59a4a432c11f0dedc2d3b073624e61ebdf4a42e66ce8de35a6ba48ca9f62016bad1cd81fe059435cb858ce3235a8a2b408082a81563e70a7";
/// The server around the library, a package of this workspace.
const SHIM: &str = "netspectra-chdb";
/// 178 MB.
const FETCH_LIMIT: Duration = Duration::from_secs(900);
const UNPACK_LIMIT: Duration = Duration::from_secs(300);

/// An installed server that is recent enough: one program for all of ClickHouse, or its server alone.
pub(super) fn installed() -> Option<PathBuf> {
    ["clickhouse", "clickhouse-server"].into_iter().filter_map(find_program).find(|program| {
        let version = capture(Command::new(program).args(server_word(program)).arg("--version"));
        version.is_ok_and(|text| major(&text) >= Some(OLDEST))
    })
}

/// `ClickHouse server version 25.8.1.1 (official build).` has 25.
fn major(text: &str) -> Option<u32> {
    let word = text.split_whitespace().skip_while(|word| *word != "version").nth(1)?;
    word.split('.').next()?.parse().ok()
}

/// `clickhouse` wants to be told that it shall be a server.
fn server_word(program: &Path) -> Option<&'static str> {
    program.ends_with("clickhouse").then_some("server")
}

/// The server by `program`.
///
/// # Errors
/// Its folder cannot be made, or its version is not told.
pub(super) fn from_program(folder: &Folder, program: &Path, ports: [u16; 2]) -> Result<Server> {
    let data = data_folder(folder, Service::Clickhouse)?;
    let home = folder.of(Service::Clickhouse);
    let config = home.join("config.xml");
    fs::write(&config, settings(path_text(&data)?, path_text(&config)?, ports))
        .with_context(|| format!("cannot write `{}`", config.display()))?;
    let mut args: Vec<String> = server_word(program).into_iter().map(str::to_owned).collect();
    args.push(format!("--config-file={}", path_text(&config)?));
    let run = Run::Process { program: program.to_owned(), args, log: folder.log(Service::Clickhouse), id: None };
    Ok(Server {
        url: Service::Clickhouse.url(ports[0]),
        way: format!("`{}`", program.display()),
        run,
        more: Default::default(),
    })
}

/// One file for server and users: a user `default` without password, reachable from this host alone.
fn settings(data: &str, config: &str, [http, tcp]: [u16; 2]) -> String {
    let (data, config) = (escaped(data), escaped(config));
    format!(
        "<clickhouse>
  <logger><level>warning</level><console>1</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port>
  <tcp_port>{tcp}</tcp_port>
  <path>{data}/</path>
  <tmp_path>{data}/tmp/</tmp_path>
  <user_files_path>{data}/user_files/</user_files_path>
  <format_schema_path>{data}/format_schemas/</format_schema_path>
  <user_directories><users_xml><path>{config}</path></users_xml></user_directories>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
<quota>default</quota></default></users>
</clickhouse>
"
    )
}

fn escaped(path: &str) -> String {
    path.replace('&', "&amp;").replace('<', "&lt;")
}

/// The library, kept in the cache, behind the project's HTTP server, which is built if need be.
///
/// # Errors
/// Not an x86_64 machine, the registry does not answer, the checksum is another one, or the server does not build.
pub(super) fn fetched(ws: &Workspace, folder: &Folder, port: u16) -> Result<Server> {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        bail!("its library `{PACKAGE}` is for x86_64 Linux with glibc only");
    }
    let shim = build_shim(ws)?;
    let home = ws.cache.join(format!("chdb-{VERSION}"));
    let library = home.join("libchdb.so");
    cache::keep(&home, |home| home.join("libchdb.so").is_file(), fetch)?;
    let data = data_folder(folder, Service::Clickhouse)?;
    let args =
        [["--lib", path_text(&library)?], ["--data", path_text(&data)?], ["--listen", &format!("127.0.0.1:{port}")]];
    // Tests that bound its user's rights start it themselves.
    let more = [("NETSPECTRA_CHDB", path_text(&shim)?), ("NETSPECTRA_CHDB_LIBRARY", path_text(&library)?)];
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let run = Run::Process {
        program: shim,
        args: args.concat().into_iter().map(str::to_owned).collect(),
        log: folder.log(Service::Clickhouse),
        id: None,
    };
    let way = format!("ClickHouse {VERSION} as a library (chDB) behind `{SHIM}`");
    Ok(Server { url: Service::Clickhouse.url(port), way, run, more })
}

fn build_shim(ws: &Workspace) -> Result<PathBuf> {
    let metadata = metadata(&ws.root.join("Cargo.toml"))?;
    if !metadata["packages"].as_array().into_iter().flatten().any(|package| package["name"] == SHIM) {
        bail!("this workspace has no package `{SHIM}`");
    }
    say(format!("building `{SHIM}`"));
    run(ws.cargo().args(["build", "--locked", "--package", SHIM]))?;
    Ok(ws.target.join("debug").join(SHIM))
}

fn fetch(folder: &Path) -> Result<()> {
    say(format!("fetching {PACKAGE} {VERSION} from the npm registry (178 MB)"));
    let (scope, name) = PACKAGE.split_once('/').context("the package has no scope")?;
    let archive = folder.join("chdb.tgz");
    // By npm where it is there, because it knows the user's mirror.
    let by_npm = find_program("npm").map(|npm| {
        run_within(
            Command::new(npm).args(["pack", "--silent", &format!("{PACKAGE}@{VERSION}")]).current_dir(folder),
            FETCH_LIMIT,
        )?;
        let packed = folder.join(format!("{}-{name}-{VERSION}.tgz", scope.trim_start_matches('@')));
        fs::rename(&packed, &archive).with_context(|| format!("npm made no `{}`", packed.display()))
    });
    match by_npm {
        Some(Ok(())) => {}
        other => {
            if let Some(Err(error)) = other {
                say(format!("npm: {error:#}; asking the registry itself"));
            }
            let url = format!("https://registry.npmjs.org/{PACKAGE}/-/{name}-{VERSION}.tgz");
            setup::fetch(&url, &archive, FETCH_LIMIT)?;
        }
    }
    verify(&archive, SHA512)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(folder).args(["--strip-components=1", "package/libchdb.so"]);
    run_within(&mut tar, UNPACK_LIMIT)?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove `{}`", archive.display()))
}

fn verify(file: &Path, expected: &str) -> Result<()> {
    let answer = capture(Command::new("sha512sum").arg(file))?;
    // A name with strange characters in it makes the line begin with a backslash.
    let found = answer.trim_start_matches('\\').split_whitespace().next().unwrap_or_default();
    if found != expected {
        bail!("`{}` has SHA-512 `{found}`, expected `{expected}`: it is not what was released", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_version_of_a_server_is_read() {
        assert_eq!(major("ClickHouse server version 25.8.1.5101 (official build).\n"), Some(25));
        assert_eq!(major("ClickHouse server version 18.16.1.\n"), Some(18));
        assert_eq!(major("something else"), None);
        assert_eq!(server_word(Path::new("/usr/bin/clickhouse")), Some("server"));
        assert_eq!(server_word(Path::new("/usr/bin/clickhouse-server")), None);
    }

    #[test]
    fn a_file_that_is_not_the_released_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "abc").unwrap();
        // FIPS 180-2, appendix C.1.
        let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        verify(&file, abc).unwrap();
        assert!(verify(&file, SHA512).unwrap_err().to_string().contains("it is not what was released"));
    }

    #[test]
    fn a_path_is_text_in_the_settings() {
        let text = settings("/a&b", "/c<d", [1, 2]);
        assert!(text.contains("<path>/a&amp;b/</path>") && text.contains("<path>/c&lt;d</path>"), "{text}");
        assert!(text.contains("<http_port>1</http_port>") && text.contains("<listen_host>127.0.0.1</listen_host>"));
    }
}
