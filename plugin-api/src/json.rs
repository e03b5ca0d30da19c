//! JSON in and out, with the feature `json`.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::job::Job;
use crate::output::{JobResult, Output, Reply};

/// A result that is written as JSON.
///
/// ```
/// use gm_plugin_api::{Failure, Job, Json, Log, function};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Order {
///     prices: Vec<f64>,
/// }
///
/// #[derive(Serialize)]
/// struct Total {
///     total: f64,
/// }
///
/// #[function]
/// fn add_up(job: &Job, _log: &mut Log) -> Result<Json<Total>, Failure> {
///     let order: Order = job.json()?;
///     Ok(Json(Total { total: order.prices.iter().sum() }))
/// }
/// # use gm_plugin_api::testing::TestJob;
/// # assert_eq!(TestJob::new(r#"{"prices": [1.5, 2]}"#).run(add_up).text(), r#"{"total":3.5}"#);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> Reply for Json<T> {
    fn reply(self) -> JobResult {
        let bytes = serde_json::to_vec(&self.0).map_err(|error| format!("the result cannot be JSON: {error}"))?;
        Ok(Output::from(bytes))
    }
}

impl Job {
    /// The workload, read as JSON. Needs the feature `json`.
    ///
    /// # Errors
    ///
    /// It is not JSON, or not the JSON of this type; the message says at which line, column and path.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        let mut text = serde_json::Deserializer::from_slice(self.workload());
        let value = serde_path_to_error::deserialize(&mut text).map_err(|error| {
            let path = error.path().to_string();
            let what = error.into_inner();
            // If the text ends too early, the last step of the path is unknown, and is written as `?`.
            match path.strip_suffix('?').map_or(path.as_str(), |known| known.strip_suffix('.').unwrap_or(known)) {
                "." | "" => Failure::new(format!("the workload as JSON: {what}")),
                path => Failure::new(format!("the workload as JSON, at {path}: {what}")),
            }
        })?;
        text.end().map_err(|what| Failure::new(format!("the workload as JSON: {what}")))?;
        Ok(value)
    }
}
