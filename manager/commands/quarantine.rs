//! `gm-native quarantine`: the jobs that killed as many workers as they may.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 no job server reachable, 4 the workload was not kept.

mod resubmit;

use std::process::ExitCode;

use super::output::{OutputFormat, fail, finish};
use super::records::{Records, json_of, of_function, when};
use super::table::Table;
use crate::cli::command_args::QuarantineCommand;
use crate::cli::{Cli, QuarantineArgs};
use crate::config::ManagerCommand;
use crate::crash::files::QUARANTINE;
use crate::crash::quarantine::QuarantinedJob;
use crate::crash::record_id::RecordId;
use crate::logging::escape;
use crate::plugins::display_path::DisplayPath;

/// Runs the command.
pub fn run(cli: &Cli, args: &QuarantineArgs) -> ExitCode {
    let jobs = match Records::<QuarantinedJob>::open(cli, QUARANTINE) {
        Ok(jobs) => jobs,
        Err(code) => return code,
    };
    let done = match &args.command {
        None => list(&jobs, args.function.as_deref(), OutputFormat::Text),
        Some(QuarantineCommand::List { function, json }) => {
            list(&jobs, function.as_deref(), if *json { OutputFormat::Json } else { OutputFormat::Text })
        }
        Some(QuarantineCommand::Show { id, json }) => show(&jobs, id, *json),
        Some(QuarantineCommand::Resubmit { ids, priority }) => resubmit::resubmit(&jobs, ids, *priority),
        Some(QuarantineCommand::Drop { ids }) => remove(&jobs, ids),
    };
    done.unwrap_or_else(|code| code)
}

/// The job that an argument names, also by an id that it had before it killed more workers.
fn read(jobs: &Records<QuarantinedJob>, argument: &str) -> Result<(RecordId, QuarantinedJob), ExitCode> {
    let replacement = argument.parse().ok().and_then(|id| jobs.find(|job| job.replaces.contains(&id)));
    let Some((id, job)) = replacement else { return jobs.read(argument) };
    eprintln!("gm-native: {}: the same job was kept again, as {id}", escape(argument));
    Ok((id, job))
}

fn list(jobs: &Records<QuarantinedJob>, function: Option<&str>, format: OutputFormat) -> Result<ExitCode, ExitCode> {
    let config = &jobs.configuration.config;
    let mut all = of_function(jobs.list()?, function, config, |job: &QuarantinedJob| Some(&job.function))?;
    all.reverse();
    if format == OutputFormat::Json {
        let all: Vec<QuarantinedJob> = all.into_iter().map(|(_, job)| job).collect();
        return Ok(finish(&format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default()), 0));
    }
    Ok(finish(&table(&all), 0))
}

fn table(jobs: &[(RecordId, QuarantinedJob)]) -> String {
    if jobs.is_empty() {
        return "no jobs in quarantine\n".into();
    }
    let mut table = Table::new(["ID", "WHEN", "FUNCTION", "VERSION", "DEATHS", "WORKLOAD", "UNIQUE", "SERVER"]);
    for (id, job) in jobs {
        table.row([
            id.to_string(),
            when(&job.time),
            job.function.to_string(),
            job.version.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            job.deaths.to_string(),
            workload_size(job),
            if job.unique.is_empty() { "-".into() } else { escape(&job.unique).into_owned() },
            escape(&job.server).into_owned(),
        ]);
    }
    table.render().trim_start().to_owned()
}

fn workload_size(job: &QuarantinedJob) -> String {
    match (job.workload_size, job.workload_kept) {
        (Some(size), true) => size.to_string(),
        (Some(size), false) => format!("{size}, not kept"),
        (None, _) => "not kept".into(),
    }
}

fn show(jobs: &Records<QuarantinedJob>, id: &str, json: bool) -> Result<ExitCode, ExitCode> {
    let (id, job) = read(jobs, id)?;
    if json {
        return Ok(finish(&json_of(&job), 0));
    }
    let workload = jobs.configuration.state_dir.join(QUARANTINE).join(format!("{id}.workload"));
    let command = &jobs.configuration.config.command;
    Ok(finish(&text(id, &job, &DisplayPath(&workload).to_string(), command), 0))
}

/// A job as text. All of it is hostile: each value stays on its line.
fn text(id: RecordId, job: &QuarantinedJob, workload: &str, command: &ManagerCommand) -> String {
    let unique = if job.unique.is_empty() { String::new() } else { format!(" (unique {})", job.unique) };
    let version = job.version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
    let kept = match (&job.workload_note, job.workload_kept) {
        (_, true) => format!("{} bytes, in {workload}", job.workload_size.unwrap_or_default()),
        (Some(note), false) => format!("not kept: {note}"),
        (None, false) => "not kept".into(),
    };
    let lines = [
        ("when", when(&job.time)),
        ("function", format!("{}{version}", job.function)),
        ("job", format!("{}{unique} of {}", job.handle, job.server)),
        ("deaths", job.deaths.to_string()),
        ("workload", kept),
        ("last death", job.cause.clone()),
        ("report", job.report.map_or_else(|| "none".into(), |id| format!("{command} crashes show {id}"))),
    ];
    let mut text = format!("job {id} in quarantine\n\n");
    for (name, value) in lines {
        text.push_str(&format!("{name:<11} {}\n", escape(&value)));
    }
    text
}

/// Removes every job that can be; reports the others.
fn remove(jobs: &Records<QuarantinedJob>, ids: &[String]) -> Result<ExitCode, ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        match read(jobs, id) {
            Ok((id, job)) => match jobs.remove(id) {
                Ok(()) => println!("{id}: a job of {} was removed", job.function),
                Err(reason) => code = fail(&format!("{id}: {reason}"), 1),
            },
            Err(failed) => code = failed,
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(unique: &str, kept: bool) -> QuarantinedJob {
        serde_json::from_value(serde_json::json!({
            "id": "20261124-1", "time": "2026-11-24T10:11:12+01:00", "function": "f", "handle": "H:\n1", "unique": unique,
            "server": "a:4730", "deaths": 3, "cause": "killed\x1b", "workload_size": 7, "workload_kept": kept,
            "workload_note": "too\nlong",
        }))
        .unwrap()
    }

    #[test]
    fn a_row_for_each_job() {
        let id = || "20261124-1".parse().unwrap();
        let text = table(&[(id(), job("u\n1", true)), (id(), job("", false))]);
        assert_eq!(
            text,
            "ID          WHEN                 FUNCTION  VERSION  DEATHS  WORKLOAD     UNIQUE  SERVER\n\
             20261124-1  2026-11-24 10:11:12  f         -        3       7            u\\n1    a:4730\n\
             20261124-1  2026-11-24 10:11:12  f         -        3       7, not kept  -       a:4730\n"
        );
        assert_eq!(table(&[]), "no jobs in quarantine\n");
    }

    #[test]
    fn each_value_stays_on_its_line() {
        let text = text("20261124-1".parse().unwrap(), &job("u", false), "", &ManagerCommand::default());
        assert_eq!(text.lines().count(), 9, "{text}");
        assert!(text.contains("not kept: too\\nlong") && text.contains("H:\\n1 (unique u) of a:4730"), "{text}");
    }
}
