//! Two gateways on one Redis: a session works at both, an end at one is an end at both, and an outage signs nobody out.

use std::time::{Duration, Instant};

use mlgate::config::StoreKind;

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::process::until;
use crate::support::redis::Redis;

const LIST: &str = "/api/2.0/mlflow/experiments/get?experiment_id=0";

fn gateway(mlflow: &Mlflow, redis: &Redis) -> Gateway {
    on_redis(Setup::new(&mlflow.url()), redis).start()
}

/// What seals and signs on every replica.
pub const KEY: [u8; 32] = {
    let mut key = [0; 32];
    let mut place = 0;
    while place < 32 {
        key[place] = (place as u8).wrapping_mul(37) ^ 0x5a;
        place += 1;
    }
    key
};

/// On this Redis, with the same key as every other one.
pub fn on_redis(mut setup: Setup, redis: &Redis) -> Setup {
    use std::os::unix::fs::PermissionsExt;
    let StoreKind::Redis { url, .. } = redis.kind() else {
        panic!("it is Redis")
    };
    let key = setup.path("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    setup.session = format!(
        "store = \"redis\"\nredis_url = \"{}\"\nsecret_files = [\"key\"]",
        url.expose()
    );
    setup
}

fn ask(gateway: &Gateway, cookie: &str) -> Response {
    gateway.send(&Request::get(LIST).header("Cookie", cookie))
}

#[test]
fn a_session_of_one_replica_works_at_the_other_and_ends_at_both() {
    let (mlflow, redis) = (Mlflow::shared(NEWEST), Redis::start());
    let (one, other) = (gateway(&mlflow, &redis), gateway(&mlflow, &redis));
    let cookie = one.sign_in("vera");
    let staying = one.sign_in("ed");
    let token = one.token("mona");
    let bearer = |gateway: &Gateway| {
        gateway
            .send(&Request::get(LIST).header("Authorization", &format!("Bearer {token}")))
            .status
    };
    assert_eq!((ask(&one, &cookie).status, ask(&other, &cookie).status), (200, 200));
    assert_eq!((bearer(&one), bearer(&other)), (200, 200));

    let revoked = other.mlgate(&["sessions", "revoke", "--user", "vera", "--provider", "local"]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    until("the end is known at both", Duration::from_secs(5), || {
        ask(&one, &cookie).status == 401 && ask(&other, &cookie).status == 401
    });
    let listed = one.mlgate(&["tokens", "list", "--json"]);
    let tokens: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = tokens[0]["id"].as_str().unwrap();
    assert!(one.mlgate(&["tokens", "revoke", id]).status.success());
    until("the token is refused at both", Duration::from_secs(5), || {
        bearer(&one) == 401 && bearer(&other) == 401
    });
    assert_eq!(
        (ask(&one, &staying).status, ask(&other, &staying).status),
        (200, 200),
        "the control stays signed in"
    );
}

#[test]
fn thirty_seconds_without_redis_sign_nobody_out_and_hang_nobody() {
    let (mlflow, redis) = (Mlflow::shared(NEWEST), Redis::start());
    let gateway = gateway(&mlflow, &redis);
    let (seen, unseen) = (gateway.sign_in("vera"), gateway.sign_in("ed"));
    assert_eq!(ask(&gateway, &seen).status, 200);
    redis.pause();
    let gone = Instant::now();
    let mut asked = 0;
    while gone.elapsed() < Duration::from_secs(30) {
        let start = Instant::now();
        let answer = ask(&gateway, &seen);
        assert_eq!(answer.status, 200, "after {:?}: {}", gone.elapsed(), answer.text());
        // `unseen` is remembered from its sign-in, or must wait; it is never told that it is signed out.
        let other = ask(&gateway, &unseen);
        assert!(matches!(other.status, 200 | 503), "{} {}", other.status, other.text());
        assert!(other.header("set-cookie").is_none());
        let stranger = ask(&gateway, &format!("mlgate={}", "A".repeat(43)));
        assert_eq!(
            stranger.status,
            503,
            "whether a stranger has a session cannot be known: {}",
            stranger.text()
        );
        assert!(stranger.header("retry-after").is_some() && stranger.header("set-cookie").is_none());
        assert!(
            start.elapsed() < Duration::from_secs(6),
            "three answers took {:?}",
            start.elapsed()
        );
        asked += 1;
    }
    assert!(asked >= 5, "only {asked} rounds in 30 s");
    redis.resume();
    until("all is well again", Duration::from_secs(5), || {
        ask(&gateway, &seen).status == 200
            && ask(&gateway, &unseen).status == 200
            && ask(&gateway, &format!("mlgate={}", "A".repeat(43))).status == 401
    });
}
