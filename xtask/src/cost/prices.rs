//! The price list, from `lab/bench/prices.json`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::failure::Failure;

/// What AWS charges, in US dollars for one of each.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prices {
    /// When and where these prices were found, for whoever reads a figure made of them.
    pub(super) origin: String,
    pub(super) rest_request: f64,
    pub(super) websocket_message: f64,
    pub(super) websocket_minute: f64,
    pub(super) sqs_request: f64,
    pub(super) lambda_request: f64,
    pub(super) lambda_gb_second: f64,
    pub(super) dynamodb_write_unit: f64,
    pub(super) dynamodb_read_unit: f64,
    pub(super) xray_trace: f64,
    pub(super) log_gb: f64,
    pub(super) transfer_out_gb: f64,
}

impl Prices {
    /// The prices in a file, for functions on this processor.
    pub(super) fn load(path: &Path, architecture: &str) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        Self::parse(&text, architecture).map_err(|lack| Failure::new(format!("{} {lack}", path.display())))
    }

    fn parse(text: &str, architecture: &str) -> Result<Self, String> {
        let list: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let word = |name: &str| list[name].as_str().ok_or_else(|| format!("has no {name}"));
        let price = |name: &str| {
            let price = &list["prices"][name];
            let (usd, per) = (price["usd"].as_f64(), price["per"].as_f64());
            usd.zip(per)
                .filter(|(_, per)| *per > 0.0)
                .map(|(usd, per)| usd / per)
                .ok_or_else(|| format!("has no price {name}"))
        };
        Ok(Self {
            origin: format!("{}, {}: {}", word("region")?, word("date")?, word("source")?),
            rest_request: price("rest_request")?,
            websocket_message: price("websocket_message")?,
            websocket_minute: price("websocket_minute")?,
            sqs_request: price("sqs_request")?,
            lambda_request: price("lambda_request")?,
            lambda_gb_second: price(&format!("lambda_gb_second_{architecture}"))?,
            dynamodb_write_unit: price("dynamodb_write_unit")?,
            dynamodb_read_unit: price("dynamodb_read_unit")?,
            xray_trace: price("xray_trace")?,
            log_gb: price("log_gb")?,
            transfer_out_gb: price("transfer_out_gb")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_committed_list_has_every_price_with_its_date_and_page() {
        let path = workspace::root().join("lab/bench/prices.json");
        for architecture in ["arm64", "x86_64"] {
            Prices::load(&path, architecture).unwrap();
        }
        let list: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for (name, price) in list["prices"].as_object().unwrap() {
            assert!(price["page"].is_string() && price["of"].is_string(), "{name}");
        }
    }

    #[test]
    fn a_list_without_a_price_is_refused_by_its_name() {
        let text = r#"{"date": "d", "region": "r", "source": "s", "prices": {"rest_request": {"usd": 3.5, "per": 0}}}"#;
        assert_eq!(Prices::parse(text, "arm64"), Err("has no price rest_request".to_owned()));
        assert_eq!(Prices::parse("{}", "arm64"), Err("has no region".to_owned()));
    }
}
