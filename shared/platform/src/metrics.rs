//! Metrics: each with its name and unit, and how CloudWatch gets them.
//!
//! They are written to the log as lines in CloudWatch's embedded metric format ("Specification: Embedded
//! metric format"), from which CloudWatch extracts the metrics: no call, and no waiting. They
//! are in the namespace `Intake`, with the function's name as their one dimension, as Lambda's own are.
//! `docs/observability.md` says what each means in each of the two designs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{self, FormatTime},
};

/// The namespace of all of them.
pub const NAMESPACE: &str = "Intake";

/// The dimension of all of them. Its value is the name of the function.
pub const DIMENSION: &str = "FunctionName";

/// How many values one metric may have in one line at most ("Target members").
const MAX_VALUES: usize = 100;

/// Declares the metrics, each of them once: its name in CloudWatch is the name of the variant.
macro_rules! metrics {
    ($($(#[$documentation:meta])* $name:ident,)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($(#[$documentation])* $name,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in CloudWatch.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

metrics! {
    /// Messages that were accepted, each once however often it is redelivered; a redriven one counts again.
    Accepted,
    /// Messages that were stored.
    Stored,
    /// Messages whose payload was stored before.
    Duplicate,
    /// Messages whose id has another payload.
    Conflict,
    /// Invalid messages.
    Rejected,
    /// Messages that failed: with a 5xx response, or on their last delivery.
    Failed,
    /// Deliveries after which SQS redelivers the message, because its outcome is still open.
    Retried,
    /// Sockets that got all their notifications.
    Pushed,
    /// Sockets that turned out to be gone.
    Gone,
    /// Sockets, or owners with all their sockets, that could not be notified.
    PushFailed,
    /// Sockets, or owners with all their sockets, that were left out because the time for notifications was over.
    PushSkipped,
    /// The time from when a message was accepted until it was stored.
    TimeToStored,
    /// The records of a batch.
    BatchSize,
    /// Processes that were started. Lambda starts one when all others are busy, and stops idle ones after minutes: the
    /// request that it was started for waits, which is called a cold start.
    ColdStart,
    /// Callers whose token was accepted.
    Allowed,
    /// Callers whose token was denied.
    Denied,
    /// Callers whose token could not be verified, for want of keys.
    Unverified,
    /// Fetches of the issuer's keys that failed.
    KeyFetchFailed,
    /// Sockets that were opened.
    Connected,
    /// Sockets that were not opened, because the table of connections could not be written.
    ConnectFailed,
    /// Sockets that were closed, as far as API Gateway says so.
    Disconnected,
}

impl Metric {
    /// Its unit, as CloudWatch calls it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::TimeToStored => "Milliseconds",
            _ => "Count",
        }
    }
}

/// The metrics of one invocation.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    values: BTreeMap<Metric, Vec<u64>>,
}

impl Metrics {
    /// Adds to a count.
    pub fn count(&mut self, metric: Metric, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let values = self.values.entry(metric).or_default();
        match values.first_mut() {
            Some(sum) => *sum += more,
            None => values.push(more),
        }
    }

    /// Adds the metrics of a part of the invocation.
    pub fn extend(&mut self, part: Self) {
        for (metric, values) in part.values {
            let all = self.values.entry(metric).or_default();
            all.extend(values);
            if metric != Metric::TimeToStored {
                *all = vec![all.iter().sum()];
            }
        }
    }

    /// How much has been counted.
    pub fn counted(&self, metric: Metric) -> u64 {
        self.values.get(&metric).into_iter().flatten().sum()
    }

    /// Adds a value to a list.
    pub fn add(&mut self, metric: Metric, value: u64) {
        self.values.entry(metric).or_default().push(value);
    }

    /// Adds the time that a message took from being accepted to being stored.
    pub fn time_to_stored(&mut self, accepted: Timestamp, stored: Timestamp) {
        // The clocks of SQS and of this function may differ a little.
        let took = stored.as_millisecond() - accepted.as_millisecond();
        self.add(Metric::TimeToStored, u64::try_from(took).unwrap_or_default());
    }

    /// Writes the metrics to the log, without zeros, and a cold start with the first ones of a process. Writes
    /// nothing in a process that has not called [`enable`].
    pub fn write(mut self) {
        let Some(source) = SOURCE.get() else { return };
        if !HAS_WRITTEN.swap(true, Ordering::Relaxed) {
            self.count(Metric::ColdStart, 1);
        }
        let mut text = String::new();
        for line in self.lines(source) {
            text.push_str(&line);
            text.push('\n');
        }
        // Without a log there is no place for the error, either.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    /// One line, or as many as the longest list of values needs.
    fn lines(mut self, source: &Source) -> Vec<String> {
        self.values.retain(|metric, values| *metric == Metric::TimeToStored || values != &[0]);
        let mut lines = Vec::new();
        while !self.values.is_empty() {
            let mut rest = BTreeMap::new();
            for (metric, values) in &mut self.values {
                if values.len() > MAX_VALUES {
                    rest.insert(*metric, values.split_off(MAX_VALUES));
                }
            }
            lines.push(line(&self.values, source));
            self.values = rest;
        }
        lines
    }
}

fn line(values: &BTreeMap<Metric, Vec<u64>>, source: &Source) -> String {
    // Writing texts and numbers as JSON does not fail.
    serde_json::to_string(&Line { values, source }).unwrap_or_default()
}

/// One line of the log. It is serialized directly: a JSON value in between would cost time in every request.
struct Line<'a> {
    values: &'a BTreeMap<Metric, Vec<u64>>,
    source: &'a Source,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        // Lambda treats a line without a level and a time as INFO ("Log-level filtering"), and would drop the metrics
        // where only warnings are logged: so they have the lowest level that passes.
        line.serialize_entry("timestamp", &now())?;
        line.serialize_entry("level", &self.source.level)?;
        line.serialize_entry("message", "metrics")?;
        line.serialize_entry(DIMENSION, &self.source.function)?;
        for (metric, values) in self.values {
            match values.as_slice() {
                [one] => line.serialize_entry(metric.name(), one)?,
                several => line.serialize_entry(metric.name(), several)?,
            }
        }
        line.serialize_entry("_aws", &Metadata::of(self.values))?;
        line.end()
    }
}

/// What CloudWatch reads in a line to find the metrics in it ("Metadata object").
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    timestamp: i64,
    cloud_watch_metrics: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [[&'static str; 1]; 1],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

impl Metadata {
    fn of(values: &BTreeMap<Metric, Vec<u64>>) -> Self {
        let definition = |metric: &Metric| Definition { name: metric.name(), unit: metric.unit() };
        Self {
            timestamp: Timestamp::now().as_millisecond(),
            cloud_watch_metrics: [Directive {
                namespace: NAMESPACE,
                dimensions: [[DIMENSION]],
                metrics: values.keys().map(definition).collect(),
            }],
        }
    }
}

/// The time as all other lines of the log have it.
fn now() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = time::SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// The function that writes the lines.
#[derive(Debug)]
struct Source {
    function: String,
    level: String,
}

static SOURCE: OnceLock<Source> = OnceLock::new();

/// Whether this process has written metrics before.
static HAS_WRITTEN: AtomicBool = AtomicBool::new(false);

/// Lets this process write metrics of this function. `level` is the least severe one that is logged.
pub(crate) fn enable(function: String, level: String) {
    // A second start would change nothing.
    let _ = SOURCE.set(Source { function, level });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(metrics: Metrics) -> Vec<Value> {
        let source = Source { function: "intake-SyncInsert-1".to_owned(), level: "INFO".to_owned() };
        let lines = metrics.lines(&source);
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_line_is_in_the_embedded_metric_format() {
        let mut metrics = Metrics::default();
        metrics.count(Metric::Stored, 1);
        metrics.count(Metric::Stored, 2);
        metrics.count(Metric::Conflict, 0);
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).expect("a time");
        metrics.time_to_stored(at(1_005), at(1_000));
        metrics.time_to_stored(at(1_000), at(1_012));

        let mut lines = written(metrics);

        let [line] = lines.as_mut_slice() else { panic!("{lines:?}: not one line") };
        let timestamp = line["timestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        let timestamp = timestamp.expect("RFC 3339").as_millisecond();
        let milliseconds = line["_aws"]["Timestamp"].take().as_i64().expect("milliseconds since 1970");
        let day = 24 * 60 * 60 * 1000;
        assert!((0..day).contains(&(milliseconds - timestamp)), "{milliseconds} and {timestamp}");
        let expected = json!({
            "timestamp": line["timestamp"],
            "level": "INFO",
            "message": "metrics",
            "FunctionName": "intake-SyncInsert-1",
            "Stored": 3,
            "TimeToStored": [0, 12],
            "_aws": {
                "Timestamp": null,
                "CloudWatchMetrics": [{
                    "Namespace": "Intake",
                    "Dimensions": [["FunctionName"]],
                    "Metrics": [
                        { "Name": "Stored", "Unit": "Count" },
                        { "Name": "TimeToStored", "Unit": "Milliseconds" },
                    ],
                }],
            },
        });
        assert_eq!(*line, expected);
    }

    #[test]
    fn dashboard_alarms_and_documentation_name_every_metric_and_no_other() {
        let template = include_str!("../../../template.yaml");
        let on_the_dashboard =
            template.split("[\"Intake\", \"").skip(1).filter_map(|rest| rest.split('"').next());
        let alarmed = template
            .split("Namespace: Intake\n      MetricName: ")
            .skip(1)
            .filter_map(|rest| rest.lines().next());
        let shown: Vec<_> = on_the_dashboard.chain(alarmed).collect();
        let documentation = include_str!("../../../docs/observability.md");
        for &metric in Metric::ALL {
            assert!(shown.contains(&metric.name()), "{metric:?} is not on the dashboard");
            assert!(documentation.contains(&format!("`{}`", metric.name())), "{metric:?} is not documented");
        }
        for name in shown {
            assert!(Metric::ALL.iter().any(|metric| metric.name() == name), "there is no metric {name}");
        }
    }

    #[test]
    fn zeros_are_not_written() {
        let mut metrics = Metrics::default();
        metrics.count(Metric::Pushed, 0);
        assert!(written(metrics).is_empty());
    }

    #[test]
    fn no_line_exceeds_the_limit_of_values() {
        let mut metrics = Metrics::default();
        metrics.count(Metric::Stored, 1000);
        (0..1000).for_each(|time| metrics.add(Metric::TimeToStored, time));

        let lines = written(metrics);

        assert_eq!(lines.len(), 10);
        let times: Vec<_> = lines
            .iter()
            .flat_map(|line| {
                let times = line["TimeToStored"].as_array().expect("several");
                assert!(times.len() <= MAX_VALUES);
                times.iter().filter_map(Value::as_u64)
            })
            .collect();
        assert!(times.into_iter().eq(0..1000));
        let counted: Vec<_> = lines.iter().filter_map(|line| line["Stored"].as_u64()).collect();
        assert_eq!(counted, [1000], "counted once");
        for line in &lines {
            for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("metrics") {
                let name = metric["Name"].as_str().expect("a name");
                assert!(line.get(name).is_some(), "{name} is announced and missing");
            }
        }
    }
}
