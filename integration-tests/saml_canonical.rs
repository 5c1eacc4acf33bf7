//! Our canonical XML and that of libxml2 are the same bytes: what `xmlsec1` signs is accepted, whatever stands in it. A digest that
//! fits is as good as comparing them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use mlgate::config::{self, ProviderKind};
use mlgate::domain::{SystemClock, SystemRandom};
use mlgate::providers::{Onward, RedirectProvider, Saml, SamlParts};
use mlgate::store::{MemoryStore, Sealer};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use url::Url;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::gateway::Setup;
use crate::support::saml::{Asked, Says, Signed, attribute, inflate, metadata, parameter, provider, transforms};

const CASES: u32 = 200;

/// A provider in this very process.
fn saml(folder: &Path) -> Saml {
    let config = config::load_with(&folder.join("mlgate.toml"), Vec::new(), &SystemRandom::new()).unwrap();
    let ProviderKind::Saml(saml) = config.providers.into_iter().nth(1).unwrap().kind else {
        panic!("it is SAML")
    };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom::new()));
    let parts = SamlParts {
        cache: Arc::default(),
        store: Arc::new(MemoryStore::new(clock.clone())),
        sealer: Arc::new(Sealer::new(&[[7; 32]], random.clone())),
        clock,
        random,
    };
    Saml::new("corp", *saml, parts).unwrap()
}

fn setup(more: &str) -> Setup {
    let mut setup = Setup::new("http://127.0.0.1:1");
    setup.sections += &provider(&setup, "corp", more);
    setup.write();
    setup
}

async fn asked(saml: &Saml, setup: &Setup) -> Asked {
    let departure = saml.begin("").await.unwrap();
    let Onward::Redirect(url) = departure.onward else {
        panic!("a redirect")
    };
    let url = Url::parse(&url).unwrap();
    Asked {
        provider: "corp".to_owned(),
        request_id: attribute(&inflate(&parameter(&url, "SAMLRequest")), "ID"),
        relay_state: parameter(&url, "RelayState"),
        cookie: String::new(),
        site: format!("http://{}", setup.authority()),
    }
}

async fn receive(saml: &Saml, asked: &Asked, response: &str) -> Result<String, String> {
    let form = [
        ("SAMLResponse".to_owned(), STANDARD.encode(response)),
        ("RelayState".to_owned(), asked.relay_state.clone()),
    ];
    saml.receive(&form).await.map_err(|error| error.to_string())
}

const PREFIXES: [&str; 4] = ["", "p", "q", "z-1"];
/// None with an ampersand: libxml2 keeps its reference in the name of a namespace, and then no two readers agree.
const URIS: [&str; 3] = ["urn:one", "urn:two", "http://three.test/?a='1'"];

/// An element with what may make canonical forms differ: declarations that are unused, repeated, rebound and taken back, and
/// attributes in any order.
#[derive(Clone, Debug)]
struct Element {
    name: (usize, String),
    declares: Vec<(usize, usize)>,
    attributes: Vec<(usize, String, String)>,
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
enum Child {
    Text(String),
    Element(Element),
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("&amp;"),
        Just("&lt;"),
        Just("&gt;"),
        Just(">"),
        Just("\""),
        Just("'"),
        Just("&quot;"),
        Just("&#9;"),
        Just("&#13;"),
        Just("&#xA;"),
        Just("\t"),
        Just("\r\n"),
        Just("\r"),
        Just(" "),
        Just("é"),
        Just("𝒳"),
        Just("\u{2028}"),
        Just("x"),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    "[a-cA-C_][a-c0-9.-]{0,2}".prop_filter("an ID would have to be unique", |name| !name.eq_ignore_ascii_case("id"))
}

fn element() -> impl Strategy<Value = Element> {
    let leaf = (0..4_usize, name(), shape()).prop_map(|(prefix, name, (declares, attributes))| Element {
        name: (prefix, name),
        declares,
        attributes,
        children: Vec::new(),
    });
    leaf.prop_recursive(4, 24, 4, |inner| {
        let child = prop_oneof![text().prop_map(Child::Text), inner.prop_map(Child::Element)];
        (0..4_usize, name(), shape(), proptest::collection::vec(child, 0..4)).prop_map(
            |(prefix, name, (declares, attributes), children)| Element {
                name: (prefix, name),
                declares,
                attributes,
                children,
            },
        )
    })
}

type Shape = (Vec<(usize, usize)>, Vec<(usize, String, String)>);

fn shape() -> impl Strategy<Value = Shape> {
    let declares = proptest::collection::vec((0..4_usize, 0..4_usize), 0..3);
    let attributes = proptest::collection::vec((0..4_usize, name(), text()), 0..4);
    (declares, attributes)
}

impl Element {
    /// Well-formed, whatever was drawn: what would not be is left out.
    fn write(&self, scope: &[Option<usize>; 4], out: &mut String) {
        let mut scope = *scope;
        let mut declared = Vec::new();
        let mut attributes = String::new();
        for (prefix, uri) in &self.declares {
            // Only the default namespace can be taken back.
            let uri = (*uri < URIS.len()).then_some(*uri);
            if declared.contains(prefix) || (uri.is_none() && *prefix != 0) {
                continue;
            }
            declared.push(*prefix);
            scope[*prefix] = uri;
            let text = uri.map_or("", |uri| URIS[uri]);
            let colon = if *prefix == 0 { "" } else { ":" };
            let _ = write!(attributes, " xmlns{colon}{}=\"{text}\"", PREFIXES[*prefix]);
        }
        let mut taken = Vec::new();
        for (prefix, name, value) in &self.attributes {
            let uri = if *prefix == 0 { None } else { scope[*prefix] };
            if (*prefix != 0 && uri.is_none()) || taken.contains(&(uri, name)) {
                continue;
            }
            taken.push((uri, name));
            let colon = if *prefix == 0 { "" } else { ":" };
            let value = value.replace('"', "&quot;");
            let _ = write!(attributes, " {}{colon}{name}=\"{value}\"", PREFIXES[*prefix]);
        }
        let prefix = if scope[self.name.0].is_some() { self.name.0 } else { 0 };
        let colon = if prefix == 0 { "" } else { ":" };
        let tag = format!("{}{colon}{}", PREFIXES[prefix], self.name.1);
        let _ = write!(out, "<{tag}{attributes}");
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for child in &self.children {
            match child {
                Child::Text(text) => out.push_str(text),
                Child::Element(element) => element.write(&scope, out),
            }
        }
        let _ = write!(out, "</{tag}>");
    }
}

#[test]
fn whatever_stands_in_an_assertion_its_canonical_form_is_that_of_libxml2() {
    let setup = setup("");
    let saml = saml(setup.folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let lists = [
        "",
        "p",
        "p q",
        "#default",
        "#default z-1 p",
        "xs xsi",
        "saml samlp nowhere",
    ];
    let strategy = (element(), 0..lists.len(), 0..2_usize, any::<bool>());
    let config = Config {
        cases: CASES,
        failure_persistence: None::<Box<FileFailurePersistence>>.map(|it| it as _),
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |(element, list, signed, outside)| {
            let mut inside = String::new();
            element.write(&[None; 4], &mut inside);
            let asked = runtime.block_on(asked(&saml, &setup));
            let mut says = Says::honest(&asked).signing([Signed::Assertion, Signed::Both][signed]);
            // Namespaces that are in scope from far outside are a case of their own.
            let around = if outside { " xmlns=\"urn:far\" xmlns:p=\"urn:p-far\" xmlns:unused=\"urn:u\"" } else { " xmlns=\"\"" };
            says.attributes.push_str(&format!(
                "<saml:Attribute Name=\"x\"{around}><saml:AttributeValue>{inside}</saml:AttributeValue></saml:Attribute>"
            ));
            says.manner.transforms = transforms(lists[list]);
            let response = says.signed();
            let verdict = runtime.block_on(receive(&saml, &asked, &response));
            prop_assert!(verdict.is_ok(), "{verdict:?} {:?} {around} {inside}", lists[list]);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn keys_of_elliptic_curves_sign_too() {
    let setup = setup("");
    std::fs::write(
        setup.path("idp.xml"),
        metadata(&["p521-cert.pem", "p256-cert.pem", "p384-cert.pem"]),
    )
    .unwrap();
    let saml = saml(setup.folder.path());
    for key in ["p256", "p384", "p521"] {
        for method in ["ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512"] {
            let asked = asked(&saml, &setup).await;
            let mut says = Says::honest(&asked);
            says.manner.key = key;
            says.manner.method = format!("http://www.w3.org/2001/04/xmldsig-more#{method}");
            let response = says.signed();
            let verdict = receive(&saml, &asked, &response).await;
            assert!(verdict.is_ok(), "{key} {method}: {verdict:?}");
            let changed = receive(&saml, &asked, &response.replace(">others<", ">admins<")).await;
            assert!(changed.is_err(), "{key} {method}");
        }
    }
}
