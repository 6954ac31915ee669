//! The console and the client in a real browser, on a stack that these tests have for themselves:
//! `cargo xtask test --step console`.
//!
//! They run one after the other, because each of them switches faults of the whole stack.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod browser;
mod client;
mod page;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::stack::{Item, eventually, number, text, unique};
use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::page::Page;

#[tokio::test]
async fn both_designs_store_a_message_and_the_outcome_arrives_over_the_socket() {
    let mut page = Page::open().await;
    let id = unique("both");
    page.send("both", &id, r#"{"item":"book"}"#).await;
    page.until("all.every(({ status }) => status === 'stored')").await;
    let message = page.get("(({ notifiedAt, lookUps, storedAt, dueAt }) => [notifiedAt >= dueAt, lookUps.length, storedAt > 0])(all[1])").await;
    assert_eq!(message, json!([true, 0, true]), "notified, not looked up, with the time");
    for id in [id.clone(), format!("{id}-q")] {
        let item = page.stack.item("alice", &id).await.expect("it is in the table");
        assert_eq!(text(&item, "payload"), r#"{"item":"book"}"#);
    }
    // The list is drawn a little later than the outcomes arrive.
    page.until("[...document.querySelectorAll('#list td.status')].map((cell) => cell.textContent).join() === 'stored,stored'")
        .await;
    page.close().await;
}

#[tokio::test]
async fn a_repeated_a_different_and_an_invalid_message_end_as_the_api_says() {
    let mut page = Page::open().await;
    page.send("both", &unique("ends"), r#"{"item":"book"}"#).await;
    page.until("all.every(({ status }) => status === 'stored')").await;
    for (example, statuses, code) in [
        ("same", ["stored", "stored"], 200),
        ("other", ["conflict", "conflict"], 409),
        ("invalid", ["not accepted", "not accepted"], 400),
        ("illegal", ["not accepted", "not accepted"], 400),
    ] {
        let before = page.get("all.length").await;
        page.click(&format!("[data-example={example}]")).await;
        let [sync, queue] = statuses;
        page.until(&format!(
            "all.length === {before} + 2 && all.at(-2).status === '{sync}' && all.at(-1).status === '{queue}'"
        ))
        .await;
        assert_eq!(page.get("all.at(-2).attempts[0].response.status").await, code, "{example}");
        if code >= 400 {
            let title = page.get("JSON.parse(all.at(-2).attempts[0].response.text).title").await;
            page.until(&format!("$('#responses').textContent.includes({title})")).await;
        }
    }
    page.close().await;
}

#[tokio::test]
async fn an_outcome_shows_under_the_request_that_it_belongs_to() {
    let mut page = Page::open().await;
    let id = unique("twice");
    page.send("queue", &id, r#"{"item":"first"}"#).await;
    page.until("all[0].status === 'stored'").await;
    page.send("queue", &id, r#"{"item":"second"}"#).await;
    page.send("queue", &id, r#"{"item":"first"}"#).await;
    page.until("all.every(({ status }) => status !== 'queued')").await;
    for (place, expected) in ["stored", "conflict", "stored"].iter().enumerate() {
        let path = page.get(&format!("all[{place}].statusPath")).await;
        let caller = page.stack.caller_named("alice");
        let looked_up = caller.get(path.as_str().expect("a path")).await.message_status();
        assert_eq!(looked_up, *expected, "the API's outcome of request {place}");
        assert_eq!(page.get(&format!("all[{place}].status")).await, *expected, "the page's");
    }
    page.close().await;
}

#[tokio::test]
async fn after_a_burst_beyond_the_capacity_the_counts_are_those_of_the_tables() {
    let mut page = Page::open().await;
    let letters = page.stack.dead_letters().await.len();
    page.set("#capacity", "3").await;
    page.until("$('#operator-state').textContent.includes('50 writes/s')").await;
    page.set("#burst-owners", "alice, bob").await;
    // Each takes two writes, so that a busy machine exceeds the capacity, too.
    page.set("#burst-bytes", "1000").await;
    burst(&mut page, 500, 150).await;
    page.until("all.every(({ status }) => !['waiting', 'sent', 'queued'].includes(status))").await;
    page.until("Number($('[data-count=\"queue no outcome yet\"]').textContent) === 0").await;
    page.set("#capacity", "8").await;

    assert_eq!(page.get("all.length").await, 1000);
    for way in ["sync", "queue"] {
        let in_table = stored(&mut page, way).await.len() as u64;
        assert_eq!(shown(&mut page, &format!("{way} stored")).await, in_table, "{way}");
    }
    assert!(shown(&mut page, "sync not accepted").await > 0, "the capacity was exceeded");
    assert_eq!(shown(&mut page, "queue sent").await, 500);
    let failed = shown(&mut page, "queue failed").await;
    eventually("the dead letters", async || match page.stack.dead_letters().await.len() - letters {
        found if found as u64 == failed => Ok(()),
        found => Err(format!("{found}, the page has {failed}")),
    })
    .await;
    page.close().await;
}

#[tokio::test]
async fn an_outage_makes_one_design_fail_and_the_other_wait_even_if_a_consumer_is_killed() {
    let mut page = Page::open().await;
    // Longer than the outage: only what the killed consumer held is redelivered.
    page.stack.redeliver_after(Duration::from_secs(10)).await;
    page.set("#outage-seconds", "600").await;
    page.click("#outage").await;
    page.until("document.body.classList.contains('outage')").await;
    page.send("both", &unique("outage"), r#"{"item":"book"}"#).await;
    assert_eq!(page.get("all[0].attempts[0].response.status").await, 503);
    page.until("$('#responses').textContent.includes('The message was not confirmed as stored')").await;
    assert_eq!(page.get("all[1].attempts[0].response.status").await, 202);
    page.click("#burst [value=queue]").await;
    burst(&mut page, 30, 100).await;
    page.until("Number($('#queue-delivered').textContent) > 1").await;
    page.click("#kill").await;
    page.until("/^Killed the consumer process [0-9]+/.test($('#operator-state').textContent)").await;
    assert_eq!(page.get("all.filter(({ status }) => status === 'queued').length").await, 31);
    page.click("#outage").await;
    page.until("!document.body.classList.contains('outage')").await;

    page.until("all.every(({ way, status }) => way === 'sync' || status === 'stored')").await;
    page.until("$('[data-count=\"queue stored\"]').textContent === '31'").await;
    let items = stored(&mut page, "queue").await;
    assert_eq!(items.len(), 31, "nothing is lost");
    let redelivered = items.iter().filter(|item| number(item, "attempts") > 1).count();
    assert!(redelivered > 0, "what the killed consumer held was redelivered");
    page.close().await;
}

#[tokio::test]
async fn at_an_even_load_the_times_to_stored_are_those_of_the_tables() {
    let mut page = Page::open().await;
    burst(&mut page, 60, 20).await;
    page.until("all.every(({ status, storedAt }) => status === 'stored' && storedAt !== null)").await;
    let early = "all.filter(({ storedAt, attempts }) => storedAt < attempts[0].sentAt).length";
    assert_eq!(page.get(early).await, 0, "nothing is stored before its request is sent");
    for way in ["sync", "queue"] {
        // Only seconds that are over are drawn.
        let drawn = format!("window.intake.messages.columns().flatMap(({{ {way} }}) => {way}.storedMs)");
        page.until(&format!("{drawn}.length === 60")).await;
        let drawn = page.get(&drawn).await;
        let drawn: Vec<_> = drawn.as_array().expect("times").iter().filter_map(Value::as_f64).collect();
        let due = page
            .get("Object.fromEntries(all.map(({ id, owner, dueAt }) => [`${id}#${owner}`, dueAt]))")
            .await;
        let items = stored(&mut page, way).await;
        let in_table = items.iter().map(|item| {
            let at: Timestamp = text(item, "stored_at").parse().expect("a time");
            at.as_millisecond() as f64 - due[text(item, "pk")].as_f64().expect("a time")
        });
        let (drawn, in_table) = (median(drawn), median(in_table.collect()));
        assert!((drawn - in_table).abs() <= 3.0, "{way}: {drawn} ms on the page, {in_table} ms in the table");
    }
    page.close().await;
}

#[tokio::test]
async fn the_burst_of_the_guided_demo_shows_both_designs_at_the_line_and_one_that_accepts_everything() {
    let mut page = Page::open().await;
    page.click("[data-demo=burst] button").await;
    page.until("all.length >= 960 && $('.running') === null").await;
    // In the twelve seconds of the burst each design stores what its own database can: ten a second, and one second's
    // units that had been saved.
    for way in ["sync", "queue"] {
        let meanwhile = page
            .get(&format!(
                "((own) => own.filter(({{ storedAt }}) => storedAt && storedAt < own.at(-1).dueAt).length)\
                 (all.filter(({{ way }}) => way === '{way}'))"
            ))
            .await;
        let meanwhile = meanwhile.as_u64().expect("a number");
        assert!((90..=150).contains(&meanwhile), "{way}: {meanwhile} stored in 12 s");
    }
    assert_eq!(shown(&mut page, "queue not accepted").await, 0);
    let (accepted, queue) = (shown(&mut page, "sync accepted").await, stored(&mut page, "queue").await.len());
    assert_eq!(stored(&mut page, "sync").await.len() as u64, accepted);
    let text = demo_text(&mut page, "burst").await;
    let first = format!("Synchronous stored {accepted} of 480, each within ");
    let again = format!("; {} got 503 (not confirmed: send again). ", 480 - accepted);
    assert!(text.starts_with(&first) && text.contains(&again), "{text}");
    let then = match queue {
        480 => "Queue stored all 480, each within ".to_owned(),
        queue => format!("Queue accepted all 480, stored {queue}"),
    };
    assert!(text.contains(&then), "{queue} in the table: {text}");
    assert_marks(&mut page, "10 writes/s").await;
    page.until("$('#capacity-value').textContent === 'no limit'").await;
    page.close().await;
}

#[tokio::test]
async fn the_outage_of_the_guided_demo_leaves_callers_of_one_design_in_doubt_also_in_bulks() {
    let mut page = Page::open().await;
    page.set("#guide-bulk", "10").await;
    page.click("[data-demo=outage] button").await;
    page.until("all.length === 400 && $('.running') === null").await;
    assert_eq!(page.get("all.every(({ bulk }) => bulk.length === 10)").await, true);
    let accepted = shown(&mut page, "sync accepted").await;
    assert!(accepted < 200 && shown(&mut page, "sync of them in doubt").await == 200 - accepted);
    let text = demo_text(&mut page, "outage").await;
    let first = format!("Synchronous stored {accepted} of 200, each within ");
    let again = format!("; {} got ", 200 - accepted);
    assert!(text.starts_with(&first) && text.contains(&again), "{text}");
    assert!(text.contains("Queue stored all 200, each within "), "{text}");
    assert_eq!(stored(&mut page, "queue").await.len(), 200);
    for event in ["outage", "back"] {
        assert_marks(&mut page, event).await;
    }
    page.close().await;
}

#[tokio::test]
async fn a_bulk_ends_as_the_api_says_in_the_response_the_box_and_the_table() {
    let mut page = Page::open().await;
    let id = unique("bulk");
    page.set("#one-bulk", "3").await;
    page.send("both", &id, r#"{"item":"book"}"#).await;
    page.until("all.length === 6 && all.every(({ status }) => status === 'stored')").await;
    assert_eq!(page.get("all[0].attempts[0].response.status").await, 200);
    assert!(page.get("all[3].receipt").await.as_str().expect("a receipt").starts_with("bulk-"));
    page.until("$('#responses .queue b').textContent === '202 → 3 stored'").await;
    for (example, status, code) in
        [("same", "stored", 200), ("other", "conflict", 207), ("invalid", "rejected", 207)]
    {
        page.get("void all.splice(0)").await;
        page.click(&format!("[data-example={example}]")).await;
        page.until(&format!("all.length === 6 && all.every(({{ status }}) => status === '{status}')")).await;
        assert_eq!(page.get("all[0].attempts[0].response.status").await, code, "{example}");
        // One look-up is about the whole receipt.
        page.get("all[5].lookUps.length === 0 && $('#list button').click()").await;
        page.until("$('#details').open").await;
        page.click("#details [data-action=look-up]").await;
        page.until("all[3].lookUps.length === 1").await;
        let found = page.get("all[3].lookUps[0].response.json.outcomes.map(({ status }) => status)").await;
        assert_eq!(found, json!([status, status, status]), "{example}");
        page.click("#details .head button").await;
    }
    assert_eq!(shown(&mut page, "sync stored").await, 3, "repeated, and still in the table once");
    page.close().await;
}

#[tokio::test]
async fn what_changes_something_and_what_shows_it_are_on_one_screen() {
    let mut page = Page::open().await;
    let below = "[...document.querySelectorAll('#guide, #operator, #one, #burst, .charts figure')]\
                 .filter((part) => part.checkVisibility() && part.getBoundingClientRect().bottom > innerHeight)\
                 .map((part) => `${part.tagName} ${part.id} ${part.ariaLabel}`)";
    page.resize(1400, 900, "light").await;
    assert_eq!(page.get(below).await, json!([]));
    page.click("details:has(#burst) summary").await;
    page.until("$('#burst').checkVisibility() && !$('#one').checkVisibility()").await;
    assert_eq!(page.get(below).await, json!([]));
    page.resize(390, 844, "light").await;
    let apart = "Math.max(...[...document.querySelectorAll('#way-sync figure')].map((figure, at) => \
                 document.querySelectorAll('#way-queue figure')[at].getBoundingClientRect().bottom - \
                 figure.getBoundingClientRect().top))";
    let apart = page.get(apart).await.as_f64().expect("a height");
    assert!(apart < 400.0, "each chart of one design is beside that of the other: {apart}");
    let small = "[...document.querySelectorAll('body *')].filter((part) => part.checkVisibility() && \
                 [...part.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) && \
                 parseFloat(getComputedStyle(part).fontSize) < 11).map((part) => part.outerHTML)";
    assert_eq!(page.get(small).await, json!([]), "text is at least 11 px high");
    page.close().await;
}

#[tokio::test]
async fn both_responses_show_whole_and_turn_into_their_outcomes() {
    let mut page = Page::open().await;
    page.resize(1400, 900, "light").await;
    page.send("both", &unique("whole"), r#"{"item":"book"}"#).await;
    let heads = "[...document.querySelectorAll('#responses p b')].map((head) => head.textContent).join()";
    page.until(&format!("{heads} === '201 → stored,202 → stored'")).await;
    let cut = "[...document.querySelectorAll('#responses, #responses pre')]\
               .some((box) => box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1)";
    assert_eq!(page.get(cut).await, false, "nothing of them has to be scrolled");
    page.close().await;
}

#[tokio::test]
async fn wrong_numbers_are_refused_and_a_page_without_the_key_says_what_to_do() {
    let mut page = Page::open().await;
    for seconds in ["", "-1", "0", "1.5", "601"] {
        page.set("#outage-seconds", seconds).await;
        page.click("#outage").await;
        assert_eq!(page.get("$('#outage-seconds').matches(':invalid')").await, true, "{seconds:?}");
    }
    for number in ["", "0", "101"] {
        page.set("#guide-bulk", number).await;
        page.click("[data-demo=even] button").await;
        assert_eq!(page.get("all.length === 0 && !$('.running')").await, true, "{number:?} in one request");
    }
    assert_eq!(page.get("$('#advice').hidden && !document.body.classList.contains('outage')").await, true);
    let url = page.url.split('#').next().expect("an address").to_owned();
    page.browser.call("Page.navigate", json!({ "url": "about:blank" })).await;
    page.browser.call("Page.navigate", json!({ "url": url })).await;
    page.browser.until("document.body?.dataset.ready === 'true'").await;
    page.until("!$('#advice').hidden && $('#advice').textContent.includes('#key=')").await;
    assert_eq!(page.get("$('[data-demo=burst] button').disabled").await, true);
    page.close().await;
}

#[tokio::test]
async fn a_screen_reader_gets_units_headings_and_the_history_of_the_charts() {
    let mut page = Page::open().await;
    burst(&mut page, 20, 20).await;
    page.until("all.every(({ status }) => status === 'stored')").await;
    page.set("#capacity", "1").await;
    page.until("$('#capacity').getAttribute('aria-valuetext') === '10 writes/s'").await;
    page.set("#capacity", "8").await;
    let headings =
        "[...document.querySelectorAll('#list th[scope=col]')].map((head) => head.textContent).join()";
    assert_eq!(page.get(headings).await, "id,design,status,due,response,stored");
    page.get("$('#history').focus()").await;
    for _ in 0..4 {
        page.browser.press("ArrowLeft").await;
    }
    page.until("$('#history-value').textContent === '4 s ago'").await;
    page.until("$('#history').getAttribute('aria-valuetext').includes('queue, Time to stored: p50 ')").await;
    let unnamed = "[...document.querySelectorAll('input, textarea, select')]\
                   .filter((field) => !field.ariaLabel && field.labels.length === 0).map((field) => field.id)";
    assert_eq!(page.get(unnamed).await, json!([]));
    page.close().await;
}

#[tokio::test]
async fn a_redriven_dead_letter_becomes_stored_on_the_page_whether_notified_or_not() {
    let mut page = Page::open().await;
    let [notified, missed] = ["notified", "missed"].map(unique);
    for id in [&notified, &missed] {
        page.stack.block("alice", id).await;
        page.send("queue", id, r#"{"item":"book"}"#).await;
    }
    page.until("all.every(({ status }) => status === 'failed')").await;
    page.until("$('[data-count=\"queue failed\"]').textContent === '2'").await;
    page.until("$('#dead-letters').textContent === '2'").await;
    page.click("#list-dead-letters").await;
    // The reason comes from the API, as the owner learns it.
    let reasons =
        "[...document.querySelectorAll('#dead-letter-list td:nth-child(4)')].map((cell) => cell.textContent)";
    page.until(&format!("{reasons}.length === 2 && {reasons}.every((reason) => reason.includes(' '))")).await;
    page.until("all.every(({ receipt }) => $('#dead-letter-list').textContent.includes(receipt))").await;

    page.stack.unblock("alice", &notified).await;
    page.click("#redrive").await;
    page.until("$('#operator-state').textContent.startsWith('Moved 2 back into the queue')").await;
    page.until("!$('#dead-letter-list').textContent.includes(all[0].receipt)").await;
    page.until("all[0].status === 'stored' && all[0].lookUps.length === 0").await;
    // The other one has failed again.
    let figures = "['queue-waiting', 'queue-delivered', 'dead-letters'].map((id) => $(`#${id}`).textContent)";
    page.until(&format!("{figures}.join() === '0,0,1'")).await;

    page.network(false);
    page.until("state() !== 'open'").await;
    page.stack.unblock("alice", &missed).await;
    page.click("#redrive").await;
    page.until("$('#operator-state').textContent.startsWith('Moved 1 back into the queue')").await;
    eventually("both messages in the table", async || match stored(&mut page, "queue").await.len() {
        2 => Ok(()),
        found => Err(found),
    })
    .await;
    assert_eq!(page.get("all[1].status").await, "failed", "the page was not notified");
    page.network(true);
    page.until("all[1].status === 'stored'").await;
    page.until("$('[data-count=\"queue stored\"]').textContent === '2'").await;
    page.until("$('#dead-letters').textContent === '0'").await;
    page.close().await;
}

#[tokio::test]
async fn a_dropped_socket_is_noticed_and_what_it_missed_is_looked_up() {
    let mut page = Page::open().await;
    page.network(false);
    page.until("$('#connections').textContent.includes('reconnecting in')").await;
    page.send("queue", &unique("missed"), r#"{"item":"book"}"#).await;
    let path = page.get("all[0].statusPath").await;
    let caller = page.stack.caller_named("alice");
    eventually("the outcome, which is not pushed", async || {
        match caller.get(path.as_str().unwrap()).await.message_status() {
            status if status == "stored" => Ok(()),
            status => Err(status),
        }
    })
    .await;
    assert_eq!(page.get("all[0].status").await, "queued", "the page was not notified");
    page.network(true);
    page.until("state() === 'open'").await;
    page.until("all[0].status === 'stored' && all[0].lookUps.length > 0 && all[0].notifiedAt === null").await;
    page.close().await;
}

#[tokio::test]
async fn an_expired_token_is_shown_and_replaced() {
    let mut page = Page::open().await;
    let mut claims = page.stack.claims("alice");
    claims["exp"] = json!(1_700_000_000);
    let expired = page.stack.sign(&claims);
    page.set("#token", &expired).await;
    page.click("#access-form button").await;
    page.until("$('#connections').textContent.includes('token expired') && !$('#advice').hidden").await;
    page.click("#mint").await;
    page.until("state() === 'open' && $('#advice').hidden").await;
    page.send("sync", &unique("renewed"), r#"{"item":"book"}"#).await;
    assert_eq!(page.get("all[0].status").await, "stored");
    page.close().await;
}

#[tokio::test]
async fn the_keyboard_alone_sends_a_message_and_opens_it() {
    let mut page = Page::open().await;
    let focus = async |page: &mut Page, selector: &str| {
        for _ in 0..80 {
            page.browser.press("Tab").await;
            if page.get(&format!("document.activeElement.matches({})", json!(selector))).await == true {
                return;
            }
        }
        panic!("the keyboard does not reach {selector}");
    };
    focus(&mut page, "#one .main").await;
    page.browser.press("Enter").await;
    page.until("all.length === 2 && all.every(({ status }) => status === 'stored')").await;
    focus(&mut page, "#list button").await;
    page.browser.press("Enter").await;
    page.until("$('#details').open && $('#details').textContent.includes('notified: intake.message.stored')")
        .await;
    page.browser.press("Escape").await;
    page.until("!$('#details').open").await;
    page.close().await;
}

#[tokio::test]
async fn five_thousand_messages_stay_smooth() {
    let mut page = Page::open().await;
    let frames = "(async () => { const times = []; let last = await new Promise(requestAnimationFrame); \
                  for (let at = 0; at < 60; at += 1) { \
                  const now = await new Promise(requestAnimationFrame); times.push(now - last); last = now } \
                  times.sort((a, b) => a - b); \
                  return { rows: document.querySelectorAll('#list tbody tr').length, median: times[30], worst: times[59] } })()";
    let before = (page.get(frames).await, page.heap().await);
    let offer = "window.intake.messages.offer('queue', 'alice', [{ id: `many-${at}`, text: '{}' }])";
    page.get(&format!("(() => {{ for (let at = 0; at < 5000; at += 1) {offer} }})()")).await;
    page.until("$('#shown').textContent.startsWith('5,000')").await;
    let (after, heap) = (page.get(frames).await, page.heap().await);
    let figures = json!({
        "frame ms": { "before": before.0, "after": after },
        "heap bytes": { "before": before.1, "after": heap },
    });
    fs::write(pictures().join("smooth.json"), format!("{figures:#}\n")).expect("written");
    assert_eq!(after["rows"], 100, "the newest: {figures:#}");
    page.set("#filter-id", "many-7").await;
    page.until("$('#shown').textContent.startsWith('111 of 5,000')").await;
    page.close().await;
}

#[tokio::test]
async fn another_page_another_host_and_a_call_without_the_key_change_nothing() {
    let page = Page::open().await;
    let (origin, key) = page.url.split_once("/#key=").expect("a key");
    let send = async |origin_header: Option<&str>, host: Option<&str>, key: &str, command: &str| {
        let mut request = page.stack.http.post(format!("{origin}/operator"));
        request = request.header("content-type", "application/json").body(command.to_owned());
        for (name, value) in [("origin", origin_header), ("host", host)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request.bearer_auth(key).send().await.expect("a response")
    };
    let stop = r#"{"do":"stopDatabase","seconds":60}"#;
    for (origin_header, host, key, expected) in [
        (Some("https://example.com"), None, key, StatusCode::FORBIDDEN),
        (Some("http://127.0.0.1:1"), None, key, StatusCode::FORBIDDEN),
        (Some("null"), None, key, StatusCode::FORBIDDEN),
        (None, Some("example.com"), key, StatusCode::FORBIDDEN),
        (Some(origin), None, "wrong", StatusCode::UNAUTHORIZED),
    ] {
        let status = send(origin_header, host, key, stop).await.status();
        assert_eq!(status, expected, "{origin_header:?}, {host:?}, {key}");
    }
    let outage = async || {
        let response = send(None, None, key, r#"{"do":"state"}"#).await.text().await.expect("a text");
        let state: Value = serde_json::from_str(&response).expect("JSON");
        state["outageMs"].as_u64().expect("a number")
    };
    assert_eq!(outage().await, 0, "nothing has changed");
    let too_long = r#"{"do":"stopDatabase","seconds":601}"#;
    assert_eq!(send(Some(origin), None, key, too_long).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(send(Some(origin), None, key, stop).await.status(), StatusCode::OK);
    assert!(outage().await > 0);
    send(Some(origin), None, key, r#"{"do":"endOutage"}"#).await;
    for path in ["%2e%2e%2fCargo.toml", "../Cargo.toml", "Cargo.toml", "page", "main.rs"] {
        let status =
            page.stack.http.get(format!("{origin}/{path}")).send().await.expect("a response").status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let config = page.stack.http.get(format!("{origin}/config.json")).send().await.expect("a response");
    assert!(!config.text().await.expect("a text").contains("eyJ"), "there is no token in it");
    page.close().await;
}

#[tokio::test]
async fn it_fits_three_widths_light_and_dark() {
    let mut page = Page::open().await;
    burst(&mut page, 120, 20).await;
    page.until("all.every(({ status }) => status === 'stored')").await;
    page.send("both", &unique("order"), r#"{"item":"book"}"#).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for (width, height) in [(390, 844), (900, 1200), (1400, 900)] {
        for scheme in ["light", "dark"] {
            page.resize(width, height, scheme).await;
            let picture = page.browser.screenshot().await;
            fs::write(pictures().join(format!("{width}-{scheme}.png")), picture).expect("written");
        }
        let widths =
            page.get("[document.documentElement.scrollWidth, document.documentElement.clientWidth]").await;
        assert_eq!(widths[0], widths[1], "nothing is wider than the window of {width} px");
    }
    page.close().await;
}

/// The folder of the pictures.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/console");
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// What a demo says that it showed.
async fn demo_text(page: &mut Page, name: &str) -> String {
    let lines = format!("[...document.querySelectorAll('[data-demo={name}] .design')]");
    let text = page.get(&format!("{lines}.map((line) => line.textContent).join(' ')")).await;
    text.as_str().expect("a text").to_owned()
}

/// Every chart has a line for an event, and the first of each design its name.
async fn assert_marks(page: &mut Page, event: &str) {
    let marks = "[...document.querySelectorAll('figure svg')].map((chart) => chart.querySelectorAll('line.mark').length)";
    page.until(&format!("{marks}.join() === Array(10).fill(window.intake.messages.marks.length).join()"))
        .await;
    let texts = "[...document.querySelectorAll('text.mark')].map((text) => text.textContent)";
    assert_eq!(page.get(&format!("{texts}.includes({})", json!(event))).await, true, "{event}");
}

/// Sends a burst through both designs, and waits for all responses.
async fn burst(page: &mut Page, number: usize, rate: usize) {
    page.set("#burst-number", &number.to_string()).await;
    page.set("#burst-rate", &rate.to_string()).await;
    page.click("#burst-start").await;
    page.until("$('#burst-state').textContent.endsWith('done.')").await;
}

/// The messages of this page and of one design that are in the table, with a payload.
async fn stored(page: &mut Page, way: &str) -> Vec<Item> {
    let keys = page
        .get(&format!(
            "all.filter(({{ way }}) => way === '{way}').map(({{ id, owner }}) => `${{id}}#${{owner}}`)"
        ))
        .await;
    let keys: HashSet<_> = keys.as_array().expect("keys").iter().filter_map(Value::as_str).collect();
    let mut items = page.stack.items().await;
    items.retain(|item| {
        keys.contains(text(item, "pk")) && text(item, "status") == "stored" && item.contains_key("payload")
    });
    items
}

/// A count of the diagrams on the page.
async fn shown(page: &mut Page, name: &str) -> u64 {
    let text = page.get(&format!("$('[data-count=\"{name}\"]').textContent.replaceAll(',', '')")).await;
    text.as_str().and_then(|text| text.parse().ok()).expect("a number")
}
