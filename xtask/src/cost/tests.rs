use super::{
    bill::{chunks, distinct, duration_ms, gb_seconds},
    *,
};

/// A run of the bench with round figures.
const RESULTS: &str = r#"{
    "date": "2026-01-02",
    "machine": {"cpu": "a processor", "cores": 2},
    "cases": [
        {"function": "sync-insert", "contestant": "intake", "batch": 1, "payload_bytes": 1024, "init_ms": 10,
         "init_cpu_ms": 3, "first_cpu_ms": 6, "warm_cpu_ms": 1, "peak_memory_bytes": 8000000,
         "requests": {"PutItem": 1}},
        {"function": "sync-insert", "contestant": "python", "batch": 1, "payload_bytes": 1024, "init_ms": 999,
         "init_cpu_ms": 999, "first_cpu_ms": 999, "warm_cpu_ms": 999, "peak_memory_bytes": 99000000,
         "requests": {"PutItem": 1}},
        {"function": "queue-consumer", "contestant": "intake", "batch": 100, "payload_bytes": 1024, "init_ms": 10,
         "init_cpu_ms": 3, "first_cpu_ms": 30, "warm_cpu_ms": 20, "peak_memory_bytes": 9000000,
         "requests": {"BatchExecuteStatement": 4, "Query": 1, "PostToConnection": 1}},
        {"function": "queue-consumer", "contestant": "intake", "batch": 10, "payload_bytes": 1024, "init_ms": 10,
         "init_cpu_ms": 3, "first_cpu_ms": 8, "warm_cpu_ms": 2, "peak_memory_bytes": 9000000,
         "requests": {"BatchExecuteStatement": 1, "Query": 1, "PostToConnection": 1}},
        {"function": "status-lookup", "contestant": "intake", "batch": 1, "payload_bytes": 1024, "init_ms": 10,
         "init_cpu_ms": 3, "first_cpu_ms": 6, "warm_cpu_ms": 1, "peak_memory_bytes": 8000000,
         "requests": {"GetItem": 1}},
        {"function": "websocket", "contestant": "intake", "batch": 1, "payload_bytes": null, "init_ms": 10,
         "init_cpu_ms": 3, "first_cpu_ms": 6, "warm_cpu_ms": 1, "peak_memory_bytes": 8000000, "requests": {}},
        {"function": "authorizer", "contestant": "intake", "batch": 1, "payload_bytes": null, "init_ms": 10,
         "init_cpu_ms": 3, "first_cpu_ms": 6, "warm_cpu_ms": 1, "peak_memory_bytes": 8000000, "requests": {}}
    ]
}"#;

const STEADY: Traffic = Traffic { rate: 10.0, burst_rate: None };
const BURSTS: Traffic = Traffic { rate: 10.0, burst_rate: Some(1000.0) };
const BATCHES_OF_100: Way = Way::Queue { batch: 100.0 };

/// Round prices, one owner who has one socket, and functions with a whole processor.
fn books() -> Books {
    Books {
        prices: Prices {
            origin: "nowhere".to_owned(),
            rest_request: 3e-6,
            websocket_message: 1e-6,
            websocket_minute: 0.25e-6,
            sqs_request: 0.4e-6,
            lambda_request: 0.2e-6,
            lambda_gb_second: 1e-5,
            dynamodb_write_unit: 0.6e-6,
            dynamodb_read_unit: 0.1e-6,
            xray_trace: 5e-6,
            log_gb: 0.5,
            transfer_out_gb: 0.1,
        },
        settings: Settings {
            architecture: "arm64".to_owned(),
            sync_insert: 2048.0,
            queue_consumer: 2048.0,
            status_lookup: 2048.0,
            websocket: 2048.0,
            authorizer: 2048.0,
            consumers: 5.0,
            window: 1.0,
            authorizer_ttl: 60.0,
        },
        measured: Measured::parse(RESULTS).unwrap(),
        assumptions: Assumptions {
            owners: 1.0,
            sockets: 1.0,
            look_ups: 0.0,
            cache_hits: Some(0.9),
            repeats: 0.0,
            database_ms: 5.0,
            push_ms: 10.0,
        },
    }
}

fn line(bill: &Bill, name: &str) -> (f64, f64) {
    let line = bill.lines.iter().find(|line| line.name == name);
    line.map(|line| (line.quantity, line.usd)).unwrap_or_else(|| panic!("no line {name}"))
}

#[track_caller]
fn assert_near(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-6 * expected.abs().max(1e-3), "{value}, not {expected}");
}

#[track_caller]
fn assert_line(bill: &Bill, name: &str, quantity: f64, usd: f64) {
    assert_near(line(bill, name).0, quantity);
    assert_near(line(bill, name).1, usd);
}

#[test]
fn every_started_chunk_counts() {
    assert_eq!(chunks(1_024.0, 1_024.0), 1.0);
    assert_eq!(chunks(1_100.0, 1_024.0), 2.0);
    assert_eq!(chunks(0.0, 4_096.0), 1.0);
}

#[test]
fn computing_is_stretched_by_the_share_of_a_processor_and_waiting_is_not() {
    assert_near(duration_ms(2.0, 1769.0 / 8.0, 5.0), 21.0);
    assert_near(duration_ms(2.0, 4096.0, 5.0), 7.0);
}

#[test]
fn every_started_millisecond_of_an_invocation_is_billed() {
    assert_near(gb_seconds(1_000_000.0, 11.91, 256.0), 3_000.0);
    assert_near(gb_seconds(1_000_000.0, 12.0, 256.0), 3_000.0);
}

#[test]
fn few_messages_have_as_many_owners_and_many_have_all() {
    assert_near(distinct(1.0, 100.0), 1.0);
    assert_near(distinct(100.0, 1.0), 1.0);
    assert_near(distinct(2.0, 2.0), 1.5);
    assert_near(distinct(10.0, 10_000.0), 10.0);
}

#[test]
fn the_bill_of_the_microservice_is_as_computed_by_hand() {
    let bill = books().bill(Way::Sync, STEADY, 1024.0).unwrap();
    assert_line(&bill, "API Gateway: PUT requests", 1e6, 3.0);
    assert_line(&bill, "Lambda: invocations", 1e6, 0.2);
    // 1 ms of computing and 5 ms of waiting, in 2 GB.
    assert_line(&bill, "Lambda: GB-seconds", 12_000.0, 0.12);
    // One environment, renewed 360 times in a month of 25.92 million messages: 10 ms, and 2 of the first one.
    assert_line(
        &bill,
        "Lambda: cold starts, GB-seconds",
        360.0 / 25.92 * 0.012 * 2.0,
        360.0 / 25.92 * 0.012 * 2e-5,
    );
    // 1,024 and 180 bytes.
    assert_line(&bill, "DynamoDB: write units", 2e6, 1.2);
    assert_line(&bill, "Lambda: authorizer, invocations", 1e5, 0.02);
    assert_line(&bill, "Lambda: authorizer, GB-seconds", 200.0, 0.002);
    // Of 10 requests in a second, 1 and a twentieth of the other 9.
    assert_line(&bill, "X-Ray: traces", 145_000.0, 0.725);
    // 1,230 bytes for each, and 1,120 for each of the authorizer's.
    assert_line(&bill, "CloudWatch: GB of logs", 1.342, 0.671);
    assert_line(&bill, "Transfer: GB out", 0.7, 0.07);
    let sum: f64 = bill.lines.iter().map(|line| line.usd).sum();
    assert_near(bill.total(), sum);
    assert_eq!(bill.lines.len(), 10);
}

#[test]
fn the_bill_of_the_queue_is_as_computed_by_hand() {
    let bill = books().bill(BATCHES_OF_100, BURSTS, 1024.0).unwrap();
    // 200 a second come to each consumer in its window of a second.
    assert_near(bill.mean_batch, 100.0);
    assert!(!bill.backlog);
    assert_line(&bill, "API Gateway: PUT requests", 1e6, 3.0);
    assert_line(&bill, "SQS: send", 1e6, 0.4);
    // 3 at a time: one, and what comes in 10 ms.
    assert_line(&bill, "SQS: receive", 1e6 / 3.0, 0.4 / 3.0);
    assert_line(&bill, "SQS: delete", 1e5, 0.04);
    // 5 consumers ask every 20 s in all but 36 s of an hour, for 25.92 million messages.
    assert_line(
        &bill,
        "SQS: receive while idle",
        0.25 * 720.0 * 3564.0 / 25.92,
        0.25 * 720.0 * 3564.0 / 25.92 * 0.4e-6,
    );
    assert_line(&bill, "Lambda: invocations", 1e4, 0.002);
    // 20 ms of computing; one round of 4 inserts, one query, one push.
    assert_eq!(bill.billed_ms, 40.0);
    assert_line(&bill, "Lambda: GB-seconds", 800.0, 0.008);
    // Every hour begins with 5: 10 ms, and 7 of the first batch.
    assert_line(
        &bill,
        "Lambda: cold starts, GB-seconds",
        3600.0 / 25.92 * 0.017 * 2.0,
        3600.0 / 25.92 * 0.017 * 2e-5,
    );
    assert_line(&bill, "DynamoDB: write units", 2e6, 1.2);
    assert_line(&bill, "DynamoDB: read units, connections", 1e4, 0.001);
    // 100 events of 300 bytes fit into a frame.
    assert_line(&bill, "WebSocket: pushes", 1e4, 0.01);
    assert_line(&bill, "WebSocket: minutes open", 43_200.0 / 25.92, 43_200.0 / 25.92 * 0.25e-6);
    assert_line(&bill, "WebSocket: pings and pongs", 2.0 * 8_640.0 / 25.92, 2.0 * 8_640.0 / 25.92 * 1e-6);
    // 8,640 pings, 360 times opened (which asks the authorizer, too) and closed.
    assert_line(&bill, "Lambda: sockets, invocations", 9_720.0 / 25.92, 9_720.0 / 25.92 * 0.2e-6);
    assert_line(&bill, "DynamoDB: write units, connections", 720.0 / 25.92, 720.0 / 25.92 * 0.6e-6);
    assert_line(&bill, "API Gateway: look-ups", 0.0, 0.0);
}

#[test]
fn a_message_through_the_queue_counts_for_every_64_kb_with_its_attributes() {
    let sends = |payload: f64| {
        let results = RESULTS.replace("1024", &payload.to_string());
        let books = Books { measured: Measured::parse(&results).unwrap(), ..books() };
        line(&books.bill(BATCHES_OF_100, STEADY, payload).unwrap(), "SQS: send").0
    };
    assert_near(sends(65_536.0 - 127.0), 1e6);
    assert_near(sends(65_536.0 - 126.0), 2e6);
    assert_near(sends(102_400.0), 2e6);
}

#[test]
fn an_item_counts_for_every_kb_with_its_attributes() {
    let writes = |way, payload: f64| {
        let results = RESULTS.replace("1024", &payload.to_string());
        let books = Books { measured: Measured::parse(&results).unwrap(), ..books() };
        line(&books.bill(way, STEADY, payload).unwrap(), "DynamoDB: write units").0
    };
    assert_near(writes(Way::Sync, 1_024.0 - 180.0), 1e6);
    assert_near(writes(Way::Sync, 1_024.0 - 179.0), 2e6);
    assert_near(writes(BATCHES_OF_100, 1_024.0 - 223.0), 1e6);
    assert_near(writes(BATCHES_OF_100, 1_024.0 - 222.0), 2e6);
}

#[test]
fn a_batch_is_what_comes_while_it_is_gathered_and_no_more_than_fits_into_an_event() {
    let mean = |batch, traffic| books().bill(Way::Queue { batch }, traffic, 1024.0).unwrap().mean_batch;
    assert_near(mean(100.0, STEADY), 3.0);
    assert_near(mean(100.0, BURSTS), 100.0);
    // Without a window: 2 messages a second, and a batch is done in 22 ms.
    assert_near(mean(10.0, STEADY), 1.044);
    let results = RESULTS.replace("1024", "102400");
    let books = Books { measured: Measured::parse(&results).unwrap(), ..books() };
    assert_near(books.bill(BATCHES_OF_100, BURSTS, 102_400.0).unwrap().mean_batch, 60.0);
}

#[test]
fn messages_that_come_too_fast_for_the_consumers_come_in_full_batches_and_tens() {
    let mut books = books();
    books.settings.consumers = 1.0;
    let flood = Traffic { rate: 10.0, burst_rate: Some(5_000.0) };
    let bill = books.bill(BATCHES_OF_100, flood, 1024.0).unwrap();
    assert!(bill.backlog);
    assert_near(bill.mean_batch, 100.0);
    assert_near(line(&bill, "SQS: receive").0, 1e5);
}

#[test]
fn a_batch_between_two_measured_ones_is_between_them() {
    let batches = Measured::parse(RESULTS).unwrap().batches(1024.0).unwrap();
    assert_near(batches.warm_cpu_ms(10.0), 2.0);
    assert_near(batches.warm_cpu_ms(55.0), 11.0);
    assert_near(batches.warm_cpu_ms(100.0), 20.0);
    assert_near(batches.warm_cpu_ms(1.0), 2.0);
    assert_near(batches.warm_cpu_ms(1_000.0), 200.0);
    assert_near(batches.messages_per_insert().unwrap(), 25.0);
}

#[test]
fn a_repeat_is_written_once_more_on_one_way_and_twice_on_the_other() {
    let books = books();
    let repeated = books.with(Assumptions { repeats: 0.1, ..books.assumptions });
    let writes = |way| line(&repeated.bill(way, STEADY, 1024.0).unwrap(), "DynamoDB: write units").0;
    assert_near(writes(Way::Sync), 2.2e6);
    assert_near(writes(BATCHES_OF_100), 2.4e6);
}

#[test]
fn a_look_up_is_a_request_an_invocation_and_a_read() {
    let books = books();
    let asked = books.with(Assumptions { look_ups: 2.0, ..books.assumptions });
    let bill = asked.bill(BATCHES_OF_100, STEADY, 1024.0).unwrap();
    assert_line(&bill, "API Gateway: look-ups", 2e6, 6.0);
    assert_line(&bill, "Lambda: look-ups, invocations", 2e6, 0.4);
    assert_line(&bill, "Lambda: look-ups, GB-seconds", 24_000.0, 0.24);
    assert_line(&bill, "DynamoDB: read units, look-ups", 2e6, 0.2);
    assert_line(&bill, "Lambda: authorizer, invocations", 3e5, 0.06);
}

#[test]
fn the_authorizer_is_asked_once_a_token_for_as_long_as_its_answer_is_remembered() {
    let books = books();
    let of = |owners, traffic| {
        books
            .with(Assumptions { owners, cache_hits: None, ..books.assumptions })
            .authorized_anew(traffic, 1.0)
    };
    // 100 owners send every 10 s each: once in 70 s the answer is a new one.
    assert_near(of(100.0, STEADY), 1.0 / 7.0);
    assert_near(of(1.0, STEADY), 0.1 / 60.1);
    // A burst of 36,000 messages is over before the answer is forgotten.
    assert_near(of(100.0, BURSTS), 100.0 / 36_000.0);
    // Hardly anybody sends twice.
    assert!(of(1e9, BURSTS) > 0.999);
}

#[test]
fn peers_are_not_taken_for_ours() {
    let measured = Measured::parse(RESULTS).unwrap();
    assert_eq!(measured.exactly("sync-insert", 1024.0).unwrap().init_ms().unwrap(), 10.0);
}

#[test]
fn what_was_not_measured_is_told() {
    let failure = |results: &str, payload| {
        let books = Books { measured: Measured::parse(results).unwrap(), ..books() };
        let queue = books.bill(BATCHES_OF_100, STEADY, payload).err();
        let sync = books.bill(Way::Sync, STEADY, payload).err();
        sync.or(queue).unwrap().to_string()
    };
    let lacks = "the results have no case of sync-insert with a payload of 4096 bytes";
    assert!(failure(RESULTS, 4096.0).starts_with(lacks));
    let without_cpu = RESULTS.replace(r#""warm_cpu_ms": 1,"#, r#""warm_cpu_ms": null,"#);
    assert!(failure(&without_cpu, 1024.0).starts_with("the results have no warm_cpu_ms for sync-insert"));
    let without_puts = RESULTS.replace(r#"{"PutItem": 1}"#, "{}");
    assert!(failure(&without_puts, 1024.0).starts_with("the results count no PutItem of sync-insert"));
    let failure = Measured::load("/no/such/results.json".as_ref()).err().unwrap().to_string();
    assert!(failure.contains("run `cargo xtask bench` first"), "{failure}");
    assert!(Measured::parse("{}").is_err());
}

#[test]
fn a_function_that_does_not_fit_into_its_memory_has_no_bill() {
    let mut books = books();
    books.settings.queue_consumer = 8.0;
    let failure = books.bill(BATCHES_OF_100, STEADY, 1024.0).err().unwrap().to_string();
    assert!(failure.contains("8 MB was measured to use 9 MB"), "{failure}");
}

#[test]
fn crossings_are_found_wherever_they_are() {
    let of = |advantage: fn(f64) -> f64| crossings(1.0, 1_000.0, |value| Ok(advantage(value))).unwrap();
    assert_eq!(of(|_| 1.0), Crossings { begins_cheaper: true, at: vec![] });
    assert_eq!(of(|_| 0.0), Crossings { begins_cheaper: false, at: vec![] });
    let once = of(|value| 123.0 - value);
    assert!(once.begins_cheaper);
    assert_eq!(once.at.len(), 1);
    assert_near(once.at[0], 123.0);
    let twice = of(|value| (value - 10.0) * (500.0 - value));
    assert!(!twice.begins_cheaper);
    assert_eq!(twice.at.len(), 2);
    assert_near(twice.at[0], 10.0);
    assert_near(twice.at[1], 500.0);
}

#[test]
fn the_break_even_is_where_the_bills_are_equal() {
    let mut books = books();
    // So dear that batches pay.
    books.prices.lambda_request = 2e-6;
    let total = |books: &Books, way| books.bill(way, BURSTS, 1024.0).unwrap().total();
    assert!(total(&books, BATCHES_OF_100) < total(&books, Way::Sync));
    let text = verdict(&books, BATCHES_OF_100, BURSTS, 1024.0, "queue").unwrap();
    assert!(text.starts_with("> queue: the queue is cheaper, by "), "{text}");

    let line = text.lines().find(|line| line.contains("look-ups a message: ")).unwrap();
    let (_, spoken) = line.split_once("the microservice from ").unwrap();
    let look_ups: f64 = spoken.parse().unwrap();
    let advantage = |look_ups| {
        let asked = books.with(Assumptions { look_ups, ..books.assumptions });
        total(&asked, Way::Sync) - total(&asked, BATCHES_OF_100)
    };
    assert!(advantage(look_ups - 0.001) > 0.0 && advantage(look_ups + 0.001) < 0.0, "{line}");
}

#[test]
fn a_page_has_every_line_that_costs_anything_and_no_other() {
    let ways = [Way::Sync, Way::Queue { batch: 10.0 }, BATCHES_OF_100];
    let page = page(&books(), &ways, STEADY, 1024.0, false).unwrap();
    for name in ["API Gateway: PUT requests", "SQS: send", "DynamoDB: write units", "total"] {
        assert_eq!(
            page.lines().filter(|line| line.starts_with(&format!("{name} "))).count(),
            1,
            "{name}\n{page}"
        );
    }
    assert!(!page.contains("look-ups, invocations"), "{page}");
    let of_sync = page.lines().find(|line| line.starts_with("API Gateway: PUT")).unwrap();
    assert_eq!(of_sync.split_whitespace().filter(|cell| *cell == "3.000").count(), 3);
}
