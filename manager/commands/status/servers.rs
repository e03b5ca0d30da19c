//! What `status` prints of job servers.

use super::{LONGEST_REASON, short};
use crate::commands::table::Table;
use crate::control::{JobServerState, JobServerStatus, StatusReply};
use crate::logging::{cut, escape};

pub(super) fn table(status: &StatusReply) -> Table {
    let mut table = Table::new(["JOB SERVER", "WORKERS", "LAST ANSWER", "STATE"]);
    for server in &status.job_servers {
        table.row([
            escape(&server.address).into_owned(),
            format!("{}/{}", server.workers_connected, server.workers),
            last_answer(server),
            state(&server.state),
        ]);
    }
    table
}

fn last_answer(server: &JobServerStatus) -> String {
    match server.last_answer_seconds_ago {
        _ if server.workers_connected > 0 => "now".into(),
        Some(seconds) => format!("{} ago", short(seconds)),
        None => "never".into(),
    }
}

/// The state, and since when it is that.
pub(super) fn state(state: &JobServerState) -> String {
    match state {
        JobServerState::Connecting => "connecting".into(),
        JobServerState::Up { since, .. } => format!("up since {}", escape(since)),
        JobServerState::Down { since, seconds, why } => {
            format!("down since {} ({}): {}", escape(since), short(*seconds), cut(&escape(why), LONGEST_REASON))
        }
        JobServerState::Unknown => String::new(),
    }
}
