//! Whose the sockets of the host are, as a running instance tells it.
//!
//! Needs root. Proves: the process and control group of a connection that is there for longer than a look are in its records and
//! groups, by the process' files where the instance may see them, else by the one name of the control group. Does not prove
//! anything about sockets that come and go between two looks, which are not seen.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::instance::Instance;
use support::net::Pair;

/// Where cgroup v2 is mounted.
fn cgroups() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    point.expect("cgroup v2 is mounted").into()
}

/// A control group that is gone when this is.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Self {
        let path = cgroups().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// As rows have it.
    fn path(&self) -> String {
        format!("/{}", self.0.file_name().unwrap().to_str().unwrap())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A shell, by the program file `shell`, that connects to `port` of the peer in `group` and stays until it is told a line.
fn client(pair: &Pair, group: &Group, before: &[&str], shell: &Path, port: u16) -> Child {
    let connect = format!("exec 3<>/dev/tcp/10.55.0.2/{port}; echo hello >&3; read -u 3 line");
    // Into the group first: it is that of the socket's making.
    let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.0.display());
    Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", pair.mon))
        .args(["sh", "-c", &enter, "sh"])
        .args(before)
        .arg(shell)
        .args(["-c", &connect])
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn connections_of_the_host_have_their_process_and_control_group() {
    let pair = Pair::new();
    pair.up();
    let data = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(data.path(), Some(65_534), Some(65_534)).unwrap();
    let instance = Instance::start_for(&pair, "mon0", "65534:65534", data);
    let listener = pair.inside(&pair.peer, || TcpListener::bind("10.55.0.2:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let place = tempfile::tempdir().unwrap();
    let hidden = place.path().join("hidden");
    std::fs::copy("/bin/bash", &hidden).unwrap();
    let groups = [Group::new("nsp-own"), Group::new("nsp-other")];
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    // The instance may see the files of the first; the second is root's, with every capability.
    let mut clients = [
        client(&pair, &groups[0], &nobody, Path::new("/bin/bash"), port),
        client(&pair, &groups[1], &[], &hidden, port),
    ];
    let connections: Vec<TcpStream> = clients.iter().map(|_| listener.accept().unwrap().0).collect();

    for (name, group) in [("bash", &groups[0]), ("hidden", &groups[1])] {
        let filter = format!("process = {name} and dst_port = {port}");
        let answer = instance.wait("flows", &["--filter", &filter], |answer| answer["items"][0].is_object());
        let flow = &answer["items"][0];
        assert_eq!((&flow["src_ip"], &flow["src_process"]), (&"10.55.0.1".into(), &name.into()), "{flow:#}");
        assert_eq!(flow["src_cgroup"], group.path(), "{flow:#}");
        // The other end is on another host.
        assert_eq!((&flow["dst_process"], &flow["dst_cgroup"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    }
    let by = ["--by", "src_process", "--metric", "packets", "--filter", &format!("dst_port = {port}")];
    let top = instance.wait("top", &by, |top| top["items"].as_array().is_some_and(|items| items.len() >= 2));
    let mut names: Vec<_> = top["items"].as_array().unwrap().iter().map(|i| i["key"]["src_process"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["bash", "hidden"]);

    for mut connection in connections {
        connection.write_all(b"end\n").unwrap();
    }
    for client in &mut clients {
        assert!(client.wait().unwrap().success());
    }
    let (status, text) = instance.stop();
    assert!(status.success(), "{text}");
}
