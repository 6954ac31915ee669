//! The table of messages of a deployed stack, in provisioned mode meanwhile. The change is marked in the table itself,
//! so that the next run finds it and sets it back, wherever it runs.

use aws_sdk_dynamodb::{
    config::{Config, retry::RetryConfig},
    types::AttributeValue,
};
use e2e::stack::{Stack, eventually};
use serde_json::{Value, json};

use crate::output::say;

/// The tag of a table whose capacity was changed. Its value is what the capacity was before.
const TAG: &str = "intake:compare";

/// The value of the tag of a table that was on demand.
const ON_DEMAND: &str = "on-demand";

/// Read units a second of the table in provisioned mode: what the functions read is not to be the limit.
const READ_UNITS: i64 = 100;

/// For so many seconds the table saves capacity that is not used ("Burst and adaptive capacity").
const SAVED_SECONDS: f64 = 300.0;

/// The key of the item that uses up what was saved: no message has such an id.
const FILLER: &str = "#compare";

/// Its size, in bytes and in write units.
const FILLER_BYTES: usize = 10_000;
const FILLER_UNITS: f64 = 10.0;

/// Read and write units a second; none on demand.
type Throughput = Option<[i64; 2]>;

/// Gives the table so many write units a second, and uses up what it has saved.
pub(super) async fn provision(stack: &Stack, units: f64) {
    let table = description(stack).await;
    let wanted = Some([READ_UNITS, units.ceil() as i64]);
    if throughput(&table) != wanted {
        say(&format!("The table gets {} write units a second", units.ceil()));
        if capacity_before(stack, &table).await.is_none() {
            let before = throughput(&table);
            let before = before.map_or(ON_DEMAND.to_owned(), |[read, write]| format!("{read} {write}"));
            let tags = json!([{ "Key": TAG, "Value": before }]);
            call(stack, "TagResource", &json!({ "ResourceArn": table["TableArn"], "Tags": tags })).await;
            // A new tag may be missing in the list for some seconds ("TagResource"): what sets back would not find it.
            let listed = async || capacity_before(stack, &table).await.ok_or("it is not listed");
            eventually("the tag of the table", listed).await;
        }
        set(stack, wanted).await;
        description(stack).await;
    }
    if !use_up(stack, units).await {
        say("The table is not throttled beyond its capacity: what stands for DynamoDB here has no limit");
    }
}

/// Gives the table its own capacity back, if this run, or one before it that was ended, has changed it.
pub(super) async fn set_back(stack: &Stack) {
    let table = description(stack).await;
    let Some(before) = capacity_before(stack, &table).await else { return };
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let wanted = before.split_once(' ').map(|(read, write)| [read, write].map(number));
    if throughput(&table) != wanted {
        set(stack, wanted).await;
    }
    call(stack, "UntagResource", &json!({ "ResourceArn": table["TableArn"], "TagKeys": [TAG] })).await;
    say(&format!("The table has its read and write units a second back: {before}"));
    let delete = stack.dynamodb.delete_item().table_name(&stack.at.messages_table);
    delete.key("pk", text(FILLER)).send().await.expect("the table can be written");
}

/// What the capacity was before it was changed, in this run or in one before it; none if it was not.
async fn capacity_before(stack: &Stack, table: &Value) -> Option<String> {
    let listed = call(stack, "ListTagsOfResource", &json!({ "ResourceArn": table["TableArn"] })).await;
    let tag = listed["Tags"].as_array()?.iter().find(|tag| tag["Key"] == TAG)?;
    tag["Value"].as_str().map(str::to_owned)
}

/// Writes until the table is throttled. Returns whether it was.
async fn use_up(stack: &Stack, units: f64) -> bool {
    let once = Config::builder().retry_config(RetryConfig::disabled());
    let mut written = 0.0;
    while written < SAVED_SECONDS * units + FILLER_UNITS {
        let put = stack.dynamodb.put_item().table_name(&stack.at.messages_table);
        let put = put.item("pk", text(FILLER)).item("filler", text(&"x".repeat(FILLER_BYTES)));
        if let Err(error) = put.customize().config_override(once.clone()).send().await {
            let error = error.into_service_error();
            assert!(error.is_provisioned_throughput_exceeded_exception(), "{error}");
            return true;
        }
        written += FILLER_UNITS;
    }
    false
}

async fn set(stack: &Stack, capacity: Throughput) {
    let mut change = json!({ "TableName": stack.at.messages_table, "BillingMode": "PAY_PER_REQUEST" });
    if let Some([read, write]) = capacity {
        change["BillingMode"] = json!("PROVISIONED");
        change["ProvisionedThroughput"] = json!({ "ReadCapacityUnits": read, "WriteCapacityUnits": write });
    }
    call(stack, "UpdateTable", &change).await;
}

/// The description of the table, once no change of it is under way.
async fn description(stack: &Stack) -> Value {
    let name = &stack.at.messages_table;
    eventually(&format!("the table {name} without a change"), async || {
        let mut described = call(stack, "DescribeTable", &json!({ "TableName": name })).await;
        let table = described["Table"].take();
        if table["TableStatus"] == "ACTIVE" { Ok(table) } else { Err(table["TableStatus"].to_string()) }
    })
    .await
}

/// Not by the SDK, which does not read the emulator's description of a table.
async fn call(stack: &Stack, operation: &str, request: &Value) -> Value {
    let response = stack.json_rpc("dynamodb", &format!("DynamoDB_20120810.{operation}"), request).await;
    assert!(response["__type"].is_null(), "{operation}: {response}");
    response
}

fn throughput(table: &Value) -> Throughput {
    let units = &table["ProvisionedThroughput"];
    let is_on_demand = table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST";
    let units = ["ReadCapacityUnits", "WriteCapacityUnits"].map(|name| units[name].as_i64().unwrap_or(0));
    (!is_on_demand).then_some(units)
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}
