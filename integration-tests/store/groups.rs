//! The store's promises on several redis-servers: watched over by Sentinels, and in a cluster, for a user with no more rights
//! than it needs. A master dies, another takes its place, and nobody is signed out.

use std::time::{Duration, Instant};

use super::replicas::{ADDRESS, Replica, alice};
use super::{FIVE_SECONDS, MINUTE, keeps_its_promises, open, until};
use crate::support::redis_group::Group;

async fn outlives_its_master(mut group: Group) {
    let store = open(&group.kind());
    keeps_its_promises(store).await;
    let (one, two) = (
        Replica::on(&group.kind(), MINUTE).await,
        Replica::on(&group.kind(), MINUTE).await,
    );
    let (cookie, session) = one.sessions.open(alice(), ADDRESS, None).await.unwrap();
    let (token, _) = one.tokens.create(alice(), "ci", MINUTE, true).await.unwrap();
    assert!(one.knows(&cookie).await && two.knows(&cookie).await);
    let written = group.master.cli(&["wait", "1", "5000"]);
    assert_eq!(written, "1\n", "the replica has it too");

    let failing = tokio::task::spawn_blocking(move || {
        group.fail_over();
        group
    });
    while !failing.is_finished() {
        let asked = Instant::now();
        assert!(one.knows(&cookie).await, "who was seen lately goes on");
        let write = one.sessions.open(alice(), ADDRESS, None).await;
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{:?} for {write:?}",
            asked.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let group = failing.await.unwrap();
    until(FIVE_SECONDS, "the new master is found", || async {
        one.sessions.open(alice(), ADDRESS, None).await.is_ok() && two.store.ping().await.is_ok()
    })
    .await;
    let newcomer = Replica::on(&group.kind_that_names_all(), MINUTE).await;
    assert!(newcomer.knows(&cookie).await, "nobody is signed out");
    assert!(newcomer.tokens.find(token.expose()).await.unwrap().is_some());
    assert!(two.knows(&cookie).await && two.tokens.find(token.expose()).await.unwrap().is_some());
    one.sessions.revoke(&session.id).await.unwrap().unwrap();
    until(FIVE_SECONDS, "ends are heard again", || async {
        !two.knows(&cookie).await
    })
    .await;
}

#[tokio::test]
async fn servers_under_sentinels_keep_the_promises_and_outlive_their_master() {
    outlives_its_master(tokio::task::spawn_blocking(Group::with_sentinels).await.unwrap()).await;
}

#[tokio::test]
async fn a_cluster_keeps_the_promises_and_outlives_a_master() {
    outlives_its_master(tokio::task::spawn_blocking(Group::cluster).await.unwrap()).await;
}
