//! A table with a limited capacity, by DynamoDB's rules.
//!
//! What a request consumes is on the page "DynamoDB read and write operations", the size of an item on "DynamoDB
//! item sizes and formats", what happens above the capacity on "DynamoDB provisioned capacity mode" and "DynamoDB
//! burst and adaptive capacity". Three things are simpler here: an overwritten or rejected item counts as large as
//! the one that is written; a `BatchWriteItem` or `BatchGetItem` is throttled as a whole; and there are no
//! partitions.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Map, Value};

/// A write unit is for up to 1 KB of an item.
const WRITE_UNIT_BYTES: usize = 1024;
/// A read unit is for up to 4 KB of an item.
const READ_UNIT_BYTES: usize = 4096;

/// The capacity of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// The table. Requests for others are not limited; without a name, all tables share the capacity.
    pub table: Option<String>,
    /// Write units a second.
    pub write_units: f64,
    /// Read units a second.
    pub read_units: f64,
    /// For how many seconds capacity that is not used is kept, beyond the current one. DynamoDB keeps up to 300; with
    /// 0 a burst finds no credit.
    pub burst_seconds: f64,
}

impl Capacity {
    /// As many write as read units a second, without burst credit.
    pub fn of(table: &str, units: f64) -> Self {
        Self { table: Some(table.to_owned()), write_units: units, read_units: units, burst_seconds: 0.0 }
    }
}

/// What the requests have consumed that reached the database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Requests by operation, also those that were throttled or failed.
    pub requests: BTreeMap<String, usize>,
    /// Write units.
    pub write_units: f64,
    /// Read units.
    pub read_units: f64,
    /// Requests that exceeded the capacity.
    pub throttled_requests: usize,
    /// Single statements that exceeded the capacity, in batches that were not throttled as a whole.
    pub throttled_statements: usize,
}

/// The two buckets of a table.
#[derive(Debug)]
pub(crate) struct Buckets {
    pub(crate) capacity: Capacity,
    write: Bucket,
    read: Bucket,
}

impl Buckets {
    pub(crate) fn of(capacity: Capacity, now: Instant) -> Self {
        let bucket = |rate| Bucket::full(rate, capacity.burst_seconds, now);
        Self { write: bucket(capacity.write_units), read: bucket(capacity.read_units), capacity }
    }

    /// Whether each part of a demand fits into the capacity; what fits is consumed.
    pub(crate) fn admit(&mut self, demand: &Demand, now: Instant) -> Vec<bool> {
        demand
            .parts
            .iter()
            .map(|part| {
                if self.capacity.table.is_some() && self.capacity.table != part.table {
                    return true;
                }
                // A request consumes either kind: the other bucket is asked for nothing, even if it is in debt.
                (part.write == 0.0 || self.write.take(part.write, now))
                    && (part.read == 0.0 || self.read.take(part.read, now))
            })
            .collect()
    }

    /// Consumes what turned out only by the response: a large item leaves a debt.
    pub(crate) fn charge_reads(&mut self, table: Option<&str>, units: f64) {
        if self.capacity.table.is_none() || self.capacity.table.as_deref() == table {
            self.read.units -= units;
        }
    }
}

/// A bucket of units that fills with time.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    size: f64,
    units: f64,
    filled_at: Instant,
}

impl Bucket {
    /// It holds the units of one second, and those of the seconds of burst credit.
    fn full(rate: f64, burst_seconds: f64, now: Instant) -> Self {
        let size = rate * (1.0 + burst_seconds);
        Self { rate, size, units: size, filled_at: now }
    }

    fn take(&mut self, units: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.units = (self.units + passed * self.rate).min(self.size);
        self.filled_at = now;
        // What is larger than the bucket passes when it is full, and leaves a debt: otherwise it never would.
        let fits = self.units >= units.min(self.size);
        if fits {
            self.units -= units;
        }
        fits
    }
}

/// What a request asks for: one part, or one for each statement of a `BatchExecuteStatement`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Demand {
    pub(crate) parts: Vec<Part>,
}

/// What is admitted or throttled by itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) table: Option<String>,
    pub(crate) write: f64,
    pub(crate) read: f64,
}

impl Demand {
    /// The demand of a request. A read demands its least; what it read is known by the response.
    pub(crate) fn of(operation: &str, request: &Value) -> Self {
        let table = || request["TableName"].as_str().map(str::to_owned);
        let write = |write| vec![Part { table: table(), write, read: 0.0 }];
        let read = |read| vec![Part { table: table(), write: 0.0, read }];
        let parts = match operation {
            // A write whose condition fails consumes as well, so that nothing depends on the response.
            "PutItem" => write(write_units(item_bytes(&request["Item"]))),
            "DeleteItem" => write(write_units(item_bytes(&request["Key"]))),
            "UpdateItem" => {
                let values = &request["ExpressionAttributeValues"];
                write(write_units(item_bytes(&request["Key"]) + item_bytes(values)))
            }
            "GetItem" | "Query" | "Scan" => read(read_units(0, is_consistent(request))),
            "BatchWriteItem" => batch(request, |writes| {
                let items = writes.as_array().into_iter().flatten();
                let units = items.map(|write| {
                    let (put, delete) = (&write["PutRequest"]["Item"], &write["DeleteRequest"]["Key"]);
                    write_units(item_bytes(put) + item_bytes(delete))
                });
                (units.sum(), 0.0)
            }),
            "BatchGetItem" => batch(request, |reads| {
                let keys = reads["Keys"].as_array().map_or(0, Vec::len);
                (0.0, keys as f64 * read_units(0, is_consistent(reads)))
            }),
            "BatchExecuteStatement" => {
                request["Statements"].as_array().into_iter().flatten().map(statement).collect()
            }
            _ => Vec::new(),
        };
        Self { parts }
    }

    pub(crate) fn units(&self) -> (f64, f64) {
        self.parts.iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.write, sum.1 + part.read))
    }
}

/// The read units of a response beyond the least that was demanded, with the table.
pub(crate) fn reads_beyond_demand(operation: &str, request: &Value, response: &Value) -> f64 {
    let consistent = is_consistent(request);
    let least = read_units(0, consistent);
    match operation {
        "GetItem" => read_units(item_bytes(&response["Item"]), consistent) - least,
        // The items of a page are counted together.
        "Query" | "Scan" => {
            let items = response["Items"].as_array().into_iter().flatten();
            read_units(items.map(item_bytes).sum(), consistent) - least
        }
        "BatchGetItem" => {
            let tables = response["Responses"].as_object().into_iter().flatten();
            let units = tables.flat_map(|(table, items)| {
                let consistent = is_consistent(&request["RequestItems"][table]);
                let items = items.as_array().into_iter().flatten();
                items.map(move |item| read_units(item_bytes(item), consistent) - read_units(0, consistent))
            });
            units.sum()
        }
        _ => 0.0,
    }
}

fn batch(request: &Value, units: impl Fn(&Value) -> (f64, f64)) -> Vec<Part> {
    let tables = request["RequestItems"].as_object().into_iter().flatten();
    let parts = tables.map(|(table, requests)| {
        let (write, read) = units(requests);
        Part { table: Some(table.clone()), write, read }
    });
    parts.collect()
}

/// An `INSERT INTO "table" VALUE {'name': ?, …}` with its values as parameters.
fn statement(statement: &Value) -> Part {
    let text = statement["Statement"].as_str().unwrap_or_default();
    let (into, value) = text.split_once('{').unwrap_or((text, ""));
    let names: usize = value.split('\'').skip(1).step_by(2).map(str::len).sum();
    let values = statement["Parameters"].as_array().into_iter().flatten().map(value_bytes);
    let bytes = names + values.sum::<usize>();
    Part { table: into.split('"').nth(1).map(str::to_owned), write: write_units(bytes), read: 0.0 }
}

fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as f64
}

fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

fn is_consistent(request: &Value) -> bool {
    request["ConsistentRead"] == true
}

/// Names and values, in UTF-8.
fn item_bytes(item: &Value) -> usize {
    item.as_object().map_or(0, members_bytes)
}

fn members_bytes(members: &Map<String, Value>) -> usize {
    members.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// The size of a value, written as `{"S": "text"}`.
fn value_bytes(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else { return 0 };
    let text = || value.as_str().map_or(0, str::len);
    let elements = || value.as_array().into_iter().flatten();
    match kind.as_str() {
        "S" => text(),
        // Two digits a byte, and one more.
        "N" => text().div_ceil(2) + 1,
        // Base64 on its way.
        "B" => text() / 4 * 3,
        "SS" => elements().map(|element| element.as_str().map_or(0, str::len)).sum(),
        "NS" => elements().map(|element| element.as_str().map_or(0, str::len).div_ceil(2) + 1).sum(),
        "BS" => elements().map(|element| element.as_str().map_or(0, str::len) / 4 * 3).sum(),
        // Three bytes, and one for each element.
        "L" => 3 + elements().map(|element| 1 + value_bytes(element)).sum::<usize>(),
        "M" => 3 + value.as_object().map_or(0, |members| members.len() + members_bytes(members)),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn write(operation: &str, request: &Value) -> f64 {
        Demand::of(operation, request).units().0
    }

    fn read(operation: &str, request: &Value) -> f64 {
        Demand::of(operation, request).units().1
    }

    /// "DynamoDB read and write operations": a write unit for each KB, rounded up for each item.
    #[test]
    fn a_write_consumes_a_unit_for_each_started_kilobyte() {
        let put = |bytes: usize| json!({ "TableName": "t", "Item": { "p": { "S": "x".repeat(bytes - 1) } } });
        for (bytes, units) in [(1, 1.0), (1024, 1.0), (1025, 2.0), (10 * 1024, 10.0), (10 * 1024 + 1, 11.0)] {
            assert_eq!(write("PutItem", &put(bytes)), units, "{bytes} bytes");
        }
        let items =
            json!({ "RequestItems": { "t": [{ "PutRequest": put(1) }, { "PutRequest": put(1025) }] } });
        assert_eq!(write("BatchWriteItem", &items), 3.0, "each item is rounded up by itself");
    }

    /// "DynamoDB read and write operations": 4 KB a unit if consistent, half a unit if not.
    #[test]
    fn an_eventually_consistent_read_consumes_half() {
        let get = |consistent: bool| json!({ "TableName": "t", "ConsistentRead": consistent });
        let item = |bytes: usize| json!({ "Item": { "p": { "S": "x".repeat(bytes - 1) } } });
        for (consistent, bytes, units) in
            [(false, 1, 0.5), (true, 1, 1.0), (true, 4096, 1.0), (true, 4097, 2.0), (false, 4097, 1.0)]
        {
            let request = get(consistent);
            let all = read("GetItem", &request) + reads_beyond_demand("GetItem", &request, &item(bytes));
            assert_eq!(all, units, "{bytes} bytes, consistent: {consistent}");
        }
        assert_eq!(reads_beyond_demand("GetItem", &get(true), &json!({})), 0.0, "nothing found costs a unit");
    }

    /// "DynamoDB read and write operations": a page of a query is one read of the sum of its items.
    #[test]
    fn a_query_is_rounded_up_once() {
        let request = json!({ "TableName": "t", "ConsistentRead": true });
        let item = json!({ "p": { "S": "x".repeat(2047) } });
        let response = json!({ "Items": [item, item, item] });
        assert_eq!(read("Query", &request) + reads_beyond_demand("Query", &request, &response), 2.0);
    }

    /// "DynamoDB item sizes and formats".
    #[test]
    fn an_item_is_as_large_as_its_names_and_values() {
        for (value, bytes) in [
            (json!({ "S": "é" }), 2),
            (json!({ "N": "1234" }), 3),
            (json!({ "B": "AAAA" }), 3),
            (json!({ "BOOL": true }), 1),
            (json!({ "NULL": true }), 1),
            (json!({ "SS": ["a", "bc"] }), 3),
            (json!({ "L": [{ "S": "ab" }] }), 6),
            (json!({ "M": { "a": { "S": "b" } } }), 6),
        ] {
            assert_eq!(value_bytes(&value), bytes, "{value}");
            assert_eq!(item_bytes(&json!({ "name": value })), 4 + bytes, "{value}");
        }
    }

    /// "PartiQL insert statements for DynamoDB": a statement writes one item.
    #[test]
    fn a_statement_consumes_what_its_item_does() {
        let insert = |bytes: usize| {
            let parameters = [json!({ "S": "i" }), json!({ "S": "x".repeat(bytes - 10) })];
            json!({ "Statement": "INSERT INTO \"t\" VALUE {'pk': ?, 'payload': ?}", "Parameters": parameters })
        };
        let request = json!({ "Statements": [insert(1024), insert(1025)] });
        let parts = Demand::of("BatchExecuteStatement", &request).parts;
        assert_eq!(parts.iter().map(|part| part.write).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(parts.iter().all(|part| part.table.as_deref() == Some("t")));
    }

    /// "DynamoDB provisioned capacity mode": what exceeds the units of a second is throttled.
    #[test]
    fn a_bucket_empties_and_fills_with_time() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut bucket = Bucket::full(10.0, 0.0, start);
        let mut taken = |at| (0..100).filter(|_| bucket.take(1.0, at)).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start), 0, "it is empty");
        assert_eq!(taken(after(500)), 5);
        assert_eq!(taken(after(1_500)), 10);
        assert_eq!(taken(after(60_000)), 10, "an idle minute leaves no credit");
    }

    /// "DynamoDB burst and adaptive capacity": up to 300 seconds of unused capacity.
    #[test]
    fn burst_credit_is_kept_only_if_asked_for() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10.0, 300.0, start);
        assert_eq!((0..10_000).filter(|_| bucket.take(1.0, start)).count(), 3_010);
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10.0, 0.0, start);
        assert!(bucket.take(30.0, start));
        assert!(!bucket.take(1.0, start + Duration::from_millis(2_000)), "it is still in debt");
        assert!(bucket.take(1.0, start + Duration::from_millis(2_200)));
    }

    #[test]
    fn another_table_is_not_limited() {
        let now = Instant::now();
        let mut buckets = Buckets::of(Capacity::of("messages", 1.0), now);
        let put = |table: &str| Demand::of("PutItem", &json!({ "TableName": table, "Item": {} }));
        assert_eq!(buckets.admit(&put("messages"), now), [true]);
        assert_eq!(buckets.admit(&put("messages"), now), [false]);
        assert_eq!(buckets.admit(&put("connections"), now), [true]);
    }
}
