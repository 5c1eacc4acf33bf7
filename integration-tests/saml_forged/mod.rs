//! Forged SAML: each way to make the gateway believe what no key of the provider signed, and why it was refused.

mod conditions;
mod documents;
mod secrets;
mod signatures;
mod wrapping;

use std::time::Instant;

use crate::support::gateway::{Gateway, Setup};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::saml::{Asked, BOUND, Says, last_refusal, provider};

const INNER: &str = "//*[local-name()='Assertion']/*[local-name()='Signature']";

const OUTER: &str = "/*/*[local-name()='Signature']";

fn gateway() -> Gateway {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections += &provider(&setup, "corp", "");
    setup.start()
}

/// Refused, soon, with these words in the trail, and with no more than a general word to the person.
#[track_caller]
fn refused(gateway: &Gateway, asked: &Asked, response: &str, words: &str, what: &str) {
    let before = gateway.events().len();
    let start = Instant::now();
    let answer = asked.post(gateway, response);
    let took = start.elapsed();
    let answer = match asked.land(gateway, answer) {
        Err(answer) => answer,
        Ok(_) => panic!("{what}: somebody is signed in"),
    };
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    assert!(took < BOUND, "{what} took {took:?}");
    let events = gateway.events();
    let event = events[before..]
        .iter()
        .rfind(|event| event["action"] == "login.refused");
    let event = event.unwrap_or_else(|| panic!("{what}: no event"));
    assert_eq!(event["reason"]["code"], "provider_refused", "{what}");
    let told = event["reason"]["text"].as_str().unwrap();
    assert!(told.contains(words), "{what}: {told:?} does not say {words:?}");
    let page = answer.text();
    assert!(
        page.contains("did not pass the gateway") && !page.contains(words),
        "{what}: the page tells why"
    );
}

/// A good one still comes in, so that a refusal means something.
#[track_caller]
fn control(gateway: &Gateway) {
    let asked = Asked::begin(gateway, "corp");
    let answer = asked.sign_in(gateway, &Says::honest(&asked).signed());
    answer.unwrap_or_else(|answer| panic!("the control: {} {}", answer.text(), last_refusal(gateway)));
}

/// One change of an honest response before it is signed.
type Change = fn(&str) -> String;
