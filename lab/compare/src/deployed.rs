//! The limits of a deployed stack: its own table in provisioned mode, and functions that do not reach it. Every change
//! is marked in the stack itself, so that the next run finds it and sets it back, wherever it runs.

use aws_sdk_dynamodb::{
    config::{Config, retry::RetryConfig},
    types::AttributeValue,
};
use e2e::stack::eventually;
use serde_json::{Value, json};

use crate::{callers::Caller, rig::Rig, say};

/// The tag of a table whose capacity was changed. Its value is what the capacity was before.
const TAG: &str = "intake:compare";

/// The value of the tag of a table that was on demand.
const ON_DEMAND: &str = "on-demand";

/// An address at which nothing listens in a function.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What names the address of the database to the SDK ("Service-specific endpoints").
pub(crate) const ENDPOINT: &str = "AWS_ENDPOINT_URL_DYNAMODB";

/// What this was before, if it was there.
const ENDPOINT_BEFORE: &str = "COMPARE_ENDPOINT_BEFORE";

/// Read units a second of the table in provisioned mode: what the functions read is not to be the limit.
const READ_UNITS: i64 = 100;

/// For so many seconds the table saves capacity that is not used ("Burst and adaptive capacity").
const SAVED_SECONDS: f64 = 300.0;

/// The key of the item that uses up what was saved: no message has such an id.
const FILLER: &str = "#compare";

/// Its size, in bytes and in write units.
const FILLER_BYTES: usize = 10_000;
const FILLER_UNITS: f64 = 10.0;

impl Rig {
    /// Gives the table of messages so many write units a second, and uses up what it has saved.
    pub(crate) async fn provision(&self, units: f64) {
        let table = self.table().await;
        let wanted = Some([READ_UNITS, units.ceil() as i64]);
        if throughput(&table) != wanted {
            say(&format!("The table gets {} write units a second", units.ceil()));
            if self.capacity_before(&table).await.is_none() {
                let before = throughput(&table);
                let before =
                    before.map_or_else(|| ON_DEMAND.to_owned(), |[read, write]| format!("{read} {write}"));
                let tag =
                    json!({ "ResourceArn": table["TableArn"], "Tags": [{ "Key": TAG, "Value": before }] });
                self.dynamodb("TagResource", &tag).await;
                *self.capacity_before.lock().expect("not poisoned") = Some(before);
            }
            self.set(wanted).await;
            self.table().await;
        }
        if !self.use_up(units).await {
            say("The table is not throttled beyond its capacity: what stands for DynamoDB here has no limit");
        }
    }

    /// Makes the function that stores what this caller sends reach its database, or not.
    pub(crate) async fn make_unavailable(&self, caller: Caller, unavailable: bool) {
        let configuration = self.configuration(caller).await;
        if unavailable != (configuration["Environment"]["Variables"][ENDPOINT] == NOWHERE) {
            self.change_environment(caller, |variables| {
                let (name, before) = (ENDPOINT.to_owned(), ENDPOINT_BEFORE.to_owned());
                if unavailable {
                    let endpoint = variables.insert(name, json!(NOWHERE));
                    variables.extend(endpoint.map(|endpoint| (before, endpoint)));
                } else {
                    variables.remove(ENDPOINT);
                    let endpoint = variables.remove(ENDPOINT_BEFORE);
                    variables.extend(endpoint.map(|endpoint| (name, endpoint)));
                }
            })
            .await;
        }
    }

    /// Sets back what this run, or one before it that was ended, has changed. Returns whether there was something.
    pub(crate) async fn set_back(&self) -> bool {
        for caller in [Caller::Once, Caller::Queue] {
            self.make_unavailable(caller, false).await;
        }
        let table = self.table().await;
        let Some(before) = self.capacity_before(&table).await else { return false };
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let before = before.split_once(' ').map(|(read, write)| [read, write].map(number));
        if throughput(&table) != before {
            self.set(before).await;
        }
        let untag = json!({ "ResourceArn": table["TableArn"], "TagKeys": [TAG] });
        self.dynamodb("UntagResource", &untag).await;
        *self.capacity_before.lock().expect("not poisoned") = None;
        let before =
            before.map_or_else(|| ON_DEMAND.to_owned(), |[_, write]| format!("{write} write units a second"));
        say(&format!("The table is set back: {before}"));
        self.remove([FILLER.to_owned()]).await;
        true
    }

    /// Removes items by their keys.
    pub(crate) async fn remove(&self, keys: impl IntoIterator<Item = String>) {
        for key in keys {
            let delete = self.stack.dynamodb.delete_item().table_name(&self.stack.at.messages_table);
            delete.key("pk", AttributeValue::S(key)).send().await.expect("the table can be written");
        }
    }

    /// Writes until the table is throttled. Returns whether it was.
    async fn use_up(&self, units: f64) -> bool {
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let item = |name: &str| AttributeValue::S(name.to_owned());
        let mut written = 0.0;
        while written < SAVED_SECONDS * units + FILLER_UNITS {
            let put = self.stack.dynamodb.put_item().table_name(&self.stack.at.messages_table);
            let put = put.item("pk", item(FILLER)).item("filler", item(&"x".repeat(FILLER_BYTES)));
            match put.customize().config_override(once.clone()).send().await {
                Ok(_) => written += FILLER_UNITS,
                Err(error) => {
                    let error = error.into_service_error();
                    assert!(error.is_provisioned_throughput_exceeded_exception(), "{error}");
                    return true;
                }
            }
        }
        false
    }

    async fn set(&self, capacity: Option<[i64; 2]>) {
        let name = &self.stack.at.messages_table;
        let change = match capacity {
            None => json!({ "TableName": name, "BillingMode": "PAY_PER_REQUEST" }),
            Some([read, write]) => json!({
                "TableName": name,
                "BillingMode": "PROVISIONED",
                "ProvisionedThroughput": { "ReadCapacityUnits": read, "WriteCapacityUnits": write },
            }),
        };
        self.dynamodb("UpdateTable", &change).await;
    }

    /// The table of messages, once no change of it is under way.
    async fn table(&self) -> Value {
        let name = &self.stack.at.messages_table;
        eventually(&format!("the table {name} without a change"), async || {
            let mut described = self.dynamodb("DescribeTable", &json!({ "TableName": name })).await;
            let table = described["Table"].take();
            if table["TableStatus"] == "ACTIVE" { Ok(table) } else { Err(table["TableStatus"].to_string()) }
        })
        .await
    }

    /// What the capacity was before it was changed, in this run or in one before it; none if it was not.
    async fn capacity_before(&self, table: &Value) -> Option<String> {
        // A new tag may be missing in the list for some seconds ("TagResource").
        let known = self.capacity_before.lock().expect("not poisoned").clone();
        if known.is_some() {
            return known;
        }
        let listed = self.dynamodb("ListTagsOfResource", &json!({ "ResourceArn": table["TableArn"] })).await;
        let tag = listed["Tags"].as_array()?.iter().find(|tag| tag["Key"] == TAG)?;
        tag["Value"].as_str().map(str::to_owned)
    }

    /// Not by the SDK, which does not read the emulator's description of a table.
    async fn dynamodb(&self, operation: &str, request: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let response = self.stack.json_rpc("dynamodb", &target, request).await;
        assert!(response["__type"].is_null(), "{operation}: {response}");
        response
    }
}

/// Read and write units a second; none on demand.
fn throughput(table: &Value) -> Option<[i64; 2]> {
    let units = &table["ProvisionedThroughput"];
    let is_on_demand = table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST";
    let units = ["ReadCapacityUnits", "WriteCapacityUnits"].map(|name| units[name].as_i64().unwrap_or(0));
    (!is_on_demand).then_some(units)
}
