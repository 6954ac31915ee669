//! Payloads are returned exactly as they were sent, on both paths.

use e2e::stack::{Stack, text, unique};

/// The payloads that are most likely to be changed on the way.
fn delicate() -> Vec<String> {
    let mut payloads: Vec<String> = [
        r#"{"quotes":"say \"hi\" to 'them' \\ \\\\ \/ `${x}`","'":"\""}"#,
        r#"{"form":"a=1&b=2;c=%26%3D+2B %% + &amp; ?#","&":"=","%":"+","%00":"%zz"}"#,
        r#"{"form":"&MessageBody={}&MessageAttribute.2.Value.StringValue=bob&Action=PurgeQueue"}"#,
        "{\"emoji\":\"😀👩‍👩‍👧‍👦🇩🇪é漢字עברית\",\"😀\":\"key\"}",
        r#"{"nul":"\u0000","controls":"\u0001\u001f\u007f","short":"\n\r\t\b\f"}"#,
        r#"{"pair":"\ud83d\ude00","alone":"\ud800","wrong way round":"\ude00\ud83d","a":"\u0061"}"#,
        r#"{"id":1234567890123456789,"max":18446744073709551615,"more":123456789012345678901234567890}"#,
        r#"{"zero":-0,"one":1.0,"e":1E+2,"tiny":1e-400,"exact":0.1000000000000000055511151231257827}"#,
        " \t\r\n{\n  \"b\" : 1 ,\r\n\t\"a\" : [ ] , \"c\" : { }\n}\n ",
        r#"{"a":1,"b":2,"":{"":[null,true,false]}}"#,
        r#"{"vtl":"$input.body #set($x = 1)$x #if(true)a#end $util.urlEncode('x') ## no comment #* *#"}"#,
        r#"{"vtl":"$context.authorizer.principalId ${id} $!{x} \\$input \\#set #foreach($a in [1])"}"#,
        r#"{"partiql":"'; DROP TABLE messages; -- ?","?":"VALUE {'pk': ?}"}"#,
        r#"{"markup":"<script>alert(1)</script><![CDATA[x]]>&lt;&#0;"}"#,
        r#"{"base64":"eyJhIjoxfQ==","isBase64Encoded":true,"statusCode":500,"body":"x"}"#,
        "{\"raw\":\"\u{7f}\u{80}\u{a0}\u{2028}\u{2029}\u{feff}\u{10ffff}\"}",
        "{\"combining\":\"e\u{301} is not \u{e9}\"}",
        r#"{"+":" ","plus":"1+1","space":"a b"}"#,
    ]
    .map(str::to_owned)
    .into();
    payloads.push(format!("{{\"deep\":{}1{}}}", "[".repeat(500), "]".repeat(500)));
    payloads.push(format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500)));
    let wide = (0..2000).map(|number| format!("\"{number}\":[{number}]")).collect::<Vec<_>>().join(",");
    payloads.push(format!("{{{wide}}}"));
    payloads
}

#[tokio::test]
async fn a_stored_payload_is_returned_exactly_as_it_was_sent() {
    let stack = Stack::running();
    let caller = stack.caller();
    for payload in delicate() {
        let id = unique("m");
        let response = caller.put(&id, payload.clone()).await;
        assert_eq!(response.status, 201, "{payload}: {response:?}");
        // White space around the payload is no part of it in a response.
        assert_eq!(caller.look_up(&id).await.payload(), payload.trim());
        assert_eq!(text(&caller.item(&id).await.expect("it is stored"), "payload"), payload);
        assert_eq!(caller.put(&id, payload.clone()).await.status, 200, "{payload}");
    }
}

#[tokio::test]
async fn a_queued_payload_is_returned_exactly_as_it_was_sent() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut sent = Vec::new();
    for payload in delicate() {
        sent.push((caller.queued(&unique("q"), &payload).await, payload));
    }
    for (queued, payload) in sent {
        let response = caller.outcome(&queued).await;
        assert_eq!(response.message_status(), "stored", "{payload}: {response:?}");
        assert_eq!(response.payload(), payload.trim());
        assert_eq!(text(&caller.item(&queued.id).await.expect("it is stored"), "payload"), payload);
        // On the other path it is the same message.
        assert_eq!(caller.put(&queued.id, payload.clone()).await.status, 200, "{payload}");
    }
}
