//! `status --queues`: what waits at each job server. The command asks the servers itself, all at the same time, so the
//! manager has nothing to do with it, and one that is silent holds up no other.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::LONGEST_REASON;
use crate::commands::table::Table;
use crate::control::{QueueStatus, QueuesAnswer, ServerQueues, StatusReply};
use crate::gearman::admin::{self, AdminFunctionStatus};
use crate::logging::{cut, escape};
use crate::system::clock;

/// How long a job server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks every job server of a manager.
pub(super) fn ask(status: &StatusReply) -> Vec<ServerQueues> {
    let (sender, answers) = mpsc::channel();
    for (number, server) in status.job_servers.iter().enumerate() {
        let (address, sender) = (server.address.clone(), sender.clone());
        // Not joined: looking up a name may take longer than anyone waits.
        std::thread::spawn(move || sender.send((number, admin::status(&address, ANSWER_TIMEOUT))));
    }
    drop(sender);
    let addresses = status.job_servers.iter().map(|server| server.address.clone());
    let silent = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
    let unanswered = |address| ServerQueues { address, answer: QueuesAnswer::None { why: silent.clone() } };
    let mut queues: Vec<ServerQueues> = addresses.map(unanswered).collect();
    let until = clock::after(ANSWER_TIMEOUT);
    while let Ok((number, answer)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        queues[number].answer = match answer {
            Ok(listing) => QueuesAnswer::Queues { functions: of_manager(status, &listing) },
            Err(error) => QueuesAnswer::None { why: error.to_string() },
        };
    }
    queues
}

/// The manager's functions in a job server's listing. Others belong to other workers, or to none any more.
fn of_manager(status: &StatusReply, listing: &[AdminFunctionStatus]) -> Vec<QueueStatus> {
    let listed = |name: &str| listing.iter().find(|listed| listed.function == name);
    let queue = |of: &AdminFunctionStatus| QueueStatus {
        function: of.function.clone(),
        waiting: of.total.saturating_sub(of.running),
        running: of.running,
        workers: of.workers,
    };
    status.functions.iter().filter_map(|function| listed(function.name.as_str())).map(queue).collect()
}

/// A line for each function at each server, by function; then the servers that did not answer.
pub(super) fn tables(queues: &[ServerQueues]) -> [Table; 2] {
    let mut table = Table::new(["QUEUE", "JOB SERVER", "WAITING", "RUNNING", "WORKERS"]);
    let mut silent = Table::new(["JOB SERVER", "QUEUES UNKNOWN"]);
    let mut rows: Vec<(&QueueStatus, &str)> = Vec::new();
    for ServerQueues { address, answer } in queues {
        match answer {
            QueuesAnswer::Queues { functions } => rows.extend(functions.iter().map(|of| (of, address.as_str()))),
            QueuesAnswer::None { why } => {
                silent.row([escape(address).into_owned(), cut(&escape(why), LONGEST_REASON).into_owned()]);
            }
        }
    }
    rows.sort_by(|(one, _), (other, _)| one.function.cmp(&other.function));
    for (queue, address) in rows {
        table.row([
            escape(&queue.function).into_owned(),
            escape(address).into_owned(),
            queue.waiting.to_string(),
            queue.running.to_string(),
            queue.workers.to_string(),
        ]);
    }
    [table, silent]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::sample_status;

    #[test]
    fn a_line_for_each_function_at_each_server() {
        let listed = |function: &str, total, running| AdminFunctionStatus {
            function: function.into(),
            total,
            running,
            workers: 2,
        };
        let status = sample_status();
        // What is running may be counted later than what is there.
        let functions =
            of_manager(&status, &[listed("sum", 7, 2), listed("other", 9, 9), listed("reverse_string", 0, 1)]);
        let of = |address: &str, answer| ServerQueues { address: address.into(), answer };
        let queues = [
            of("a:4730", QueuesAnswer::Queues { functions: functions.clone() }),
            of("b:4730", QueuesAnswer::None { why: "no answer\nwithin 2 s".into() }),
            of("c:4730", QueuesAnswer::Queues { functions }),
        ];
        let text: String = tables(&queues).iter().map(Table::render).collect();
        let expected = "
QUEUE           JOB SERVER  WAITING  RUNNING  WORKERS
reverse_string  a:4730      0        1        2
reverse_string  c:4730      0        1        2
sum             a:4730      5        2        2
sum             c:4730      5        2        2

JOB SERVER  QUEUES UNKNOWN
b:4730      no answer\\nwithin 2 s
";
        assert_eq!(text, expected);
    }
}
