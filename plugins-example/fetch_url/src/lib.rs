//! What is at an HTTP address: `gearman -f fetch_url http://example.org/` prints the page.
//!
//! The object form: the client keeps its connections open from job to job. Its settings stand in the configuration:
//!
//! ```ini
//! [fetch_url]
//! setting.timeout_ms = 2500
//! setting.max_bytes = 1000000
//! ```
//!
//! Anyone who can submit a job can have it fetch any address that the worker's machine reaches. Serve it only where that is intended.

use std::time::Duration;

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};
use serde::Deserialize;

/// Each worker has one.
#[derive(Debug)]
pub struct FetchUrl {
    client: ureq::Agent,
    max_bytes: u64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// For the whole of a request, redirections included.
    timeout_ms: u64,
    /// A page that is longer fails the job.
    max_bytes: u64,
    /// The User-Agent that the server gets.
    agent: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout_ms: 5000, max_bytes: 10 << 20, agent: concat!("fetch_url/", env!("CARGO_PKG_VERSION")).into() }
    }
}

#[function(name = "fetch_url")]
impl FetchUrl {
    fn new(cx: &Context) -> Result<Self, Failure> {
        let Settings { timeout_ms, max_bytes, agent } = cx.settings()?;
        let timeout = Duration::from_millis(timeout_ms);
        let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).user_agent(agent).build();
        Ok(Self { client: config.into(), max_bytes })
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        let url = job.text()?.trim();
        let body = self.fetch(url).map_err(|error| format!("{url}: {error}"))?;
        log.push(format_args!("{} bytes from {url}", body.len()));
        Ok(body.into())
    }
}

impl FetchUrl {
    /// An answer other than 2xx is an error.
    fn fetch(&self, url: &str) -> Result<Vec<u8>, ureq::Error> {
        let mut answer = self.client.get(url).call()?;
        answer.body_mut().with_config().limit(self.max_bytes).read_to_vec()
    }
}

#[cfg(test)]
mod tests;
