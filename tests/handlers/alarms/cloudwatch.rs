//! The alarms of `template.yaml`, and how CloudWatch evaluates them.

use serde_json::Value;

/// How many periods before those of its evaluation an alarm reads, to make up for missing ones. CloudWatch does not say
/// how many there are; its examples have two ("Configuring how CloudWatch alarms treat missing data").
const EARLIER_PERIODS: i64 = 2;

/// A minute: alarms with a period of a minute or more are evaluated once in each ("Alarm evaluation").
const MINUTE: i64 = 60;

/// A value that was written to a metric.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When, in seconds.
    pub(crate) at: i64,
    pub(crate) metric: Metric,
    pub(crate) value: f64,
}

/// A metric: its namespace, its name, and what it is about, by the name in the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) of: String,
}

/// An alarm that is in the template.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) name: String,
    /// What it adds up.
    pub(crate) terms: Vec<(Metric, Statistic)>,
    period: i64,
    evaluation_periods: i64,
    datapoints_to_alarm: usize,
    threshold: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    Sum,
    Maximum,
    Average,
}

impl Alarm {
    /// All of the template. Those that use more of CloudWatch than is played here are an error.
    pub(crate) fn all(template: &str) -> Vec<Self> {
        let template: Value = serde_saphyr::from_str(template).expect("the template is YAML");
        let resources = template["Resources"].as_object().expect("resources");
        let alarms = resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm");
        alarms.map(|(name, alarm)| Self::read(name, &alarm["Properties"])).collect()
    }

    fn read(name: &str, properties: &Value) -> Self {
        let whole = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("{name}: {value} is no number"));
        assert_eq!(properties["ComparisonOperator"], "GreaterThanOrEqualToThreshold", "{name}");
        assert_eq!(properties["TreatMissingData"], "notBreaching", "{name}");
        let (terms, period) = match properties["Metrics"].as_array() {
            None => {
                let term = (Metric::read(properties), Statistic::read(&properties["Statistic"]));
                (vec![term], whole(&properties["Period"]))
            }
            Some(queries) => {
                let expression = queries.iter().find_map(|query| query["Expression"].as_str()).expect("one");
                let terms = expression.split(" + ").map(|id| {
                    let query = queries.iter().find(|query| query["Id"] == id);
                    let stat = &query.unwrap_or_else(|| panic!("{name}: no metric {id}"))["MetricStat"];
                    assert_eq!(whole(&stat["Period"]), MINUTE, "{name}");
                    (Metric::read(&stat["Metric"]), Statistic::read(&stat["Stat"]))
                });
                (terms.collect(), MINUTE)
            }
        };
        let evaluation_periods = whole(&properties["EvaluationPeriods"]);
        let datapoints_to_alarm = properties.get("DatapointsToAlarm").map_or(evaluation_periods, whole);
        Self {
            name: name.to_owned(),
            terms,
            period,
            evaluation_periods,
            datapoints_to_alarm: usize::try_from(datapoints_to_alarm).expect("a count"),
            threshold: properties["Threshold"].as_f64().expect("a number"),
        }
    }

    /// When it notifies that it rings: each time that it goes into the state ALARM. It is evaluated until `end`.
    pub(crate) fn rings(&self, samples: &[Sample], end: i64) -> Vec<i64> {
        let is_read = |sample: &&Sample| self.terms.iter().any(|(metric, _)| *metric == sample.metric);
        let samples: Vec<_> = samples.iter().filter(is_read).cloned().collect();
        let mut rings = Vec::new();
        let mut was_ringing = false;
        for now in (0..=end).step_by(60) {
            let is_ringing = self.is_breached(&samples, now);
            if is_ringing && !was_ringing {
                rings.push(now);
            }
            was_ringing = is_ringing;
        }
        rings
    }

    /// Whether the state is ALARM. What is missing counts as within the threshold, unless there are datapoints enough
    /// without it: then the most recent ones count.
    fn is_breached(&self, samples: &[Sample], now: i64) -> bool {
        let datapoint = |back: i64| self.datapoint(samples, now - (back + 1) * self.period);
        let wanted = usize::try_from(self.evaluation_periods).expect("a count");
        let range = self.evaluation_periods + EARLIER_PERIODS;
        let found: Vec<_> = (0..range).filter_map(datapoint).take(wanted).collect();
        let evaluated = match found.len() == wanted {
            true => found,
            false => (0..self.evaluation_periods).filter_map(datapoint).collect(),
        };
        let breaching = evaluated.into_iter().filter(|datapoint| *datapoint >= self.threshold);
        breaching.count() >= self.datapoints_to_alarm
    }

    /// The value of the period that begins at `start`. A sum of which a part is missing is missing.
    fn datapoint(&self, samples: &[Sample], start: i64) -> Option<f64> {
        let period = start..start + self.period;
        let terms = self.terms.iter().map(|(metric, statistic)| {
            let in_period = samples.iter().filter(|sample| period.contains(&sample.at));
            statistic.of(in_period.filter(|sample| sample.metric == *metric).map(|sample| sample.value))
        });
        terms.sum()
    }
}

impl Metric {
    fn read(properties: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let dimension = &properties["Dimensions"][0]["Value"];
        let of = text(dimension);
        Self {
            namespace: text(&properties["Namespace"]),
            name: text(&properties["MetricName"]),
            of: of.split('.').next().unwrap_or(&of).to_owned(),
        }
    }
}

impl Statistic {
    fn read(name: &Value) -> Self {
        match name.as_str() {
            Some("Sum") => Self::Sum,
            Some("Maximum") => Self::Maximum,
            Some("Average") => Self::Average,
            _ => panic!("{name} is no statistic that is played here"),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of a test are small")]
    fn of(self, values: impl Iterator<Item = f64>) -> Option<f64> {
        let values: Vec<_> = values.collect();
        let sum: f64 = values.iter().sum();
        let largest = values.iter().copied().reduce(f64::max)?;
        Some(match self {
            Self::Sum => sum,
            Self::Maximum => largest,
            Self::Average => sum / values.len() as f64,
        })
    }
}
