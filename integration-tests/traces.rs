//! Traces, as a collector gets them over OTLP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::Setup;
use crate::support::http::Request;
use crate::support::process::until;

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";

/// Takes what is posted to `/v1/traces`.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let taken = spans.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = taken.clone();
                std::thread::spawn(move || serve(stream, &taken));
            }
        });
        Self { url, spans }
    }

    fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, taken: &Mutex<Vec<Value>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        assert!(line.starts_with("POST /v1/traces "), "{line}");
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let sent: Value = serde_json::from_slice(&body).ok()?;
        let resource = &sent["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0],
            json!({"key": "service.name", "value": {"stringValue": "gate"}})
        );
        taken
            .lock()
            .unwrap()
            .extend(resource["scopeSpans"][0]["spans"].as_array()?.iter().cloned());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .ok()?;
    }
}

#[test]
fn a_request_is_a_span_of_its_callers_trace_and_a_collector_that_is_away_holds_up_nobody() {
    let (echo, collector) = (Echo::start(), Collector::start());
    let mut setup = Setup::new(&echo.url);
    setup.sections += &format!(
        "[telemetry]\notlp_endpoint = \"{}\"\nservice_name = \"gate\"\n",
        collector.url
    );
    let mut gateway = setup.start();
    let bearer = format!("Bearer {}", gateway.token("vera"));
    let asked = |parent: &str| {
        Request::get(READS)
            .header("Authorization", &bearer)
            .header("traceparent", parent)
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = gateway.send(&asked(&format!("00-{trace}-00f067aa0ba902b7-01")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let quiet = gateway.send(&asked("00-11111111111111111111111111111111-00f067aa0ba902b7-00"));
    assert_eq!(quiet.status, 200);
    assert_eq!(gateway.send(&Request::get("/x?secret=hunter2")).status, 401);
    until("both spans are there", Duration::from_secs(15), || {
        collector.spans().len() == 2
    });

    let spans = collector.spans();
    let span = spans.iter().find(|span| span["traceId"] == trace).unwrap();
    assert_eq!(
        (&span["parentSpanId"], &span["kind"], &span["name"]),
        (&json!("00f067aa0ba902b7"), &json!(2), &json!("experiment.get"))
    );
    // What MLflow is told is that it stands under this span.
    let told = answer.json()["headers"].clone();
    let told = told
        .as_array()
        .unwrap()
        .iter()
        .find(|pair| pair[0] == "traceparent")
        .unwrap();
    let expected = format!("00-{trace}-{}-01", span["spanId"].as_str().unwrap());
    assert_eq!(told[1], expected);
    let has = |span: &Value, name: &str, value: Value| {
        let attributes = span["attributes"].as_array().unwrap();
        attributes.contains(&json!({"key": name, "value": value}))
    };
    assert!(
        has(span, "http.response.status_code", json!({"intValue": "200"})),
        "{span}"
    );
    assert!(has(span, "mlgate.outcome", json!({"stringValue": "allowed"})), "{span}");
    let id = answer.header("x-request-id").unwrap();
    assert!(has(span, "mlgate.request_id", json!({"stringValue": id})), "{span}");
    let refused = spans.iter().find(|span| span["traceId"] != trace).unwrap();
    assert!(has(refused, "url.path", json!({"stringValue": "/x"})) && refused.get("parentSpanId").is_none());
    let all = json!(spans).to_string();
    assert!(
        !all.contains("hunter2") && !all.contains("vera") && !all.contains("mlg_"),
        "{all}"
    );

    // The last ones are sent before the end.
    assert_eq!(
        gateway.send(&asked(&format!("00-{trace}-00f067aa0ba902b8-01"))).status,
        200
    );
    gateway.server.signal("TERM");
    assert_eq!(gateway.server.wait(Duration::from_secs(20)), Some(0));
    assert_eq!(collector.spans().len(), 3);

    gateway.setup.sections = gateway.setup.sections.replace(&collector.url, "http://127.0.0.1:1");
    gateway.setup.write();
    gateway.restart();
    let bearer = format!("Bearer {}", gateway.token("vera"));
    for _ in 0..5 {
        assert_eq!(
            gateway
                .send(&Request::get(READS).header("Authorization", &bearer))
                .status,
            200
        );
    }
    until("dropped spans are counted", Duration::from_secs(15), || {
        let metrics = Request::get("/metrics").send(&gateway.admin_authority()).text();
        metrics.contains("mlgate_spans_total{outcome=\"dropped\"}")
    });
}
