use proptest::prelude::*;

use super::*;

#[test]
fn a_payload_is_a_json_object() {
    let parse = |text: &str| Payload::parse(text).map(|payload| payload.as_str().to_owned());
    let kept = " {\"b\": 1.10, \"a\": 12345678901234567890123, \"\\u0000\": \"&=%+😀\"}\n";
    assert_eq!(parse(kept).as_deref(), Ok(kept));
    assert_eq!(parse(""), Err(InvalidPayload::Empty));
    assert_eq!(parse(" \n"), Err(InvalidPayload::Empty));
    for text in ["{}", " { \n} "] {
        assert_eq!(parse(text), Err(InvalidPayload::NoMembers), "{text}");
    }
    for text in ["[]", "\"a\"", "1", "true", "null", " [{}]"] {
        assert_eq!(parse(text), Err(InvalidPayload::NotObject), "{text}");
    }
    for text in ["{", "{}{}", "{'a':1}", "{\"a\":01}", "{\"a\":\"\0\"}", "{\"a\":NaN}", "hello"] {
        assert!(matches!(parse(text), Err(InvalidPayload::NotJson { .. })), "{text}");
    }
}

#[test]
fn a_replacement_character_is_accepted_as_an_escape_only() {
    assert_eq!(Payload::parse("{\"name\":\"M\u{fffd}ller\"}"), Err(InvalidPayload::NotUtf8));
    assert_eq!(Payload::parse("{\"\u{fffd}\":1}"), Err(InvalidPayload::NotUtf8));
    assert!(Payload::parse(r#"{"name":"M\ufffdller"}"#).is_ok());
}

#[test]
fn a_payload_has_at_most_256_kib() {
    let of = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(Payload::parse(of(256 * 1024)).is_ok());
    assert_eq!(Payload::parse(of(256 * 1024 + 1)), Err(InvalidPayload::TooLarge { bytes: 256 * 1024 + 1 }));
}

#[test]
fn a_payload_nests_at_most_1000_levels() {
    let nested =
        |levels: usize| format!("{{\"[[\\\"\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let deepest = Payload::parse(nested(1000)).expect("1000 levels are accepted");
    assert!(deepest.is_same_as(&format!(" {}", nested(1000))));
    assert_eq!(Payload::parse(nested(1001)), Err(InvalidPayload::TooDeep));
    // Closing brackets in strings do not make up for opening ones.
    let flat = |levels: usize| "{\"]}\":[".repeat(levels / 2) + &"]}".repeat(levels / 2);
    assert!(Payload::parse(flat(1000)).is_ok());
    assert_eq!(Payload::parse(flat(1002)), Err(InvalidPayload::TooDeep));
    // Far deeper than any stack: it must not be walked by recursion.
    assert_eq!(Payload::parse(nested(100_000)), Err(InvalidPayload::TooDeep));
}

#[test]
fn payloads_are_compared_as_json() {
    let same = |left: &str, right: &str| Payload::parse(left).expect(left).is_same_as(right);
    assert!(same(r#"{"a":1,"b":[true,null,{}]}"#, r#" { "b" : [ true , null, { } ], "a" : 1 } "#));
    assert!(same(r#"{"a":"\u0041\/"}"#, r#"{"a":"A/"}"#));
    assert!(same(r#"{"a":"\ud800"}"#, r#"{ "a": "\ud800" }"#));
    assert!(same(r#"{"a":9007199254740993}"#, r#"{"a": 9007199254740993}"#));
    for (left, right) in [
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
        (r#"{"a":[1]}"#, r#"{"a":[1,1]}"#),
        (r#"{"a":{}}"#, r#"{"a":[]}"#),
        (r#"{"a":null}"#, r#"{"b":null}"#),
        (r#"{"a":1}"#, "not JSON"),
    ] {
        assert!(!same(left, right), "{left} {right}");
    }
}

#[test]
fn no_object_has_a_name_twice() {
    let repeated = |text: &str| match Payload::parse(text) {
        Err(InvalidPayload::RepeatedName { pointer }) => Some(pointer),
        Ok(_) => None,
        Err(error) => panic!("{text}: {error}"),
    };
    for (text, pointer) in [
        (r#"{"amount":1000000,"amount":1}"#, "/amount"),
        (r#" { "a" : { "b" : 1 , "\u0062" : 2 } } "#, "/a/b"),
        (r#"{"list":[0,[],{"x":1},{"a":1,"b":[{}],"a":2}]}"#, "/list/3/a"),
        (r#"{"a":1,"b":{"c":[[{"d":{"e":1,"e":1}}]]}}"#, "/b/c/0/0/d/e"),
        (r#"{"":1,"":2}"#, "/"),
        (r#"{"a/b":{"m~n":1,"m~n":1}}"#, "/a~1b/m~0n"),
        (r#"{"\ud800":1,"\uD800":2}"#, "/\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(repeated(text).as_deref(), Some(pointer), "{text}");
    }
    for text in [
        r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#,
        r#"{"a":"a","b":"a","c":["a","a"]}"#,
        r#"{"a":"\"a\":1,","b":"a"}"#,
        r#"{"a":1,"A":1," a":1}"#,
    ] {
        assert_eq!(repeated(text), None, "{text}");
    }
    for (names, first) in [(7, 0), (8, 7), (9, 0), (100, 99)] {
        let members: String = (0..names).map(|name| format!("\"n{name}\":{{}},")).collect();
        assert_eq!(repeated(&format!("{{{members}\"last\":1}}")), None, "{names}");
        let pointer = repeated(&format!("{{{members}\"n{first}\":1}}"));
        assert_eq!(pointer, Some(format!("/n{first}")), "{names}");
    }
    let long = "x".repeat(1000);
    let pointer = repeated(&format!("{{\"{long}\":1,\"{long}\":1}}")).expect("twice");
    assert_eq!(pointer, format!("/{}…", &long[..255]));
}

#[test]
fn a_byte_order_mark_is_named() {
    assert_eq!(Payload::parse("\u{feff}{}"), Err(InvalidPayload::ByteOrderMark));
}

#[test]
fn half_a_surrogate_pair_is_compared_like_any_text() {
    let same = |left: &str, right: &str| Payload::parse(left).expect(left).is_same_as(right);
    assert!(same(r#"{"\ud800":"\ud800b"}"#, r#"{ "\uD800" : "\uD800\u0062" }"#));
    assert!(!same(r#"{"a":"\ud800"}"#, r#"{"a":"\ud801"}"#));
    assert!(!same(r#"{"a":"\ud800"}"#, r#"{"a":"\\ud800"}"#));
}

#[test]
fn the_largest_and_deepest_payloads_are_compared() {
    let levels = Payload::MAX_DEPTH - 1;
    let numbers = "1,".repeat((Payload::MAX_BYTES - 2 * levels) / 2 - 8);
    let text = |last| format!("{{\"a\":{}{numbers}{last}{}}}", "[".repeat(levels), "]".repeat(levels));
    let payload = Payload::parse(text(1)).expect("a payload");
    assert!(payload.is_same_as(&format!(" {}", text(1))));
    assert!(!payload.is_same_as(&format!(" {}", text(2))));
}

#[test]
fn a_payload_does_not_show_in_debug_output() {
    let payload = Payload::parse(r#"{"secret":1}"#).expect("valid");
    assert_eq!(format!("{payload:?}"), "Payload(12 bytes)");
}

/// Any text that a payload may hold.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace(char::REPLACEMENT_CHARACTER, ""))
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map(text(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_payload_is_the_same_however_it_is_laid_out(value in any_json()) {
        let value = serde_json::json!({ "value": value });
        let payload = Payload::parse(value.to_string()).expect("an object");
        let pretty = serde_json::to_string_pretty(&value).expect("serializes");
        prop_assert!(payload.is_same_as(&pretty));
    }

    #[test]
    fn payloads_are_the_same_exactly_if_their_values_are(left in any_json(), right in any_json()) {
        let left = serde_json::json!({ "value": left });
        let right = serde_json::json!({ "value": right });
        let payload = Payload::parse(left.to_string()).expect("an object");
        prop_assert_eq!(payload.is_same_as(&right.to_string()), left == right);
    }

    #[test]
    fn parsing_any_text_does_not_panic(text in any::<String>()) {
        let _ = Payload::parse(text);
    }
}

#[test]
fn what_was_cut_out_of_json_is_checked_like_any_other_text() {
    let too_long = format!("{{\"a\":\"{}\"}}", "x".repeat(Payload::MAX_BYTES));
    let too_deep = format!("{{\"a\":{}{}}}", "[".repeat(Payload::MAX_DEPTH), "]".repeat(Payload::MAX_DEPTH));
    for text in
        [r#"{"a": 1.0}"#, "[]", "{ }", r#"{"a":1,"a":1}"#, "{\"a\":\"\u{fffd}\"}", &too_long, &too_deep]
    {
        let json: &RawValue = serde_json::from_str(text).expect("JSON");
        assert_eq!(Payload::of_json(json), Payload::parse(text));
    }
}
