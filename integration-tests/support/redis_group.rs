//! Several real redis-servers: a master with a replica that Sentinels watch over, or a cluster.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mlgate::config::{RedisUrl, StoreKind};
use mlgate::domain::Secret;
use tempfile::TempDir;

use super::free_port;
use super::process::{Server, until};

/// Of every server; the gateway's own user has another.
const PASSWORD: &str = "correct-horse-redis-staple";
/// As docs/configuration.md tells operators to make it; `%` is the prefix of the keys.
const GATEWAY_PASSWORD: &str = "gate:way/p@ss";
const START_LIMIT: Duration = Duration::from_secs(30);

/// One redis-server or Sentinel.
pub struct Node {
    pub port: u16,
    process: Option<Server>,
}

impl Node {
    fn start(folder: &Path, port: u16, arguments: &[&str]) -> Self {
        let own = folder.join(port.to_string());
        std::fs::create_dir_all(&own).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(arguments)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--dir").arg(&own);
        let process = Some(Server::start(command.stdout(Stdio::null())));
        let node = Self { port, process };
        until("a redis-server answers", START_LIMIT, || {
            node.cli(&["ping"]) == "PONG\n"
        });
        node
    }

    fn server(folder: &Path, more: &[&str]) -> Self {
        let common = [
            "--requirepass",
            PASSWORD,
            "--masterauth",
            PASSWORD,
            "--save",
            "",
            "--appendonly",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let node = Self::start(folder, free_port(), &[common.as_slice(), more].concat());
        let keys = if more.contains(&"--cluster-enabled") {
            "{mlgate}:"
        } else {
            "mlgate:"
        };
        node.add_the_gateways_user(keys);
        node
    }

    /// Rights are not replicated: each server is told.
    fn add_the_gateways_user(&self, keys: &str) {
        let page = std::fs::read_to_string(super::root().join("docs/configuration.md")).unwrap();
        let (_, line) = page
            .split_once("ACL SETUSER mlgate on '>PASSWORD' ")
            .expect("the page names the rights");
        let rights = line.lines().next().unwrap().replace("~mlgate:", &format!("~{keys}"));
        let password = format!(">{GATEWAY_PASSWORD}");
        let mut words = vec!["acl", "setuser", "mlgate", "on", &password];
        words.extend(rights.split_whitespace().map(|word| word.trim_matches('\'')));
        assert_eq!(self.cli(&words), "OK\n", "{rights}");
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-a",
                PASSWORD,
                "--no-auth-warning",
            ])
            .args(arguments)
            .stderr(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn says(&self, section: &str, line: &str) -> bool {
        self.cli(&["info", section]).lines().any(|found| found.trim() == line)
    }
}

/// Servers of which one is the master, until it dies.
pub struct Group {
    pub master: Node,
    pub replica: Node,
    /// Sentinels, or the cluster's other masters.
    pub others: Vec<Node>,
    url: String,
    _folder: TempDir,
}

impl Group {
    /// A master and a replica, and three Sentinels with a password of their own.
    pub fn with_sentinels() -> Self {
        let folder = TempDir::new().unwrap();
        let master = Node::server(folder.path(), &[]);
        let port = master.port.to_string();
        let replica = Node::server(folder.path(), &["--replicaof", "127.0.0.1", &port]);
        until("the replica follows", START_LIMIT, || {
            replica.says("replication", "master_link_status:up")
        });
        let others: Vec<Node> = (0..3).map(|_| sentinel(folder.path(), &port)).collect();
        until("the Sentinels agree", START_LIMIT, || {
            others
                .iter()
                .all(|other| other.cli(&["sentinel", "ckquorum", "main"]).starts_with("OK 3"))
                && others.iter().all(|other| {
                    other
                        .cli(&["sentinel", "replicas", "main"])
                        .contains(&replica.port.to_string())
                })
        });
        // The first is not there.
        let hosts: Vec<String> = others.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let url = format!(
            "redis-sentinel://mlgate:{}@127.0.0.1:1,{}/main?sentinel_password={PASSWORD}",
            encoded(GATEWAY_PASSWORD),
            hosts.join(",")
        );
        Self {
            master,
            replica,
            others,
            url,
            _folder: folder,
        }
    }

    /// Three masters, of which the one that holds the gateway's keys has a replica.
    pub fn cluster() -> Self {
        let folder = TempDir::new().unwrap();
        let node = || {
            let bus = free_port().to_string();
            let options = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
            ];
            (Node::server(folder.path(), &options), bus)
        };
        let nodes: Vec<(Node, String)> = (0..4).map(|_| node()).collect();
        let (first, _) = &nodes[0];
        for ((node, _), (from, to)) in nodes.iter().zip([("5461", "10922"), ("0", "5460"), ("10923", "16383")]) {
            assert_eq!(node.cli(&["cluster", "addslotsrange", from, to]), "OK\n");
        }
        for (place, (node, bus)) in nodes.iter().enumerate().skip(1) {
            assert_eq!(
                node.cli(&["cluster", "set-config-epoch", &(place + 1).to_string()]),
                "OK\n"
            );
            assert_eq!(
                first.cli(&["cluster", "meet", "127.0.0.1", &node.port.to_string(), bus]),
                "OK\n"
            );
        }
        let id = first.cli(&["cluster", "myid"]);
        let (replica, _) = &nodes[3];
        until("the nodes have met", START_LIMIT, || {
            nodes
                .iter()
                .all(|(node, _)| node.cli(&["cluster", "info"]).contains("cluster_known_nodes:4"))
                && replica.cli(&["cluster", "replicate", id.trim()]) == "OK\n"
        });
        until("the cluster is whole", START_LIMIT, || {
            replica.says("replication", "master_link_status:up")
                && nodes.iter().all(|(node, _)| {
                    node.cli(&["cluster", "info"]).contains("cluster_state:ok")
                        && node.cli(&["cluster", "nodes"]).matches("slave").count() == 1
                })
        });
        let slot = first.cli(&["cluster", "keyslot", "{mlgate}:session:x"]);
        let slot: u16 = slot.trim().parse().unwrap();
        assert!(
            (5461..=10922).contains(&slot),
            "the first node holds the gateway's keys: {slot}"
        );
        // One seed, and that one dies.
        let url = format!(
            "redis-cluster://mlgate:{}@127.0.0.1:{}",
            encoded(GATEWAY_PASSWORD),
            first.port
        );
        let mut nodes = nodes.into_iter().map(|(node, _)| node);
        let (master, mut others) = (nodes.next().unwrap(), nodes.collect::<Vec<_>>());
        Self {
            master,
            replica: others.pop().unwrap(),
            others,
            url,
            _folder: folder,
        }
    }

    pub fn kind(&self) -> StoreKind {
        kind(&self.url)
    }

    /// For who comes after the master has died; where Sentinels tell, the same.
    pub fn kind_that_names_all(&self) -> StoreKind {
        if self.url.starts_with("redis-sentinel:") {
            return self.kind();
        }
        let others = self.others.iter().map(|node| format!(",127.0.0.1:{}", node.port));
        kind(&others.fold(self.url.clone(), |url, other| url + &other))
    }

    /// Kills the master, and returns once the replica is one.
    pub fn fail_over(&mut self) {
        self.master.process = None;
        until("the replica is the master", START_LIMIT, || {
            self.replica.says("replication", "role:master")
        });
    }
}

fn kind(url: &str) -> StoreKind {
    StoreKind::Redis {
        url: RedisUrl::parse(Secret::new(url)).unwrap(),
        ca_file: None,
    }
}

fn sentinel(folder: &Path, master: &str) -> Node {
    let port = free_port();
    let file = folder.join(format!("sentinel-{port}.conf"));
    let text = format!(
        "requirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\nsentinel monitor main 127.0.0.1 {master} 2\nsentinel auth-pass main {PASSWORD}\n\
         sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
    );
    std::fs::write(&file, text).unwrap();
    Node::start(folder, port, &[file.to_str().unwrap(), "--sentinel"])
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
