//! Tokens as identity providers issue them, with the parameters that `docs/identity.md` gives for each.

use std::collections::BTreeMap;

use authorizer::{
    configuration::{key_source, listed},
    error::Denial,
    token::TokenVerifier,
};
use serde_json::{Value, json};

use super::signing::{SigningKey, Trusted, changed, seconds, verify_with};

const DOCUMENT: &str = include_str!("../../../docs/identity.md");

/// The parameters in the section of a provider.
fn recipe(provider: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {provider}\n\n```\n")).expect(provider);
    let (block, _) = section.split_once("```").expect("the end of the block");
    block.lines().map(|line| line.split_once('=').expect("a parameter")).collect()
}

fn verifier(recipe: &BTreeMap<&str, &str>) -> TokenVerifier {
    let list = |name: &str| listed(name, recipe[name]).expect("a list");
    TokenVerifier::new(&list("TokenIssuer"), &list("TokenAudience"), recipe.get("TokenScope").copied())
}

/// Tokens of each provider, after its documentation: section, what kind of token, claims.
fn shapes() -> Vec<(&'static str, &'static str, Value)> {
    let cognito = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE";
    let user = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
    let (tenant, api) = ("11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000");
    vec![
        (
            "Amazon Cognito",
            "ID",
            json!({ "sub": user, "cognito:groups": ["staff"], "email_verified": true, "iss": cognito,
                "cognito:username": user, "origin_jti": user, "aud": "1web23456789", "event_id": user,
                "token_use": "id", "auth_time": 1_700_000_000, "email": "jane@example.com" }),
        ),
        (
            "Amazon Cognito",
            "access",
            json!({ "sub": user, "device_key": "x", "iss": cognito, "client_id": "2mobile3456789", "version": 2,
                "token_use": "access", "scope": "aws.cognito.signin.user.admin openid", "username": user }),
        ),
        (
            "Amazon Cognito",
            "machine to machine",
            json!({ "sub": "1web23456789", "token_use": "access", "scope": "intake/write", "iss": cognito,
                "version": 2, "client_id": "1web23456789" }),
        ),
        (
            "Microsoft Entra ID",
            "version 2",
            json!({ "aud": api, "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"), "aio": "x",
                "azp": user, "azpacr": "1", "name": "Jane", "oid": user, "preferred_username": "j@example.com",
                "scp": "messages.write", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "tid": tenant,
                "uti": "x", "ver": "2.0" }),
        ),
        (
            "Microsoft Entra ID",
            "version 1",
            json!({ "aud": format!("api://{api}"), "iss": format!("https://sts.windows.net/{tenant}/"),
                "acr": "1", "appid": user, "appidacr": "0", "scp": "messages.read messages.write",
                "sub": "l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA", "tid": tenant, "ver": "1.0" }),
        ),
        (
            "Auth0",
            "user",
            json!({ "iss": "https://example.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
                "aud": ["https://intake.example.com", "https://example.eu.auth0.com/userinfo"],
                "azp": "my_client_id", "scope": "openid profile" }),
        ),
        (
            "Auth0",
            "machine to machine",
            json!({ "iss": "https://example.eu.auth0.com/", "sub": "my_client_id@clients",
                "aud": "https://intake.example.com", "azp": "my_client_id", "gty": "client-credentials" }),
        ),
        (
            "Okta",
            "access",
            json!({ "ver": 1, "jti": "AT.x", "iss": "https://example.okta.com/oauth2/default",
                "aud": "api://default", "cid": "0oa1", "uid": "00u1", "scp": ["openid", "messages.write"],
                "auth_time": 1_700_000_000, "sub": "jane@example.com" }),
        ),
        (
            "Keycloak",
            "access",
            json!({ "jti": user, "iss": "https://keycloak.example.com/realms/shop", "aud": ["intake", "account"],
                "sub": user, "typ": "Bearer", "azp": "web", "sid": user, "acr": "1",
                "realm_access": { "roles": ["offline_access"] }, "scope": "email profile" }),
        ),
        (
            "Google",
            "ID",
            json!({ "iss": "https://accounts.google.com", "sub": "110169484474386276334",
                "azp": "1234567890-example.apps.googleusercontent.com",
                "aud": "1234567890-example.apps.googleusercontent.com", "email_verified": "true" }),
        ),
        (
            "Google",
            "ID, in the older spelling",
            json!({ "iss": "accounts.google.com", "sub": "110169484474386276334",
                "aud": "1234567890-example.apps.googleusercontent.com" }),
        ),
        (
            "Firebase Authentication",
            "ID",
            json!({ "iss": "https://securetoken.google.com/example-project", "aud": "example-project",
                "auth_time": 1_700_000_000, "user_id": "uid1", "sub": "uid1",
                "firebase": { "identities": {}, "sign_in_provider": "password" } }),
        ),
        (
            "GitHub Actions",
            "workflow",
            json!({ "jti": user, "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
                "aud": "https://intake.example.com", "ref": "refs/heads/main", "repository": "octo-org/octo-repo",
                "iss": "https://token.actions.githubusercontent.com" }),
        ),
    ]
}

#[test]
fn tokens_of_every_provider_are_accepted_with_its_recipe_and_with_no_other() {
    let issuer = Trusted::new(SigningKey::rsa());
    let shapes = shapes();
    for (provider, kind, claims) in &shapes {
        let times = json!({ "iat": seconds(), "exp": seconds() + 3600 });
        let token = issuer.token(&changed(claims.clone(), &times));
        let result = verify_with(&verifier(&recipe(provider)), &token, &issuer.keys);
        assert_eq!(result.as_deref(), Ok(claims["sub"].as_str().expect("text")), "{provider}, {kind}");

        for (parameter, denial) in [
            ("TokenIssuer", Denial::OtherIssuer),
            ("TokenAudience", Denial::OtherAudience),
            ("TokenScope", Denial::NoScope),
        ] {
            let mut broken = recipe(provider);
            broken.insert(parameter, "another");
            let result = verify_with(&verifier(&broken), &token, &issuer.keys);
            assert_eq!(result, Err(denial), "{provider}, {kind}: {parameter}");
        }
        for (other, ..) in shapes.iter().filter(|(other, ..)| other != provider) {
            let result = verify_with(&verifier(&recipe(other)), &token, &issuer.keys);
            assert_eq!(result, Err(Denial::OtherIssuer), "{provider}, {kind}, with {other}");
        }
    }
}

#[test]
fn every_recipe_is_tried_and_names_an_address_of_keys() {
    let shapes = shapes();
    let sections = DOCUMENT.split("\n## ").filter(|section| section.contains("TokenJwksUrl=https"));
    let providers: Vec<_> = sections.filter_map(|section| section.lines().next()).collect();
    assert!(providers.len() >= 8, "{providers:?}");
    for provider in providers {
        assert!(shapes.iter().any(|(tried, ..)| *tried == provider), "{provider} is not tried");
        assert!(key_source(None, Some(recipe(provider)["TokenJwksUrl"].to_owned())).is_ok(), "{provider}");
    }
}
