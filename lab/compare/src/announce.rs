//! What a comparison on a deployed stack is going to send and to change, for the one who has to agree.

use crate::{
    callers::Caller,
    cost::price,
    options::{Options, Part},
    run::Plan,
};

pub(crate) fn text(options: &Options, plans: &[Plan]) -> String {
    let (mut messages, mut requests, mut queued) = (0, 0, 0);
    for plan in plans {
        let number = plan.load.arrivals().len();
        messages += number;
        // One look-up each.
        requests += number * (plan.caller.max_requests() + 1);
        queued += if plan.caller == Caller::Queue { number } else { 0 };
    }
    let changes_table = options.parts().any(|part| part != Part::Flow);
    let capacity = if changes_table { options.capacity.ceil() } else { 0.0 };
    let usd = requests as f64 * (price("rest_request") + price("lambda_request"))
        // A batch may have one message: sent, received, deleted, and its owner notified.
        + queued as f64 * (3.0 * (price("sqs_request") + price("sqs_group_request")) + price("websocket_message"))
        // In the end they are removed.
        + messages as f64 * 2.0 * price("dynamodb_write_unit")
        // For an hour.
        + capacity * price("dynamodb_write_unit_hour");
    let mut text = format!(
        "{messages} messages are stored, and removed in the end. With retries they take at most {requests} requests, \
         and {usd:.2} US dollars at\nlist prices of us-east-1. Nobody else may use the stack meanwhile.\n"
    );
    if changes_table {
        text += &format!(
            "The table of messages gets a provisioned capacity of {capacity} write units a second, and in the end \
             the one that it has\nnow. It may be set back to on demand four times in 24 hours.\n"
        );
    }
    if options.parts().any(|part| part == Part::Outage) {
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
        let options = Options::parse_from([&given[..], parts].concat());
        let plans: Vec<_> = options.parts().flat_map(|part| crate::plans(part, &options)).collect();
        text(&options, &plans)
    }

    #[test]
    fn only_what_limits_the_table_changes_it() {
        assert!(!announced(&["--part=flow"]).contains("capacity"));
        assert!(announced(&["--part=burst"]).contains("a provisioned capacity of 10 write units"));
        assert!(announced(&["--part=outage"]).contains("an address of DynamoDB"));
        // Bills are not made of a deployed stack.
        assert_eq!(announced(&[]), announced(&["--part=flow", "--part=burst", "--part=outage"]));
    }
}
