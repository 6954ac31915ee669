//! What `cargo xtask bench` measured, from the JSON that it writes.

use std::{fs, io::ErrorKind, path::Path};

use serde_json::Value;

use crate::failure::Failure;

/// Whose measurements count: the others are for comparison.
const CONTESTANT: &str = "intake";

/// The measurements of one run.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// When and where it ran.
    pub(super) origin: String,
    cases: Vec<Case>,
}

/// One function, with batches of one size and payloads of one size.
#[derive(Clone, Debug)]
pub(super) struct Case {
    function: String,
    batch: f64,
    pub(super) payload_bytes: f64,
    numbers: Value,
}

impl Case {
    fn number(&self, name: &str) -> Result<f64, Failure> {
        self.numbers[name].as_f64().ok_or_else(|| {
            let Self { function, batch, payload_bytes, .. } = self;
            Failure::new(format!(
                "the results have no {name} for {function}, batch {batch}, payload of {payload_bytes} bytes"
            ))
            .advise("run `cargo xtask bench` again, in full")
        })
    }

    /// CPU time of one invocation of a warm process.
    pub(super) fn warm_cpu_ms(&self) -> Result<f64, Failure> {
        self.number("warm_cpu_ms")
    }

    /// From the start of the process to its first question for an event.
    pub(super) fn init_ms(&self) -> Result<f64, Failure> {
        self.number("init_ms")
    }

    /// CPU time that the first invocation takes more than a later one.
    pub(super) fn first_extra_cpu_ms(&self) -> Result<f64, Failure> {
        let first = self.number("first_cpu_ms")? - self.number("init_cpu_ms")?;
        Ok((first - self.warm_cpu_ms()?).max(0.0))
    }

    /// The most memory that it used.
    pub(super) fn peak_memory_bytes(&self) -> Result<f64, Failure> {
        self.number("peak_memory_bytes")
    }

    /// How often an invocation makes a request to AWS.
    pub(super) fn requests(&self, operation: &str) -> Result<f64, Failure> {
        let count = self.numbers["requests"][operation].as_f64().filter(|count| *count > 0.0);
        count.ok_or_else(|| {
            Failure::new(format!(
                "the results count no {operation} of {}, batch {}",
                self.function, self.batch
            ))
            .advise("run `cargo xtask bench` again, in full")
        })
    }
}

impl Measured {
    /// The measurements in a file.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new(format!("there is no {}", path.display()))
                .advise("run `cargo xtask bench` first, or name another file with --results"),
            _ => Failure::file("read", path, &error),
        })?;
        Self::parse(&text).map_err(|lack| Failure::new(format!("{} {lack}", path.display())))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let results: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let cases = results["cases"].as_array().ok_or("has no cases: is it from `cargo xtask bench`?")?;
        let cases = cases
            .iter()
            .filter(|case| case["contestant"] == CONTESTANT)
            .map(|case| {
                Some(Case {
                    function: case["function"].as_str()?.to_owned(),
                    batch: case["batch"].as_f64().unwrap_or(1.0),
                    payload_bytes: case["payload_bytes"].as_f64().unwrap_or(0.0),
                    numbers: case.clone(),
                })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or("has a case without a function")?;
        let machine = &results["machine"];
        let cpu = machine["cpu"].as_str().unwrap_or("an unnamed processor");
        let load =
            machine["load_before"][0].as_f64().map(|load| format!(", load {load}")).unwrap_or_default();
        let date = results["date"].as_str().unwrap_or("an unknown day");
        Ok(Self { origin: format!("{date}, {cpu}{load}"), cases })
    }

    /// What was measured of a function whose work depends on the payload.
    pub(super) fn exactly(&self, function: &str, payload_bytes: f64) -> Result<&Case, Failure> {
        self.of(function, payload_bytes).first().copied().ok_or_else(|| {
            Failure::new(format!(
                "the results have no case of {function} with a payload of {payload_bytes} bytes"
            ))
            .advise("run `cargo xtask bench` in full, or leave this payload out with --payload-bytes")
        })
    }

    /// What was measured of a function with the payload nearest to this one.
    pub(super) fn nearest(&self, function: &str, payload_bytes: f64) -> Result<&Case, Failure> {
        let distance = |case: &Case| (case.payload_bytes - payload_bytes).abs();
        self.cases
            .iter()
            .filter(|case| case.function == function)
            .min_by(|left, right| distance(left).total_cmp(&distance(right)))
            .ok_or_else(|| {
                Failure::new(format!("the results have no case of {function}"))
                    .advise("run `cargo xtask bench` in full")
            })
    }

    /// What was measured of the queue's consumer with this payload, by the size of its batches.
    pub(super) fn batches(&self, payload_bytes: f64) -> Result<Batches, Failure> {
        self.exactly("queue-consumer", payload_bytes)?;
        let cases: Vec<_> = self.of("queue-consumer", payload_bytes).into_iter().cloned().collect();
        let points = cases
            .iter()
            .map(|case| Ok((case.batch, case.warm_cpu_ms()?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        Ok(Batches { cases, points })
    }

    /// In the order of their batches.
    fn of(&self, function: &str, payload_bytes: f64) -> Vec<&Case> {
        let fits = |case: &&Case| case.function == function && case.payload_bytes == payload_bytes;
        let mut cases: Vec<_> = self.cases.iter().filter(fits).collect();
        cases.sort_by(|left, right| left.batch.total_cmp(&right.batch));
        cases
    }
}

/// The consumer's measurements with one payload.
#[derive(Clone, Debug)]
pub(super) struct Batches {
    cases: Vec<Case>,
    points: Vec<(f64, f64)>,
}

impl Batches {
    /// CPU time for a batch of any size: on the line between the two sizes that were measured next to it.
    /// Below the smallest it is that of the smallest and above the largest in proportion to it, which is the
    /// most that it can be.
    pub(super) fn warm_cpu_ms(&self, batch: f64) -> f64 {
        let above = self.points.iter().position(|(size, _)| *size >= batch);
        match (above, self.points.last()) {
            (Some(0), _) => self.points[0].1,
            (Some(above), _) => {
                let ((small, low), (large, high)) = (self.points[above - 1], self.points[above]);
                low + (high - low) * (batch - small) / (large - small)
            }
            (None, Some((size, cpu))) => cpu * batch / size,
            (None, None) => 0.0,
        }
    }

    /// The case with batches of about this size.
    pub(super) fn nearest(&self, batch: f64) -> Result<&Case, Failure> {
        let distance = |case: &Case| (case.batch - batch).abs();
        self.cases
            .iter()
            .min_by(|left, right| distance(left).total_cmp(&distance(right)))
            .ok_or_else(|| Failure::new("the results have no case of queue-consumer"))
    }

    /// The case with the largest batches, which fill their requests.
    pub(super) fn largest(&self) -> Result<&Case, Failure> {
        self.nearest(self.points.last().map_or(0.0, |(size, _)| *size))
    }

    /// How many messages one `BatchExecuteStatement` takes.
    pub(super) fn messages_per_insert(&self) -> Result<f64, Failure> {
        let largest = self.largest()?;
        Ok(largest.batch / largest.requests("BatchExecuteStatement")?)
    }
}
