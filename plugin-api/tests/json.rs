//! JSON in and out.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use gm_plugin_api::testing::TestJob;
use gm_plugin_api::{Failure, Job, Json, Log, function};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order<'a> {
    customer: &'a str,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    price: u64,
}

#[derive(Serialize)]
struct Bill {
    to: String,
    total: u64,
}

#[function]
fn bill(job: &Job, _log: &mut Log) -> Result<Json<Bill>, Failure> {
    let order: Order<'_> = job.json()?;
    Ok(Json(Bill { to: order.customer.into(), total: order.items.iter().map(|item| item.price).sum() }))
}

#[test]
fn in_and_out() {
    let outcome = TestJob::new(r#"{"customer": "a", "items": [{"price": 1}, {"price": 2}]}"#).run(bill);
    assert_eq!(outcome.text(), r#"{"to":"a","total":3}"#);
}

#[test]
fn what_does_not_parse_is_named_with_its_place() {
    for (workload, message) in [
        ("", "the workload as JSON: EOF while parsing a value at line 1 column 0"),
        ("{", "the workload as JSON: EOF while parsing an object at line 1 column 1"),
        (
            "{\"customer\": \"a\", \"items\": [{",
            "the workload as JSON, at items[0]: EOF while parsing an object at line 1 column 29",
        ),
        ("{\"customer\": \"a\"}", "the workload as JSON: missing field `items` at line 1 column 17"),
        (
            "{\"customer\": \"a\",\n \"items\": [{\"price\": 1},\n {\"price\": \"x\"}]}",
            "the workload as JSON, at items[1].price: invalid type: string \"x\", expected u64 at line 3 column 14",
        ),
        ("{\"customer\": \"a\", \"items\": []} x", "the workload as JSON: trailing characters at line 1 column 32"),
    ] {
        assert_eq!(TestJob::new(workload).run(bill).failure().message, message);
    }
}

#[test]
fn a_value_that_cannot_be_json_fails_the_job() {
    let outcome = TestJob::new("").run(|_: &Job, _: &mut Log| Json(HashMap::from([((1, 2), 3)])));
    assert_eq!(outcome.failure().message, "the result cannot be JSON: key must be a string");
}
