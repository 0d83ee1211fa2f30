//! Queues through the API.

use e2e::{Forge, QUICK};
use serde_json::{Value, json};
use testkit::eventually;

#[tokio::test]
async fn dead_webhooks_are_listed_shown_sent_again_and_dropped() {
    let forge = Forge::start_with(0, &[]).await;
    let repo = forge.repo(QUICK);
    let example = include_str!("../../../../contracts/examples/webhook-delivery/push.json");
    let mut webhook: Value = serde_json::from_str(example).unwrap();
    webhook["source"]["after"] = repo.head().into();
    webhook["repository"] = json!({"full_name": repo.name, "clone_url": repo.url});
    let letter = format!("{{\"id\":\"w\",\"reason\":\"the database was away\"}}\n{webhook}");
    forge.redis.cli(&["LPUSH", "{forge:webhooks}:dead", &letter]);
    forge.redis.cli(&["LPUSH", "forge:webhooks", "not json"]);
    let letters = eventually("both are letters", async || {
        let letters = forge.get("/v1/queues/webhooks/dead").await?;
        (letters.as_array()?.len() == 2).then_some(letters)
    })
    .await;
    let path = |n: usize| format!("/v1/queues/webhooks/dead/{}", letters[n]["id"].as_str().unwrap());
    assert_eq!(letters[1]["reason"], "the database was away");
    let junk = forge.get(&path(0)).await.unwrap();
    assert_eq!((&junk["payload"], &junk["bytes"]), (&json!("not json"), &json!(8)));

    let (status, answer) = forge.post(&path(0)).await;
    assert!(
        status == 409 && answer["error"].as_str().unwrap().contains("no message"),
        "{answer}"
    );
    let (status, answer) = forge.post(&path(1)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("queued")));
    forge.build_that_is("queued").await;
    let queues = forge.get("/v1/queues").await.unwrap();
    assert_eq!(
        (&queues["webhooks"]["dead"], &queues["builds"]["waiting"]),
        (&json!(1), &json!(1))
    );

    let age = queues["builds"]["oldest_age_seconds"].as_i64();
    assert!(age.is_some_and(|age| (0..60).contains(&age)), "{queues}");
    assert_eq!(queues["webhooks"]["oldest_age_seconds"], Value::Null);

    assert_eq!(
        forge.post("/v1/queues/webhooks/dead").await.1,
        json!({"queued": 0, "left": 1})
    );
    assert_eq!(forge.delete(&path(0)).await, 200);
    assert_eq!(forge.delete(&path(0)).await, 404);
    assert_eq!(forge.delete("/v1/queues/nothing/dead").await, 404);
    forge.redis.cli(&["LPUSH", "{forge:webhooks}:dead", "a", "b", &letter]);
    let replayed = forge.post("/v1/queues/webhooks/dead").await.1;
    assert_eq!(
        replayed,
        json!({"queued": 0, "left": 3}),
        "that webhook has ended as done"
    );
    assert_eq!(forge.delete("/v1/queues/webhooks/dead").await, 200);
    assert_eq!(forge.get("/v1/queues/webhooks/dead").await, Some(json!([])));
}
