//! Whether any worker serves a function: asks the job server, since a job of a misspelt function waits forever.

use std::fmt;
use std::time::Duration;

use crate::config::nearest;
use crate::gearman::admin::{self, AdminFunctionStatus};
use crate::logging::escape;

/// A function that no worker serves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnservedFunction {
    function: String,
    /// The served function with the most similar name.
    nearest: Option<String>,
    /// Whether the job server has no worker for any function.
    alone: bool,
}

impl UnservedFunction {
    /// Asks a job server. `None` if a worker serves the function, or the server does not report it: some do not have
    /// the administrative protocol.
    pub(super) fn ask(server: &str, function: &[u8], timeout: Duration) -> Option<Self> {
        Self::find(&admin::status(server, timeout).ok()?, function)
    }

    /// Looks a function up in a job server's listing. Pure.
    fn find(listing: &[AdminFunctionStatus], function: &[u8]) -> Option<Self> {
        let name = String::from_utf8_lossy(function);
        let served = || listing.iter().filter(|listed| listed.workers > 0).map(|listed| listed.function.as_str());
        if served().any(|served| served == name) {
            return None;
        }
        let alike = nearest(&name, served()).map(str::to_owned);
        Some(Self { alone: served().next().is_none(), nearest: alike, function: name.into_owned() })
    }
}

impl fmt::Display for UnservedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no worker serves {}", escape(&self.function))?;
        match &self.nearest {
            Some(nearest) => write!(f, " (nearest: {})", escape(nearest)),
            None if self.alone => f.write_str(
                ", nor any other function (a worker that failed is started again after a pause: see the manager's log)",
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unserved_function_is_named_with_the_nearest_served_one() {
        let listed =
            |function: &str, workers| AdminFunctionStatus { function: function.into(), total: 1, running: 0, workers };
        let listing = [listed("greet", 2), listed("gret", 0), listed("great", 0), listed("resize", 1)];
        for (listing, function, text) in [
            (&listing[..], "greet", None),
            (&listing[..], "gret", Some("no worker serves gret (nearest: greet)")),
            (&listing[..], "Greet", Some("no worker serves Greet (nearest: greet)")),
            (&listing[..], "checksum", Some("no worker serves checksum")),
            (
                &listing[1..3],
                "gret",
                Some(
                    "no worker serves gret, nor any other function (a worker that failed is started again after a pause: see the manager's log)",
                ),
            ),
            (
                &[],
                "a\nb",
                Some(
                    "no worker serves a\\nb, nor any other function (a worker that failed is started again after a pause: see the manager's log)",
                ),
            ),
        ] {
            let found = UnservedFunction::find(listing, function.as_bytes()).map(|found| found.to_string());
            assert_eq!(found.as_deref(), text, "{function}");
        }
    }
}
