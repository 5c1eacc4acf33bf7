//! Our own pages in a real browser: by keyboard, without scripts, on a phone, and back to the exact page that was asked for.

use serde_json::{Value, json};

use crate::support::browser::travel;
use crate::support::gateway::{Gateway, PASSWORD, Setup};
use crate::support::mlflow::Mlflow;

fn gateway() -> Gateway {
    Setup::new(&Mlflow::shared("3.18").url()).start()
}

fn who(gateway: &Gateway) -> Value {
    json!({ "url": gateway.url(), "user": "vera", "password": PASSWORD })
}

#[test]
fn a_person_signs_in_by_keyboard_and_lands_on_the_page_in_the_fragment() {
    let gateway = gateway();
    let seen = travel("keyboard", &who(&gateway));
    assert_eq!(seen["landed"], format!("{}/#/experiments/7", gateway.url()));
    assert_eq!(seen["focused"], json!(["username", "password"]), "{seen}");
    assert_eq!(
        seen["complaints"],
        json!([]),
        "the content policy stops nothing of ours"
    );
    let session = seen["cookies"]
        .as_array()
        .unwrap()
        .iter()
        .find(|cookie| cookie["name"] == "mlgate")
        .unwrap();
    assert_eq!(
        (&session["httpOnly"], &session["sameSite"], &session["path"]),
        (&json!(true), &json!("Lax"), &json!("/"))
    );
}

#[test]
fn without_scripts_only_the_fragment_is_lost() {
    let gateway = gateway();
    let seen = travel("without_scripts", &who(&gateway));
    let landed = seen["landed"].as_str().unwrap();
    assert!(landed.starts_with(&format!("{}/?a=b", gateway.url())), "{landed}");
}

#[test]
fn every_page_can_be_read_and_used_on_a_desk_and_on_a_phone() {
    let gateway = gateway();
    // Without a role, so that the page after signing in is one of ours: the refusal.
    let nina = json!({ "url": gateway.url(), "user": "nina", "password": PASSWORD });
    let seen = travel("every_page", &nina);
    assert_eq!(seen["faults"], json!([]));
    assert_eq!(seen["complaints"], json!([]));
    assert_eq!(seen["cookies"], json!(["mlgate-login"]), "signed out");
}
