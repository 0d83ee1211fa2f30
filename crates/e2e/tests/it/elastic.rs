//! Pushing to Amazon's registry: repositories, policies, tokens, and what it says when it does not want to.

use crate::images::{build, docker};
use e2e::{Forge, QUICK};
use serde_json::json;
use testkit::Elastic;

/// A system whose registry is Amazon's; settings come besides.
async fn forge(ecr: &Elastic, more: &[(&str, &str)]) -> Forge {
    let mut variables: Vec<(&str, String)> = ecr.variables().to_vec();
    variables.push(("ECR_HOST", ecr.host().to_owned()));
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut all: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // Those of the usual registry stand before them.
    let prefix = format!("{}/team", ecr.host());
    all.push(("REGISTRY", &prefix));
    Forge::start_with(1, &all).await
}

#[tokio::test]
async fn a_repository_is_made_with_its_policy_and_the_image_is_there() {
    let ecr = Elastic::start().await;
    let forge = forge(&ecr, &[("ECR_TAGS", "owner=forge,cost=ci"), ("ECR_KEEP_TAGGED", "5")]).await;
    let repo = forge.repo(QUICK);
    let done = build(&forge, &repo, json!({"branch": "main"})).await;
    assert_eq!(done["status"], "success", "{done}");
    let name = format!("team/{}", repo.name);
    let images = ecr
        .boto3(&format!("ecr.describe_images(repositoryName='{name}')['imageDetails']"))
        .await;
    assert_eq!(images[0]["imageDigest"], done["digest"], "{images}");
    let tags = images[0]["imageTags"].to_string();
    assert!(tags.contains(&repo.head()) && tags.contains("main"), "{tags}");
    let made = ecr
        .boto3(&format!(
            "ecr.describe_repositories(repositoryNames=['{name}'])['repositories'][0]"
        ))
        .await;
    assert_eq!(made["imageScanningConfiguration"]["scanOnPush"], true, "{made}");
    let policy = ecr
        .boto3(&format!(
            "json.loads(ecr.get_lifecycle_policy(repositoryName='{name}')['lifecyclePolicyText'])"
        ))
        .await;
    let counts: Vec<_> = policy["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["selection"]["countNumber"].clone())
        .collect();
    assert_eq!(counts, [json!(7), json!(5)], "{policy}");

    // What its owner changes stays so, and a token is used for as long as it is good.
    ecr.boto3(&format!("ecr.delete_lifecycle_policy(repositoryName='{name}')"))
        .await;
    let (tokens, again) = (
        ecr.tokens(),
        build(&forge, &repo, json!({"options": {"no_cache": true}})).await,
    );
    assert_eq!(
        (again["status"].as_str(), ecr.tokens()),
        (Some("success"), tokens),
        "{again}"
    );
    assert!(
        !ecr.boto3("ecr.describe_repositories()['repositories']")
            .await
            .as_array()
            .unwrap()
            .is_empty()
    );
    docker(&["logout", ecr.host()]);
}

#[tokio::test]
async fn a_token_that_expires_on_the_way_is_replaced_and_what_arrived_is_not_sent_again() {
    let ecr = Elastic::start().await;
    let forge = forge(&ecr, &[]).await;
    let repo =
        forge.repo("FROM busybox\nRUN head -c 3000000 /dev/urandom > /a\nRUN head -c 3000000 /dev/urandom > /b\n");
    ecr.expire_after(3);
    let done = build(&forge, &repo, json!({})).await;
    assert_eq!(
        (done["status"].as_str(), done["attempts"].as_i64()),
        (Some("success"), Some(1)),
        "{done}"
    );
    assert!(
        (2..=3).contains(&ecr.tokens()),
        "two for the build, and one for the look at the registry at start"
    );
    forge.log_that_says(&done, "trying with a new token").await;
    ecr.throttle(2);
    ecr.expire();
    let throttled = build(&forge, &repo, json!({"options": {"no_cache": true}})).await;
    assert_eq!(throttled["status"], "success", "{throttled}");
}

#[tokio::test]
async fn what_amazon_denies_is_denied_at_once_and_what_it_is_too_busy_for_is_tried_again() {
    let ecr = Elastic::start().await;
    let forge = forge(&ecr, &[]).await;
    let repo = forge.repo(QUICK);
    ecr.deny(true);
    let denied = build(&forge, &repo, json!({})).await;
    assert_eq!(
        (denied["failure"]["kind"].as_str(), denied["attempts"].as_i64()),
        (Some("push_denied"), Some(1)),
        "{denied}"
    );
    let sentence = denied["failure"]["message"].as_str().unwrap();
    assert!(
        sentence.contains("AccessDeniedException") && sentence.contains("is not authorized"),
        "{sentence}"
    );
    ecr.deny(false);
    ecr.throttle(5); // More than one call is tried within an attempt; the next one gets through.
    let busy = build(&forge, &repo, json!({})).await;
    assert_eq!(busy["status"], "success", "{busy}");
    assert!(busy["attempts"].as_i64() == Some(2), "{busy}");
}
