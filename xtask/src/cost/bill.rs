//! From traffic to a bill. Every amount is for a million messages, and every rule of AWS that it takes has the
//! name of the page where that rule is.

use super::{
    measured::{Batches, Case, Measured},
    prices::Prices,
    settings::Settings,
};
use crate::failure::Failure;

/// What a bill is for.
const MESSAGES: f64 = 1_000_000.0;
/// A month has 30 days.
const MONTH_SECONDS: f64 = 30.0 * 24.0 * 3600.0;

/// The memory that comes with one processor ("Configure Lambda function memory").
const MB_OF_A_PROCESSOR: f64 = 1769.0;
/// How long an execution environment lives under steady load. AWS promises nothing; it is renewed within hours.
const ENVIRONMENT_SECONDS: f64 = 2.0 * 3600.0;
/// The largest event of a synchronous invocation ("Lambda quotas").
const EVENT_BYTES: f64 = 6.0 * 1024.0 * 1024.0;
/// What an SQS record has besides its body, in an event.
const RECORD_BYTES: f64 = 900.0;

/// SQS counts a request for every 64 KB of it ("Amazon SQS pricing").
const SQS_CHUNK: f64 = 64.0 * 1024.0;
/// The most messages in one receive or delete ("Amazon SQS message quotas").
const SQS_BATCH: f64 = 10.0;
/// The longest that an empty receive takes ("Amazon SQS short and long polling").
const LONG_POLL_SECONDS: f64 = 20.0;
/// How long a receive takes that finds something. Not measured: it decides how many messages come together.
const RECEIVE_SECONDS: f64 = 0.010;
/// Names, types and values of the attributes `id`, `owner` and `correlation_id`, which count as the body does.
const SQS_ATTRIBUTE_BYTES: f64 = 127.0;

/// DynamoDB counts a write unit for every KB of an item, and a read unit for every 4 KB ("DynamoDB read and
/// write operations"), names and values of its attributes together ("DynamoDB item sizes and formats").
const WRITE_UNIT: f64 = 1024.0;
const READ_UNIT: f64 = 4096.0;
/// What an item has besides the payload, with UUIDs for the id and the owner. What came through the queue also
/// has a receipt.
const ITEM_BYTES: f64 = 180.0;
const RECEIPT_BYTES: f64 = 43.0;

/// One CloudEvent, in bytes, and the frame that it shares with others (`MAX_FRAME_BYTES` in `shared`).
const EVENT: f64 = 300.0;
const FRAME: f64 = 32.0 * 1024.0;
/// How many requests the consumer has under way at once (`MAX_CONCURRENT_REQUESTS` in its code).
const MAX_CONCURRENT_REQUESTS: f64 = 4.0;
/// A socket lives two hours at most ("Quotas for configuring and running a WebSocket API"), and pings every
/// five minutes.
const SOCKET_SECONDS: f64 = 2.0 * 3600.0;
const PING_SECONDS: f64 = 300.0;

/// Log bytes at level INFO. What Lambda writes about an invocation (`platform.start` and `platform.report`) is
/// an estimate; the others are the lines that the functions write, metrics included.
const PLATFORM_LOG: f64 = 500.0;
const SYNC_LOG: f64 = 730.0;
const BATCH_LOG: f64 = 470.0;
const BATCH_MESSAGE_LOG: f64 = 400.0;
/// For every message that is notified.
const TOLD_LOG: f64 = 360.0;
const LOOK_UP_LOG: f64 = 730.0;
const AUTHORIZER_LOG: f64 = 620.0;
const WEBSOCKET_LOG: f64 = 650.0;

/// An answer with its headers, besides the payload that a look-up has in it.
const ANSWER_BYTES: f64 = 700.0;
/// A GB of logs and of transfer.
const GB: f64 = 1e9;

/// When the messages come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    /// Messages a second, over all day.
    pub(super) rate: f64,
    /// Messages a second while they flow, if all of an hour come at once.
    pub(super) burst_rate: Option<f64>,
}

impl Traffic {
    /// How many messages there are in a month.
    fn per_month(self) -> f64 {
        self.rate * MONTH_SECONDS
    }

    /// Messages a second while they flow.
    pub(super) fn flowing(self) -> f64 {
        self.burst_rate.map_or(self.rate, |burst| burst.max(self.rate))
    }

    /// How many times a month they begin to flow, and how long they do, in seconds.
    pub(super) fn bursts(self) -> Option<(f64, f64)> {
        self.burst_rate.map(|_| (MONTH_SECONDS / 3600.0, 3600.0 * self.rate / self.flowing()))
    }
}

/// How a message comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    /// `PUT /messages/{id}`
    Sync,
    /// `PUT /queue/{id}`, with batches of at most so many
    Queue { batch: f64 },
}

/// What nobody measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Assumptions {
    /// How many owners send, all of them alike.
    pub(super) owners: f64,
    /// How many of their sockets are open, day and night. Used on the queue's way only.
    pub(super) sockets: f64,
    /// How often the status of a message is looked up that went through the queue.
    pub(super) look_ups: f64,
    /// The share of HTTP requests whose token the gateway knows already; computed if absent.
    pub(super) cache_hits: Option<f64>,
    /// The share of messages that are sent or delivered a second time.
    pub(super) repeats: f64,
    /// How long a function waits for DynamoDB, in milliseconds a request.
    pub(super) database_ms: f64,
    /// How long a function waits for a push, in milliseconds.
    pub(super) push_ms: f64,
}

/// All that a bill is made of, except the traffic.
#[derive(Clone, Debug)]
pub(super) struct Books {
    pub(super) prices: Prices,
    pub(super) settings: Settings,
    pub(super) measured: Measured,
    pub(super) assumptions: Assumptions,
}

/// One line of a bill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) quantity: f64,
    pub(super) usd: f64,
}

/// What a million messages cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bill {
    pub(super) lines: Vec<Line>,
    /// Messages in a batch, on average: 1 on the way without batches.
    pub(super) mean_batch: f64,
    /// How long an invocation is billed for, in milliseconds.
    pub(super) billed_ms: f64,
    /// Whether messages come faster than the consumers take them, so that the queue grows.
    pub(super) backlog: bool,
}

impl Bill {
    pub(super) fn total(&self) -> f64 {
        self.lines.iter().map(|line| line.usd).sum()
    }

    fn add(&mut self, name: &'static str, quantity: f64, price: f64) {
        self.lines.push(Line { name, quantity, usd: quantity * price });
    }
}

/// How long an invocation takes on Lambda, in milliseconds. A function has a share of a processor in
/// proportion to its memory, so that its computing is stretched; waiting is not. The functions have one
/// thread, and no more than these two to do: the sum is the most that it can be, since Lambda does not hold
/// back the first milliseconds of a burst.
pub(super) fn duration_ms(cpu_ms: f64, memory_mb: f64, waiting_ms: f64) -> f64 {
    cpu_ms * (MB_OF_A_PROCESSOR / memory_mb).max(1.0) + waiting_ms
}

/// What so many invocations are billed for. Each is rounded up to a millisecond ("AWS Lambda pricing").
pub(super) fn gb_seconds(invocations: f64, duration_ms: f64, memory_mb: f64) -> f64 {
    invocations * duration_ms.ceil() / 1000.0 * memory_mb / 1024.0
}

/// How many started chunks there are.
pub(super) fn chunks(bytes: f64, chunk: f64) -> f64 {
    (bytes / chunk).ceil().max(1.0)
}

/// How many different owners so many messages have, on average, if all send alike.
pub(super) fn distinct(owners: f64, messages: f64) -> f64 {
    owners * (1.0 - (1.0 - 1.0 / owners).powf(messages))
}

impl Books {
    /// The same, with other assumptions.
    pub(super) fn with(&self, assumptions: Assumptions) -> Self {
        Self { assumptions, ..self.clone() }
    }

    /// The bill for a million messages.
    pub(super) fn bill(&self, way: Way, traffic: Traffic, payload_bytes: f64) -> Result<Bill, Failure> {
        match way {
            Way::Sync => self.sync(traffic, payload_bytes),
            Way::Queue { batch } => self.queue(batch, traffic, payload_bytes),
        }
    }

    fn sync(&self, traffic: Traffic, payload_bytes: f64) -> Result<Bill, Failure> {
        let Self { prices, settings, assumptions, .. } = self;
        let requests = MESSAGES * (1.0 + assumptions.repeats);
        let case = self.measured.exactly("sync-insert", payload_bytes)?;
        fits(case, settings.sync_insert)?;
        let puts = case.requests("PutItem")?;
        let duration = duration_ms(case.warm_cpu_ms()?, settings.sync_insert, puts * assumptions.database_ms);

        let mut bill = Bill { mean_batch: 1.0, billed_ms: duration.ceil(), ..Bill::default() };
        bill.add("API Gateway: PUT requests", requests, prices.rest_request);
        bill.add("Lambda: invocations", requests, prices.lambda_request);
        bill.add(
            "Lambda: GB-seconds",
            gb_seconds(requests, duration, settings.sync_insert),
            prices.lambda_gb_second,
        );
        let at_once = |rate: f64| (rate * duration / 1000.0).ceil().max(1.0);
        // While none is ready, every request starts one.
        let at_first = |rate: f64| Ok((rate * (case.init_ms()? + duration) / 1000.0).ceil().max(1.0));
        let starts = match traffic.bursts() {
            Some((bursts, _)) => bursts * at_first(traffic.flowing())?,
            None => at_once(traffic.rate) * MONTH_SECONDS / ENVIRONMENT_SECONDS,
        };
        self.starts(&mut bill, traffic, starts, case, settings.sync_insert)?;
        let units = chunks(payload_bytes + ITEM_BYTES, WRITE_UNIT);
        bill.add("DynamoDB: write units", requests * puts * units, prices.dynamodb_write_unit);
        self.tail(
            &mut bill,
            traffic,
            requests,
            requests * (PLATFORM_LOG + SYNC_LOG),
            requests * ANSWER_BYTES,
        )?;
        Ok(bill)
    }

    fn queue(&self, batch: f64, traffic: Traffic, payload_bytes: f64) -> Result<Bill, Failure> {
        let Self { prices, settings, assumptions, .. } = self;
        let Assumptions { owners, sockets, look_ups, repeats, .. } = *assumptions;
        let messages = MESSAGES * (1.0 + repeats);
        let a_month = MESSAGES / traffic.per_month();
        let consumer = Consumer::new(self, batch, traffic, payload_bytes)?;
        let (size, duration) = (consumer.mean_batch, consumer.duration_ms(consumer.mean_batch));
        let batches = messages / size;

        let mut bill = Bill {
            mean_batch: size,
            billed_ms: duration.ceil(),
            backlog: consumer.backlog,
            ..Bill::default()
        };
        bill.add("API Gateway: PUT requests", messages, prices.rest_request);

        let message_bytes = payload_bytes + SQS_ATTRIBUTE_BYTES;
        bill.add("SQS: send", messages * chunks(message_bytes, SQS_CHUNK), prices.sqs_request);
        let received = consumer.received_together();
        let receives = messages / received * chunks(received * message_bytes, SQS_CHUNK);
        bill.add("SQS: receive", receives, prices.sqs_request);
        bill.add("SQS: delete", batches * chunks(size, SQS_BATCH), prices.sqs_request);
        let flowing = traffic.bursts().map_or(MONTH_SECONDS, |(bursts, seconds)| bursts * seconds);
        let empty = (-LONG_POLL_SECONDS * consumer.share).exp();
        let polls = settings.consumers / LONG_POLL_SECONDS * (MONTH_SECONDS - flowing * (1.0 - empty));
        bill.add("SQS: receive while idle", polls * a_month, prices.sqs_request);

        bill.add("Lambda: invocations", batches, prices.lambda_request);
        bill.add(
            "Lambda: GB-seconds",
            gb_seconds(batches, duration, settings.queue_consumer),
            prices.lambda_gb_second,
        );
        let at_once = (traffic.rate / size * duration / 1000.0).ceil().clamp(1.0, settings.consumers);
        let starts = match traffic.bursts() {
            Some((bursts, _)) => bursts * settings.consumers,
            None => at_once * MONTH_SECONDS / ENVIRONMENT_SECONDS,
        };
        let case = consumer.measured.nearest(size)?;
        fits(case, settings.queue_consumer)?;
        self.starts(&mut bill, traffic, starts, case, settings.queue_consumer)?;

        let item_bytes = payload_bytes + ITEM_BYTES + RECEIPT_BYTES;
        // A repeat is refused twice, as an insert and by itself, and a refused write costs as much as one that
        // is not.
        let writes = MESSAGES * (1.0 + 2.0 * repeats);
        bill.add(
            "DynamoDB: write units",
            writes * chunks(item_bytes, WRITE_UNIT),
            prices.dynamodb_write_unit,
        );
        let notified = distinct(owners, size);
        bill.add("DynamoDB: read units, connections", batches * notified, prices.dynamodb_read_unit);

        // Telling the owners.
        let pushes = batches * consumer.pushes(size);
        bill.add("WebSocket: pushes", pushes, prices.websocket_message);
        let opened = sockets * MONTH_SECONDS / SOCKET_SECONDS * a_month;
        let pings = sockets * MONTH_SECONDS / PING_SECONDS * a_month;
        bill.add(
            "WebSocket: minutes open",
            sockets * MONTH_SECONDS / 60.0 * a_month,
            prices.websocket_minute,
        );
        bill.add("WebSocket: pings and pongs", 2.0 * pings, prices.websocket_message);
        let events = 2.0 * opened + pings;
        let websocket = self.measured.nearest("websocket", payload_bytes)?.warm_cpu_ms()?;
        let noting = duration_ms(websocket, settings.websocket, assumptions.database_ms);
        let answering = duration_ms(websocket, settings.websocket, 0.0);
        bill.add("Lambda: sockets, invocations", events + opened, prices.lambda_request);
        bill.add(
            "Lambda: sockets, GB-seconds",
            gb_seconds(2.0 * opened, noting, settings.websocket)
                + gb_seconds(pings, answering, settings.websocket)
                + gb_seconds(opened, self.authorizer_ms()?, settings.authorizer),
            prices.lambda_gb_second,
        );
        bill.add("DynamoDB: write units, connections", 2.0 * opened, prices.dynamodb_write_unit);

        // A look-up instead of a notification.
        let asked = MESSAGES * look_ups;
        let case = self.measured.nearest("status-lookup", payload_bytes)?;
        fits(case, settings.status_lookup)?;
        let asking = duration_ms(case.warm_cpu_ms()?, settings.status_lookup, assumptions.database_ms);
        bill.add("API Gateway: look-ups", asked, prices.rest_request);
        bill.add("Lambda: look-ups, invocations", asked, prices.lambda_request);
        bill.add(
            "Lambda: look-ups, GB-seconds",
            gb_seconds(asked, asking, settings.status_lookup),
            prices.lambda_gb_second,
        );
        bill.add(
            "DynamoDB: read units, look-ups",
            asked * case.requests("GetItem")? * chunks(item_bytes, READ_UNIT),
            prices.dynamodb_read_unit,
        );

        let logs = batches * (PLATFORM_LOG + BATCH_LOG)
            + messages * (BATCH_MESSAGE_LOG + TOLD_LOG * (sockets / owners).min(1.0))
            + asked * (PLATFORM_LOG + LOOK_UP_LOG)
            + events * (PLATFORM_LOG + WEBSOCKET_LOG)
            + opened * (PLATFORM_LOG + AUTHORIZER_LOG);
        let out = messages * ANSWER_BYTES
            + asked * (ANSWER_BYTES + payload_bytes)
            + messages * EVENT * sockets / owners;
        self.tail(&mut bill, traffic, messages + asked, logs, out)?;
        Ok(bill)
    }

    /// Starting execution environments: their init, which runs with a whole processor and is billed, and what
    /// the first invocation takes longer.
    fn starts(
        &self,
        bill: &mut Bill,
        traffic: Traffic,
        a_month: f64,
        case: &Case,
        memory: f64,
    ) -> Result<(), Failure> {
        let starts = a_month * MESSAGES / traffic.per_month();
        let start_ms = case.init_ms()? + duration_ms(case.first_extra_cpu_ms()?, memory, 0.0);
        let price = self.prices.lambda_gb_second;
        bill.add("Lambda: cold starts, GB-seconds", gb_seconds(starts, start_ms, memory), price);
        Ok(())
    }

    /// What both ways have in common: the authorizer, logs and what goes out to the internet.
    fn tail(
        &self,
        bill: &mut Bill,
        traffic: Traffic,
        http_requests: f64,
        log_bytes: f64,
        bytes_out: f64,
    ) -> Result<(), Failure> {
        let Self { prices, settings, .. } = self;
        let asked = http_requests * self.authorized_anew(traffic, http_requests / MESSAGES);
        bill.add("Lambda: authorizer, invocations", asked, prices.lambda_request);
        bill.add(
            "Lambda: authorizer, GB-seconds",
            gb_seconds(asked, self.authorizer_ms()?, settings.authorizer),
            prices.lambda_gb_second,
        );
        let log_bytes = log_bytes + asked * (PLATFORM_LOG + AUTHORIZER_LOG);
        // X-Ray keeps the first request of a second and 5 % of the others, unless it is configured otherwise
        // ("Configuring sampling rules").
        let in_a_second = (traffic.flowing() * http_requests / MESSAGES).max(1.0);
        let kept = (1.0 + 0.05 * (in_a_second - 1.0)) / in_a_second;
        bill.add("X-Ray: traces", http_requests * kept, prices.xray_trace);
        bill.add("CloudWatch: GB of logs", log_bytes / GB, prices.log_gb);
        bill.add("Transfer: GB out", bytes_out / GB, prices.transfer_out_gb);
        Ok(())
    }

    fn authorizer_ms(&self) -> Result<f64, Failure> {
        let case = self.measured.nearest("authorizer", 0.0)?;
        Ok(duration_ms(case.warm_cpu_ms()?, self.settings.authorizer, 0.0))
    }

    /// The share of HTTP requests for which the authorizer is asked. API Gateway remembers its answer for a
    /// token for some time, and every owner has one token.
    pub(super) fn authorized_anew(&self, traffic: Traffic, requests_per_message: f64) -> f64 {
        let Assumptions { owners, cache_hits, .. } = self.assumptions;
        if let Some(hits) = cache_hits {
            return 1.0 - hits;
        }
        let ttl = self.settings.authorizer_ttl;
        // An owner's first request after the answer is forgotten comes that much later.
        let between = owners / (traffic.flowing() * requests_per_message);
        match traffic.bursts() {
            None => between / (ttl + between),
            Some((_, seconds)) => {
                let requests = traffic.flowing() * requests_per_message * seconds;
                let again = (seconds / (ttl + between)).floor();
                (distinct(owners, requests) * (1.0 + again) / requests).min(1.0)
            }
        }
    }
}

/// The queue's consumer under some traffic.
struct Consumer<'a> {
    books: &'a Books,
    measured: Batches,
    /// CPU time of one more request than the measured batches make.
    request_cpu_ms: f64,
    messages_per_insert: f64,
    measured_queries: f64,
    /// Messages a second for each of the concurrent consumers.
    share: f64,
    mean_batch: f64,
    backlog: bool,
}

impl<'a> Consumer<'a> {
    fn new(books: &'a Books, batch: f64, traffic: Traffic, payload_bytes: f64) -> Result<Self, Failure> {
        let measured = books.measured.batches(payload_bytes)?;
        let settings = &books.settings;
        let mut consumer = Self {
            books,
            request_cpu_ms: books.measured.nearest("sync-insert", 0.0)?.warm_cpu_ms()?,
            messages_per_insert: measured.messages_per_insert()?,
            measured_queries: measured.largest()?.requests("Query")?,
            measured,
            share: traffic.flowing() / settings.consumers,
            mean_batch: 1.0,
            backlog: false,
        };
        let full = batch.min((EVENT_BYTES / (payload_bytes + RECORD_BYTES)).floor());
        // Up to 10 messages a batch goes off at once ("Using Lambda with Amazon SQS").
        let window = if batch > SQS_BATCH { settings.window } else { 0.0 };
        // A batch begins with one message, and takes what comes while the window is open or its consumer is
        // still at work on the one before.
        for _ in 0..100 {
            let gathering = window.max(consumer.duration_ms(consumer.mean_batch) / 1000.0);
            consumer.mean_batch = full.min(1.0 + consumer.share * gathering);
        }
        consumer.backlog = consumer.share * consumer.duration_ms(full) / 1000.0 > full;
        if consumer.backlog {
            consumer.mean_batch = full;
        }
        Ok(consumer)
    }

    /// How long a batch takes. The consumer asks for the connections of every owner in it, and tells each of
    /// them once a frame. For owners beyond those of the measured batches a request is taken to cost what a
    /// whole invocation of `sync-insert` does, which is more.
    fn duration_ms(&self, batch: f64) -> f64 {
        let Assumptions { owners, sockets, database_ms, push_ms, .. } = self.books.assumptions;
        let notified = distinct(owners, batch);
        let more = (notified - self.measured_queries).max(0.0) * (1.0 + sockets / owners);
        let cpu = self.measured.warm_cpu_ms(batch) + more * self.request_cpu_ms;
        let rounds = |requests: f64| (requests / MAX_CONCURRENT_REQUESTS).ceil();
        let inserts = (batch / self.messages_per_insert).ceil();
        let waiting = (rounds(inserts) + rounds(notified)) * database_ms
            + rounds(notified) * rounds(sockets / owners) * self.frames(batch) * push_ms;
        duration_ms(cpu, self.books.settings.queue_consumer, waiting)
    }

    /// Frames to each socket of an owner.
    fn frames(&self, batch: f64) -> f64 {
        chunks(batch / distinct(self.books.assumptions.owners, batch) * EVENT, FRAME)
    }

    /// Frames to all sockets.
    fn pushes(&self, batch: f64) -> f64 {
        let Assumptions { owners, sockets, .. } = self.books.assumptions;
        distinct(owners, batch) * sockets / owners * self.frames(batch)
    }

    /// How many messages one receive brings: what came while the one before was under way.
    fn received_together(&self) -> f64 {
        if self.backlog {
            return SQS_BATCH.min(self.mean_batch);
        }
        (1.0 + self.share * RECEIVE_SECONDS).min(SQS_BATCH).min(self.mean_batch)
    }
}

/// A function that needs more memory than it has would not run at all.
fn fits(case: &Case, memory_mb: f64) -> Result<(), Failure> {
    let peak = case.peak_memory_bytes()? / 1024.0 / 1024.0;
    if peak <= memory_mb {
        return Ok(());
    }
    Err(Failure::new(format!("a function of {memory_mb} MB was measured to use {peak:.0} MB"))
        .advise("raise its MemorySize in template.yaml"))
}
