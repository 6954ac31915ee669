//! What a comparison on a deployed stack is going to send and to change, for the one who has to agree.

use crate::{Options, Part, callers::Caller, cost::Prices};

pub(crate) fn text(options: &Options) -> String {
    let (mut messages, mut requests, mut queued) = (0.0, 0.0, 0.0);
    for plan in options.parts().flat_map(|part| part.plans(options)) {
        let number = plan.load.arrivals().len();
        messages += number as f64;
        // One look-up each.
        requests += (number * (plan.caller.requests_if_never_accepted() + 1)) as f64;
        if plan.caller == Caller::Queue {
            queued += number as f64;
        }
    }
    let capacity = options.capacity.ceil();
    let changes = options.parts().any(|part| part != Part::Flow);
    let mut used = vec![
        ("messages, to be removed in the end: write units", 2.0 * messages, "dynamodb_write_unit"),
        ("requests to the HTTP API, retries included", requests, "rest_request"),
        ("invocations, likewise", requests, "lambda_request"),
        // A batch may have one message: sent, received, deleted.
        ("requests to SQS, at most", 3.0 * queued, "sqs_request"),
        ("messages to WebSockets, at most", queued, "websocket_message"),
    ];
    if changes {
        used.push(("write units a second for an hour", capacity, "dynamodb_write_unit_hour"));
    }
    let prices = Prices::load();
    let mut cents = 0.0;
    let mut text = String::new();
    for (what, number, price) in used {
        let cost = 100.0 * number * prices.of(price);
        text += &format!("{number:>8} {what:<50} {cost:>5.1} cents\n");
        cents += cost;
    }
    text += &format!("{:>8} {:<50} {cents:>5.1} cents, at list prices of us-east-1\n", "", "together");
    text += "Nobody else may use the stack meanwhile.\n";
    if changes {
        text += &format!(
            "The table of messages gets a provisioned capacity of {capacity} write units a second, and in the end \
             the one that it has\nnow. It may be set back to on demand four times in 24 hours.\n"
        );
    }
    if options.wants(Part::Outage) {
        text += "For some seconds two functions get an address of DynamoDB in their environment where nothing is.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn announced(parts: &[&str]) -> String {
        let given = ["compare", "--seed=1", "--capacity=10", "--rate=10", "--output=.", "--deployed"];
        text(&Options::parse_from([&given[..], parts].concat()))
    }

    #[test]
    fn only_what_limits_the_table_changes_it() {
        let flow = announced(&["--part=flow"]);
        assert!(!flow.contains("capacity") && !flow.contains("an hour"), "{flow}");
        assert!(announced(&["--part=burst"]).contains("a provisioned capacity of 10 write units"));
        assert!(announced(&["--part=outage"]).contains("an address of DynamoDB"));
    }

    #[test]
    fn bills_are_not_made_of_a_deployed_stack() {
        assert_eq!(announced(&[]), announced(&["--part=flow", "--part=burst", "--part=outage"]));
    }
}
