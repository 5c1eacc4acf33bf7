//! The decision alone: roles of an identity, and one access, with 10, 1,000 and 10,000 grants.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use mlgate::config::{Grant, Role};
use mlgate::domain::{Access, Caller, Identity, Kind, Permission, Requires, Resource, Scope, Timestamp, Via};
use mlgate::policy::Policy;

struct Ask([Access; 1]);

impl Requires for Ask {
    fn action(&self) -> &'static str {
        "bench.ask"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

fn caller() -> Caller {
    let identity = Identity {
        provider: "corp".to_owned(),
        subject: "1".to_owned(),
        user: "ann".to_owned(),
        display_name: None,
        email: None,
        groups: vec!["team".to_owned()],
        authenticated_at: Timestamp::from_seconds(0),
    };
    Caller {
        identity: Arc::new(identity),
        via: Via::Session,
        credential: None,
        scope: Scope::default(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn policy(grants: usize) -> Policy {
    let patterns = (0..grants).map(|number| format!("team-{number}/*")).collect();
    Policy::new(&[Role {
        name: "team".to_owned(),
        groups: vec!["corp:team".to_owned()],
        users: Vec::new(),
        upstreams: Vec::new(),
        workspaces: Vec::new(),
        device_flow: true,
        grants: vec![Grant {
            permission: Some(Permission::Edit),
            patterns: vec![(Kind::Experiment, patterns)],
        }],
    }])
}

fn decisions(criterion: &mut Criterion) {
    let caller = caller();
    for grants in [10, 1_000, 10_000] {
        let policy = policy(grants);
        let name = format!("team-{}/run", grants - 1);
        let standing = policy.standing(&caller.identity, "production");
        criterion.bench_function(&format!("a decision with {grants} grants"), |bencher| {
            bencher.iter(|| {
                let access = Access::on(Permission::Edit, Resource::one(Kind::Experiment, "1", name.as_str()));
                let permit = policy.authorize(Some((black_box(&caller).clone(), &standing)), Ask([access]));
                assert!(permit.is_ok());
            });
        });
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
