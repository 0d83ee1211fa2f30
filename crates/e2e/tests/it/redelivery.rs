//! Webhooks that never arrived are asked for again.

use crate::planning::{builds_are, commit, push};
use e2e::{Forge, WEBHOOK_SECRET};
use testkit::{GithubApi, Hook, eventually};

fn hook(branch: &str) -> Hook {
    let git_ref = format!("refs/heads/{branch}");
    let body = testkit::push_body("acme/shop", "https://github.com/acme/shop.git", &git_ref, &commit('1'));
    Hook::new("push", body, WEBHOOK_SECRET)
}

/// Restarts prow with more settings, and an API that delivers to gateway.
async fn with_github(forge: &mut Forge, settings: &[(&str, &str)]) -> GithubApi {
    let github = GithubApi::start(&forge.gateway_url()).await;
    forge.prow.kill();
    forge.set("GITHUB_API_URL", github.url());
    forge.set("GITHUB_SWEEP_SECONDS", "5");
    for (name, value) in settings {
        forge.set(name, value);
    }
    github
}

#[tokio::test]
async fn what_never_arrived_is_asked_for_until_it_does_and_three_times_at_most() {
    let mut forge = Forge::start_with(0, &[]).await;
    let (lost, here, late) = (hook("lost"), hook("here"), hook("late"));
    assert_eq!(here.send(&forge.gateway_url()).await.0, 202);
    // After the first push to this branch, which never arrived, came another.
    assert_eq!(push(&forge, "refs/heads/late", '8', '9', &[]).await, 202);
    builds_are(&forge, &["default 9 queued", "default 1 queued"]).await;
    let settings = [
        ("GITHUB_HOOKS", "repos/acme/shop/hooks/7"),
        ("GITHUB_HOOKS_TOKEN", "a-token-for-hooks"),
    ];
    let github = with_github(&mut forge, &settings).await;
    github.has_delivered("arrived", 30, 202, None);
    github.has_delivered("refused", 310, 502, None); // It holds up nothing that comes after it.
    github.has_delivered(&late.delivery.clone(), 280, 502, Some(late));
    github.has_delivered(&lost.delivery.clone(), 300, 502, Some(lost));
    github.has_delivered(&here.delivery.clone(), 300, 0, Some(here.clone())); // It came, but GitHub had given up.
    github.has_delivered("forgotten", 3 * 86_400 + 60, 502, None);
    github.has_delivered("just now", 10, 502, None);
    github.has_delivered("never", 200, 502, None);
    forge.start_prow();

    eventually("what was lost is built", async || {
        let builds = forge.builds().await;
        let of = |branch: &str, commit: char, status: &str| {
            builds.iter().any(|build| {
                build["git_ref"] == format!("refs/heads/{branch}")
                    && build["commit"].as_str().is_some_and(|hash| hash.starts_with(commit))
                    && build["status"] == status
            })
        };
        let newer_wins = of("late", '9', "queued") && of("late", '1', "superseded");
        (builds.len() == 4 && of("lost", '1', "queued") && of("here", '1', "queued") && newer_wins).then_some(())
    })
    .await;
    for times in 1..=3 {
        eventually("it is asked for again", async || {
            (github.asked_for("never") == times).then_some(())
        })
        .await;
        github.goes_on(120);
    }
    let asked = github.asked_for("just now");
    eventually("what was young is old", async || {
        (github.asked_for("just now") > asked.min(2)).then_some(())
    })
    .await;
    assert_eq!(github.asked_for("never"), 3);
    assert_eq!(
        (
            github.asked_for("arrived"),
            github.asked_for("forgotten"),
            github.asked_for(&here.delivery)
        ),
        (0, 0, 0)
    );
    assert!(github.tokens().iter().all(|token| token == "a-token-for-hooks"));
    assert_eq!(forge.builds().await.len(), 4);
}

#[tokio::test]
async fn an_app_asks_with_tokens_of_its_own() {
    let mut forge = Forge::start_with(0, &[]).await;
    let key = std::process::Command::new("openssl")
        .args(["genrsa", "-traditional", "2048"])
        .output()
        .unwrap();
    let key = String::from_utf8(key.stdout).unwrap();
    let settings = [("GITHUB_APP_ID", "4711"), ("GITHUB_APP_PRIVATE_KEY", key.as_str())];
    let github = with_github(&mut forge, &settings).await;
    let lost = hook("lost");
    github.has_delivered(&lost.delivery.clone(), 300, 502, Some(lost));
    forge.start_prow();
    eventually("what was lost is built", async || {
        (forge.builds().await.len() == 1).then_some(())
    })
    .await;
    let token = github.tokens().pop().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    let claims = parts[1].replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - claims.len() % 4) % 4);
    let claims = seal::base64_to_bytes(&format!("{claims}{padding}")).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let number = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(claims["iss"], "4711");
    assert!(
        number("exp") - number("iat") <= 600,
        "GitHub takes ten minutes at most: {claims}"
    );
}
