//! Each pair of docs/migrating.md, PHP and Rust, does the same: both are served, by php-gearman and by gm-native, and
//! the same client sees the same.

use std::fs;
use std::process::Command;

use crate::support::build::repository;
use crate::support::callers::{Callback, Caller, Mode};
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

fn page() -> String {
    fs::read_to_string(repository().join("docs/migrating.md")).unwrap()
}

/// The code blocks of a language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The Rust that the page's table has for a piece of PHP: the pieces of code beside it.
#[track_caller]
fn all_rust_for(page: &str, php: &str) -> Vec<String> {
    let row = page.lines().find(|line| line.starts_with("| ") && line.contains(&format!("`{php}`")));
    let row = row.unwrap_or_else(|| panic!("the page's table has no {php}"));
    let right = row.split(" | ").nth(1).unwrap();
    right.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The first of these.
#[track_caller]
fn rust_for(page: &str, php: &str) -> String {
    all_rust_for(page, php).swap_remove(0)
}

/// What a caller of `function` sees for each workload, served by PHP and by gm-native.
#[track_caller]
fn served_by_both(function: &str, php: &str, rust: &str, workloads: &[&str]) -> [Vec<Vec<Callback>>; 2] {
    served_with_settings(function, php, rust, "", workloads)
}

/// As [`served_by_both`], with lines for the function's section of the ini file.
#[track_caller]
fn served_with_settings(
    function: &str,
    php: &str,
    rust: &str,
    settings: &str,
    workloads: &[&str],
) -> [Vec<Vec<Callback>>; 2] {
    let theirs = Gearmand::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("worker.php");
    fs::write(&file, format!("<?php\n{php}")).unwrap();
    let mut command = Command::new("php");
    command.arg(repository().join("tests/support/php/worker.php"));
    command.args([&theirs.host(), &theirs.port().to_string()]).arg(&file).arg(function);
    let worker = ChildGuard::start("php worker", &mut command);
    wait_for("the PHP worker", DEADLINE, || worker.output().contains("ready").then_some(()));

    let ours = Gearmand::start();
    let library = plugins::rust_with_json(function, &format!("#![allow(non_snake_case)]\n{rust}"));
    let _manager =
        Setup::new(&[&ours.server()]).plugin(function, &library).ini(&format!("[{function}]\n{settings}")).start();
    [&theirs, &ours].map(|server| {
        let call = |workload: &&str| Caller::Php.submit(server, function, "u1", Mode::Normal, workload.as_bytes());
        let seen = workloads.iter().map(call);
        seen.map(|mut callbacks| {
            callbacks.retain(|callback| !matches!(callback, Callback::Created { .. }));
            callbacks
        })
        .collect()
    })
}

/// The result, if there is one.
fn result(callbacks: &[Callback]) -> Option<String> {
    match callbacks.last() {
        Some(Callback::Complete { data }) => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    }
}

#[test]
fn the_function_form_does_what_its_php_does() {
    let page = page();
    let workloads = ["hello", "a\nb "];
    let (php, rust) = (&blocks(&page, "php")[0], &blocks(&page, "rust")[0]);
    let [theirs, ours] = served_by_both("reverse_string", php, rust, &workloads);
    assert_eq!(theirs, ours);
    assert_eq!(result(&ours[0]).as_deref(), Some("olleh"));
}

#[test]
fn the_class_form_does_what_its_php_does() {
    let page = page();
    let workloads = [
        "[]",
        "[1, 2, 3]",
        "[1.5, 2]",
        "[1.5, 1.5]",
        "[0.1, 0.2]",
        "[-0.0]",
        "[\"1\", \"2.5\"]",
        "[\" 3 \", \"1e2\"]",
        "[\".5\", \"-2\"]",
        "[\"x\", \"\", \"inf\", \"nan\"]",
        "[true, false, null, 1]",
        "[[1, 2], {\"a\": 1}, 3]",
        "[9007199254740993, 1]",
        "[9223372036854775807, 0]",
        "[123456789.12345678]",
        "[1, 2, 3]",
        // No list: the job fails.
        "7",
        "not json",
    ];
    let (php, rust) = (&blocks(&page, "php")[1], &blocks(&page, "rust")[1]);
    let [theirs, ours] = served_by_both("Sum", php, rust, &workloads);
    for ((workload, theirs), ours) in workloads.iter().zip(&theirs).zip(&ours) {
        assert_eq!(result(theirs), result(ours), "{workload}: PHP {theirs:?}, Rust {ours:?}");
    }
    let numbers: Vec<_> = ours.iter().map(|seen| result(seen)).collect();
    assert_eq!(numbers[2].as_deref(), Some("3.5"));
    assert_eq!(numbers[6].as_deref(), Some("3.5"));
    assert_eq!(numbers[numbers.len() - 2..], [None, None]);
}

#[test]
fn what_the_table_pairs_does_the_same() {
    let page = page();
    let calls = ["$job->sendStatus(1, 10)", "$job->sendData($part)", "$job->sendWarning($text)", "$log[] = \"text\""];
    let php_calls: String = calls.iter().map(|call| format!("    {call};\n")).collect();
    let rust_calls: String = calls.iter().map(|call| format!("    {};\n", rust_for(&page, call))).collect();
    let (workload, answer) = (rust_for(&page, "$job->workload()"), rust_for(&page, "return $result"));
    let (exception, failure) = (rust_for(&page, "sendException($text)"), rust_for(&page, "sendFail()"));
    let php = format!(
        "function act($job, &$log) {{\n    $part = 'a part';\n    $text = 'a text';\n\
         if ($job->workload() === 'raise') {{ $job->sendException($text); return; }}\n\
         if ($job->workload() === 'fail') {{ $job->sendFail(); return; }}\n{php_calls}\
         $result = implode('|', [$job->functionName(), $job->unique(), $job->workload()]);\n    return $result;\n}}\n"
    );
    let rust = format!(
        "use gm_plugin_api::{{Failure, Job, JobResult, Log, function}};\n\n#[function]\n\
         fn act(job: &Job, log: &mut Log) -> JobResult {{\n    let (part, text) = (\"a part\", \"a text\");\n\
         if {workload} == b\"raise\" {{ {exception} }}\n\
         if {workload} == b\"fail\" {{ {failure} }}\n{rust_calls}\
         let result = [job.function(), &job.unique(), job.text()?].join(\"|\");\n    {answer}\n}}\n"
    );
    let [theirs, ours] = served_by_both("act", &php, &rust, &["some work", "raise", "fail"]);
    let data = |text: &str| text.as_bytes().to_vec();
    let seen = vec![
        Callback::Status { done: 1, of: 10 },
        Callback::Data { data: data("a part") },
        Callback::Warning { data: data("a text") },
        Callback::Complete { data: data("act|u1|some work") },
    ];
    assert_eq!((&theirs[0], &ours[0]), (&seen, &seen));
    assert_eq!(theirs[1].first(), ours[1].first(), "{theirs:?} {ours:?}");
    // Ours also says why, as a warning before the end.
    assert_eq!((theirs[2].last(), ours[2].last()), (Some(&Callback::Fail), Some(&Callback::Fail)));
}

/// State, the configuration, JSON, what a job is called, and an exception: for each workload the same result.
#[test]
fn what_an_object_keeps_and_what_it_is_told_are_the_same() {
    let page = page();
    let php = "class Keeps {
    const GREETING = 'Hello';
    private $jobs = 0;
    public function run($job, &$log) {
        static $calls = 0;
        $calls++;
        $this->jobs++;
        switch ($job->workload()) {
            case 'count': return \"$calls of $this->jobs\";
            case 'names': return implode('|', [$job->handle(), $job->unique(), $job->functionName()]);
            case 'greet': return self::GREETING;
            case 'throw': throw new Exception('reason');
            default: return json_decode($job->workload(), true)['number'];
        }
    }
}
";
    let names =
        all_rust_for(&page, "$job->handle()").iter().map(|call| format!("{call}.to_string()")).collect::<Vec<_>>();
    let json = all_rust_for(&page, "$job->workload()").into_iter().find(|call| call.contains("json")).unwrap();
    let failure = rust_for(&page, "sendFail()");
    let rust = format!(
        "use gm_plugin_api::{{Context, Failure, Job, JobResult, Log, function}};
use std::collections::HashMap;

struct Keeps {{
    jobs: u64,
    greeting: String,
}}

#[function]
impl Keeps {{
    fn new(cx: &Context) -> Result<Self, Failure> {{
        Ok(Self {{ jobs: 0, greeting: cx.required(\"greeting\")?.to_owned() }})
    }}

    fn run(&mut self, job: &Job, _log: &mut Log) -> JobResult {{
        self.jobs += 1;
        match job.text()? {{
            \"count\" => Ok(format!(\"{{}} of {{}}\", self.jobs, self.jobs).into()),
            \"names\" => Ok([{names}].join(\"|\").into()),
            \"greet\" => Ok(self.greeting.as_str().into()),
            \"throw\" => {failure},
            _ => {{
                let numbers: HashMap<String, u64> = {json};
                Ok(numbers[\"number\"].to_string().into())
            }}
        }}
    }}
}}
",
        names = names.join(", ")
    );
    let workloads = ["count", "count", "names", "greet", "{\"number\": 42}", "throw", "count"];
    let [theirs, ours] = served_with_settings("Keeps", php, &rust, "setting.greeting = Hello", &workloads);
    let results = |seen: &[Vec<Callback>]| seen.iter().map(|seen| result(seen)).collect::<Vec<_>>();
    assert_eq!(results(&theirs), results(&ours));
    let ours = results(&ours);
    let names = ours[2].clone().unwrap();
    assert!(names.starts_with("H:") && names.ends_with("|u1|Keeps"), "{names}");
    let others: Vec<Option<&str>> = [0, 1, 3, 4, 5, 6].map(|place: usize| ours[place].as_deref()).to_vec();
    assert_eq!(others, [Some("1 of 1"), Some("2 of 2"), Some("Hello"), Some("42"), None, Some("7 of 7")]);
}

/// There the process ends, and whoever waits for its job waits on; here the job fails with the reason.
#[test]
fn a_panic_is_a_failed_job_where_php_has_a_fatal_error() {
    let gearmand = Gearmand::start();
    let source = "use gm_plugin_api::{Job, JobResult, Log, function};

#[function]
fn frail(job: &Job, _log: &mut Log) -> JobResult {
    assert!(job.workload() != b\"die\", \"a fatal error\");
    Ok(std::process::id().to_string().into())
}
";
    let library = plugins::rust_with_json("frail", source);
    let _manager = Setup::new(&[&gearmand.server()]).plugin("frail", &library).start();
    let call = |workload: &str| Caller::Php.call(&gearmand, "frail", workload.as_bytes());
    let before = result(&call("live"));
    let died = call("die");
    assert_eq!(died.last(), Some(&Callback::Fail), "{died:?}");
    let is_reason = |callback: &Callback| match callback {
        Callback::Warning { data } => String::from_utf8_lossy(data).contains("a fatal error"),
        _ => false,
    };
    assert!(died.iter().any(is_reason), "{died:?}");
    assert_eq!((before.is_some(), result(&call("live"))), (true, before), "the worker goes on");
}
