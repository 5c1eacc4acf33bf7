//! Each proxy of docs/ingress.md, with the configuration that the page shows, in front of a real MLflow: people, programs, forged
//! headers, odd paths, a big upload, a gateway that is gone. What was seen is a row of the page's table.

mod suite;

use crate::support::ingress::Kind;

use suite::Private;

#[test]
fn nginx() {
    suite::accept(Kind::Nginx, Private::Kept);
}

#[test]
fn ingress_nginx() {
    // It has no annotation that takes off a header of the client's.
    suite::accept(Kind::IngressNginx, Private::Passed);
}

#[test]
fn ingress_nginx_with_keepalive() {
    suite::accept(Kind::IngressNginxKeepalive, Private::Passed);
}

#[test]
fn caddy() {
    suite::accept(Kind::Caddy, Private::Kept);
}

#[test]
fn haproxy() {
    suite::accept(Kind::Haproxy, Private::Kept);
}

#[test]
fn traefik() {
    suite::accept(Kind::Traefik, Private::Kept);
}

#[test]
fn envoy_http() {
    suite::accept(Kind::EnvoyHttp, Private::Kept);
}

#[test]
fn envoy_grpc() {
    suite::accept(Kind::EnvoyGrpc, Private::Kept);
}
