//! What a directory, somebody on the way to it, or somebody at the form may try: each refused, soon, with its reason in the trail.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::ldap::{sign_in, start};
use crate::support::free_port;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::ldap::{BASE, Slapd};

/// The promise.
const SOON: Duration = Duration::from_secs(5);

/// Tries to sign in; the status, and the reason that the trail gives.
#[track_caller]
fn refused(gateway: &Gateway, provider: &str, user: &str, password: &str) -> (u16, String) {
    let begun = Instant::now();
    let answer = gateway.sign_in_at(provider, user, password).expect_err("a refusal");
    assert!(begun.elapsed() < SOON, "{provider} {user:?} took {:?}", begun.elapsed());
    let events = gateway.events();
    let event = events
        .iter()
        .rev()
        .find(|event| event["action"] == "login.refused")
        .unwrap();
    assert_eq!(event["actor"]["provider"], provider);
    (answer.status, event["reason"]["code"].as_str().unwrap().to_owned())
}

/// Somebody on the way who answers StartTLS in the server's name; counts the bytes that came after.
fn stripper() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let after = Arc::new(AtomicUsize::new(0));
    let seen = after.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 31];
            if stream.read_exact(&mut request).is_ok() {
                // ExtendedResponse, protocolError: as a server without TLS says.
                let _ = stream.write_all(&[0x30, 12, 2, 1, 1, 0x78, 7, 0x0a, 1, 2, 4, 0, 4, 0]);
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                seen.fetch_add(rest.len(), Ordering::SeqCst);
            }
        }
    });
    (port, after)
}

/// Sends bytes to whoever connects, and then nothing.
fn says(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut held: Vec<TcpStream> = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&bytes);
            held.push(stream);
        }
    });
    port
}

/// 20,000 sequences in each other: more than a thread's stack has room for.
fn bomb() -> Vec<u8> {
    (0..20_000).fold(Vec::new(), |inside, _| {
        let mut outside = vec![0x30, 0x84];
        outside.extend(u32::try_from(inside.len()).unwrap().to_be_bytes());
        outside.extend(inside);
        outside
    })
}

#[test]
fn whoever_stands_on_the_way_gets_no_password() {
    let slapd = Slapd::start();
    let misnamed = Slapd::start_as("ldap.example.test");
    let (stripping, after) = stripper();
    let own_url = format!("\"ldaps://localhost:{}\"", slapd.tls_port);
    let at = |id: &str, port: u16, more: &str| slapd.provider_at(id, &format!("\"ldap://localhost:{port}\""), more);
    let providers = [
        slapd.provider("sound", ""),
        at("stripped", stripping, "start_tls = true"),
        at("bomb-before-tls", says(bomb()), "start_tls = true"),
        at("bomb", says(bomb()), ""),
        at("garbage", says(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), "start_tls = true"),
        at("silent", says(Vec::new()), "start_tls = true"),
        misnamed.provider("misnamed", ""),
        misnamed.provider_at(
            "misnamed-later",
            &format!("\"ldap://localhost:{}\"", misnamed.port),
            "start_tls = true",
        ),
        // The right name, by a CA that is not ours.
        misnamed.provider_at("foreign", &own_url, ""),
    ];
    let gateway = start(&providers.concat(), "");
    for (provider, status, reason) in [
        ("stripped", 403, "provider_refused"),
        ("misnamed", 403, "provider_refused"),
        ("misnamed-later", 403, "provider_refused"),
        ("foreign", 403, "provider_refused"),
        ("garbage", 503, "unavailable"),
        ("bomb-before-tls", 503, "unavailable"),
        ("bomb", 503, "unavailable"),
        ("silent", 503, "unavailable"),
    ] {
        let told = refused(&gateway, provider, "alice", "alice-pw");
        assert_eq!(told, (status, reason.to_owned()), "{provider}: {}", gateway.log());
    }
    assert_eq!(after.load(Ordering::SeqCst), 0, "nothing is said without TLS");
    sign_in(&gateway, "sound", "alice", "alice-pw");
}

#[test]
fn a_directory_that_is_down_slow_or_refers_elsewhere_lets_nobody_in() {
    let mut slapd = Slapd::start();
    let refer = format!("user_base = \"ou=elsewhere,{BASE}\"");
    let refer_bind = format!("user_dn = \"uid={{username}},ou=elsewhere,{BASE}\"");
    let dead = format!(
        "[\"ldap://127.0.0.1:{}\", \"ldap://127.0.0.1:{}\"]",
        free_port(),
        free_port()
    );
    let providers = [
        slapd.provider("corp", ""),
        slapd.provider("direct", &format!("user_dn = \"uid={{username}},ou=people,{BASE}\"")),
        slapd.provider("refers", &refer),
        slapd.provider("refers-bind", &refer_bind),
        slapd.provider_at("dead", &dead, ""),
        slapd.provider("no-account", "bind_password = \"wrong\""),
    ];
    let gateway = start(&providers.concat(), "");
    let refusal = |provider: &str| refused(&gateway, provider, "alice", "alice-pw");
    assert_eq!(refusal("refers"), (403, "provider_refused".to_owned()));
    // To a bind slapd does not tell that it would refer elsewhere.
    assert_eq!(refusal("refers-bind"), (401, "bad_password".to_owned()));
    assert_eq!(refusal("dead"), (503, "unavailable".to_owned()));
    assert_eq!(refusal("no-account"), (503, "unavailable".to_owned()));
    sign_in(&gateway, "corp", "alice", "alice-pw");
    // Over the connection that was just used, and over a new one.
    slapd.pause();
    assert_eq!(refusal("corp"), (503, "unavailable".to_owned()));
    assert_eq!(refusal("corp"), (503, "unavailable".to_owned()));
    assert_eq!(refusal("direct"), (503, "unavailable".to_owned()));
    slapd.resume();
    sign_in(&gateway, "corp", "alice", "alice-pw");
    let away = || {
        let health = Request::get("/auth/readyz").send(&gateway.admin_authority());
        assert_eq!(health.status, 200, "no replica is taken away");
        let degraded = health.json()["degraded"].to_string();
        degraded.contains("\"provider\"") && degraded.contains("\"corp\"")
    };
    assert!(!away());
    slapd.stop();
    assert_eq!(refusal("corp"), (503, "unavailable".to_owned()));
    assert!(away());
    slapd.run();
    assert!(!away());
    sign_in(&gateway, "corp", "alice", "alice-pw");
}

#[test]
fn nothing_that_is_typed_is_more_than_a_name_and_a_password() {
    let slapd = Slapd::start();
    let direct = format!("user_dn = \"uid={{username}},ou=people,{BASE}\"");
    let gateway = start(
        &format!("{}{}", slapd.provider("search", ""), slapd.provider("direct", &direct)),
        "",
    );
    for provider in ["search", "direct"] {
        for (user, password) in [
            ("alice", ""),
            ("alice", "\0"),
            ("alice", "alice-pw\0"),
            ("alice\0", "alice-pw"),
            ("alice\0,ou=x", "alice-pw"),
            ("*", "alice-pw"),
            ("ali*", "alice-pw"),
            ("alice)(|(uid=*", "alice-pw"),
            ("*)(uid=alice", "alice-pw"),
            ("alice,ou=people", "alice-pw"),
            ("alice+cn=alice", "alice-pw"),
            ("\\61lice", "alice-pw"),
            ("", "alice-pw"),
            ("alice", "bob-pw"),
            ("nobody", "alice-pw"),
        ] {
            let told = refused(&gateway, provider, user, password);
            assert_eq!(
                told,
                (401, "bad_password".to_owned()),
                "{provider} {user:?} {password:?}"
            );
        }
        sign_in(&gateway, provider, "alice", "alice-pw");
    }
    assert!(!gateway.log().contains("alice-pw") && !gateway.log().contains("gateway-pw"));
}

#[test]
fn an_unknown_name_and_a_wrong_password_look_alike_and_take_alike() {
    let slapd = Slapd::start();
    let gateway = start(&slapd.provider("corp", ""), "");
    let ask = |user: &str| {
        let begun = Instant::now();
        let page = gateway.sign_in_at("corp", user, "wrong").unwrap_err();
        let text = page.text().replace(user, "NAME");
        let (before, after) = text.split_once("name=\"csrf_token\"").unwrap();
        let after = after.split_once('>').unwrap().1.to_owned();
        let id = |text: &str| text.split("Request").next().unwrap_or_default().to_owned();
        (page.status, id(before), id(&after), begun.elapsed())
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        let (known, unknown) = (ask("alice"), ask("nobody"));
        assert_eq!((known.0, &known.1, &known.2), (unknown.0, &unknown.1, &unknown.2));
        times[0].push(known.3);
        times[1].push(unknown.3);
    }
    let least = times.map(|some| some.into_iter().min().unwrap());
    assert!(least[0].abs_diff(least[1]) < Duration::from_millis(150), "{least:?}");
}

#[test]
fn account_states_refuse_and_the_log_alone_tells_which() {
    let slapd = Slapd::start();
    let gateway = start(&slapd.provider("corp", ""), "");
    for (user, state) in [
        ("expired", "password expired"),
        ("grace", "password expired"),
        ("mustreset", "password must be changed"),
    ] {
        assert_eq!(
            refused(&gateway, "corp", user, "wrong"),
            (401, "bad_password".to_owned()),
            "{user}"
        );
        let page = gateway.sign_in_at("corp", user, &format!("{user}-pw")).unwrap_err();
        assert_eq!(page.status, 403, "{user}: {}", gateway.log());
        assert!(
            page.text().contains("may be disabled, or its password too old"),
            "{}",
            page.text()
        );
        assert!(gateway.log().contains(state), "{user}: {}", gateway.log());
        assert_eq!(
            refused(&gateway, "corp", user, &format!("{user}-pw")).1,
            "account_refused"
        );
    }
    // One that has ended is not even told so: the directory itself says wrong password.
    assert!(gateway.sign_in_at("corp", "closed", "closed-pw").is_err());
    for _ in 0..3 {
        assert_eq!(refused(&gateway, "corp", "locky", "wrong").1, "bad_password");
    }
    assert_eq!(
        refused(&gateway, "corp", "locky", "locky-pw"),
        (401, "bad_password".to_owned()),
        "locked"
    );
    assert!(gateway.log().contains("\"state\":\"locked\""), "{}", gateway.log());
    sign_in(&gateway, "corp", "alice", "alice-pw");
}
