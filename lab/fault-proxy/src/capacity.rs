//! A table with a limited capacity, by DynamoDB's rules.
//!
//! What a request consumes is on the page "DynamoDB read and write operations", the size of an item on "DynamoDB
//! item sizes and formats", what happens above the capacity on "DynamoDB provisioned capacity mode". Some things are
//! simpler here: an overwritten or rejected item counts as large as the one that is written; a `BatchWriteItem` is
//! throttled as a whole; there are no partitions and no burst credit; and reads are counted, but not limited.

use std::{collections::BTreeMap, iter::repeat, time::Instant};

use serde_json::Value;

/// A write unit is for up to 1 KB of an item.
const WRITE_UNIT_BYTES: usize = 1024;
/// A read unit is for up to 4 KB of an item.
const READ_UNIT_BYTES: usize = 4096;

/// The capacity of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// The table. Writes to others are not limited.
    pub table: String,
    /// Write units a second.
    pub write_units: f64,
}

impl Capacity {
    /// So many write units a second.
    pub fn of(table: &str, write_units: f64) -> Self {
        Self { table: table.to_owned(), write_units }
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

/// A bucket of write units that fills with time. It holds those of one second.
#[derive(Debug)]
pub(crate) struct Bucket {
    capacity: Capacity,
    units: f64,
    filled_at: Instant,
}

impl Bucket {
    pub(crate) fn full(capacity: Capacity, now: Instant) -> Self {
        Self { units: capacity.write_units, capacity, filled_at: now }
    }

    /// Whether a write fits into the capacity, which it then consumes.
    pub(crate) fn admit(&mut self, write: &Write, now: Instant) -> bool {
        if write.table != self.capacity.table {
            return true;
        }
        let size = self.capacity.write_units;
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.units = (self.units + passed * size).min(size);
        self.filled_at = now;
        // What is larger than the bucket passes when it is full, and leaves a debt: otherwise it never would.
        let fits = self.units >= write.units.min(size);
        if fits {
            self.units -= write.units;
        }
        fits
    }
}

/// What is admitted or throttled by itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Write {
    table: String,
    pub(crate) units: f64,
}

impl Write {
    /// Of items of so many bytes: each is rounded up by itself.
    fn of(table: &str, items: impl IntoIterator<Item = usize>) -> Self {
        let units = items.into_iter().map(|bytes| bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as f64);
        Self { table: table.to_owned(), units: units.sum() }
    }
}

/// The writes of a request: one, or one for each statement of a `BatchExecuteStatement`. A write whose condition fails
/// consumes as well, so that nothing depends on the response.
pub(crate) fn writes(operation: &str, request: &Value) -> Vec<Write> {
    let table = request["TableName"].as_str().unwrap_or_default();
    match operation {
        "PutItem" => vec![Write::of(table, [item_bytes(&request["Item"])])],
        "DeleteItem" => vec![Write::of(table, [item_bytes(&request["Key"])])],
        "BatchWriteItem" => {
            let item = |write: &Value| {
                item_bytes(&write["PutRequest"]["Item"]) + item_bytes(&write["DeleteRequest"]["Key"])
            };
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            tables.map(|(table, writes)| Write::of(table, elements(writes).map(item))).collect()
        }
        "BatchExecuteStatement" => elements(&request["Statements"]).map(insert_statement).collect(),
        _ => Vec::new(),
    }
}

/// An `INSERT INTO "table" VALUE {'name': ?, …}` with its values as parameters.
fn insert_statement(statement: &Value) -> Write {
    let text = statement["Statement"].as_str().unwrap_or_default();
    let (into, value) = text.split_once('{').unwrap_or((text, ""));
    let names: usize = value.split('\'').skip(1).step_by(2).map(str::len).sum();
    let values: usize = elements(&statement["Parameters"]).map(value_bytes).sum();
    Write::of(into.split('"').nth(1).unwrap_or_default(), [names + values])
}

/// What a request has read, by its response.
pub(crate) fn read_units(operation: &str, request: &Value, response: &Value) -> f64 {
    let units = |bytes: usize, request: &Value| {
        let units = bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64;
        if request["ConsistentRead"] == true { units } else { units / 2.0 }
    };
    match operation {
        "GetItem" => units(item_bytes(&response["Item"]), request),
        // The items of a page are counted together.
        "Query" => units(elements(&response["Items"]).map(item_bytes).sum(), request),
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flatten();
            let units = tables.map(|(table, reads)| {
                let found = elements(&response["Responses"][table]).map(item_bytes);
                // What is not there costs a read as well.
                let bytes = found.chain(repeat(0)).take(elements(&reads["Keys"]).count());
                bytes.map(|bytes| units(bytes, reads)).sum::<f64>()
            });
            units.sum()
        }
        _ => 0.0,
    }
}

fn elements(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

/// Names and values, in UTF-8.
fn item_bytes(item: &Value) -> usize {
    item.as_object().into_iter().flatten().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// The size of a value, written as `{"S": "text"}`. Of kinds that Intake does not store, it is about that.
fn value_bytes(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else { return 0 };
    match (kind.as_str(), value.as_str()) {
        ("S", Some(text)) => text.len(),
        // Two digits a byte, and one more.
        ("N", Some(digits)) => digits.len().div_ceil(2) + 1,
        _ => value.to_string().len(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn units(operation: &str, request: &Value) -> Vec<f64> {
        writes(operation, request).iter().map(|write| write.units).collect()
    }

    /// "DynamoDB read and write operations": a write unit for each KB, rounded up for each item.
    #[test]
    fn a_write_consumes_a_unit_for_each_started_kilobyte() {
        let put = |bytes: usize| json!({ "TableName": "t", "Item": { "p": { "S": "x".repeat(bytes - 1) } } });
        for (bytes, expected) in
            [(1, 1.0), (1024, 1.0), (1025, 2.0), (10 * 1024, 10.0), (10 * 1024 + 1, 11.0)]
        {
            assert_eq!(units("PutItem", &put(bytes)), [expected], "{bytes} bytes");
        }
        let items =
            json!({ "RequestItems": { "t": [{ "PutRequest": put(1) }, { "PutRequest": put(1025) }] } });
        assert_eq!(units("BatchWriteItem", &items), [3.0], "each item is rounded up by itself");
    }

    /// "DynamoDB read and write operations": 4 KB a unit if consistent, half a unit if not.
    #[test]
    fn an_eventually_consistent_read_consumes_half() {
        let item = |bytes: usize| json!({ "p": { "S": "x".repeat(bytes - 1) } });
        for (consistent, bytes, units) in
            [(false, 1, 0.5), (true, 1, 1.0), (true, 4096, 1.0), (true, 4097, 2.0), (false, 4097, 1.0)]
        {
            let request = json!({ "TableName": "t", "ConsistentRead": consistent });
            let read = read_units("GetItem", &request, &json!({ "Item": item(bytes) }));
            assert_eq!(read, units, "{bytes} bytes, consistent: {consistent}");
        }
        let keys = json!({ "RequestItems": { "t": { "ConsistentRead": true, "Keys": [{}, {}, {}] } } });
        let found = json!({ "Responses": { "t": [item(4097)] } });
        assert_eq!(read_units("BatchGetItem", &keys, &found), 4.0, "a key without an item costs a unit");
        let (query, page) = (json!({ "ConsistentRead": true }), json!({ "Items": vec![item(2047); 3] }));
        assert_eq!(read_units("Query", &query, &page), 2.0, "a page is rounded up once");
    }

    /// "DynamoDB item sizes and formats".
    #[test]
    fn an_item_is_as_large_as_its_names_and_values() {
        for (value, bytes) in [(json!({ "S": "é" }), 2), (json!({ "N": "1234" }), 3)] {
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
        let writes = writes("BatchExecuteStatement", &request);
        assert_eq!(writes.iter().map(|write| write.units).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(writes.iter().all(|write| write.table == "t"));
    }

    fn write(table: &str, units: f64) -> Write {
        Write { table: table.to_owned(), units }
    }

    /// "DynamoDB provisioned capacity mode": what exceeds the units of a second is throttled.
    #[test]
    fn a_bucket_empties_and_fills_with_time() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut bucket = Bucket::full(Capacity::of("messages", 10.0), start);
        let mut taken = |at| (0..100).filter(|_| bucket.admit(&write("messages", 1.0), at)).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start), 0, "it is empty");
        assert_eq!(taken(after(500)), 5);
        assert_eq!(taken(after(1_500)), 10);
        assert_eq!(taken(after(60_000)), 10, "an idle minute leaves no credit");
        assert!(bucket.admit(&write("connections", 1.0), after(60_000)), "another table is not limited");
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Capacity::of("messages", 10.0), start);
        assert!(bucket.admit(&write("messages", 30.0), start));
        let mut next =
            |milliseconds| bucket.admit(&write("messages", 1.0), start + Duration::from_millis(milliseconds));
        assert!(!next(2_000), "it is still in debt");
        assert!(next(2_200));
    }
}
