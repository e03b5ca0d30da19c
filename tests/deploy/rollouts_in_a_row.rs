//! Many rollouts in a row under load: no job fails, and there are never fewer serving workers than planned.
//!
//! `make test` includes a short run; `make rollouts` is the long one.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};

use crate::fixture::{QUICK, hash, rename_over, strict_gearmand, version, wait_all};
use crate::rollout_checker::{ExpectedRun, JobEnd, JobEnds, RunReport, check_events, check_jobs};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::DEADLINE;

const WORKERS: usize = 3;
/// One more than workers, so that a job waits for every worker that becomes free.
const CALLERS: usize = 4;
/// A job sleeps so long: workers are busy all the time, and the processor is not.
const JOB: Duration = Duration::from_millis(10);
/// The versions, in turn.
const VERSIONS: [&str; 2] = ["v1", "v2"];

/// How long a run is.
struct RunLength {
    rollouts: usize,
    /// No rollout begins later.
    time: Duration,
}

impl RunLength {
    /// What `ROLLOUTS` and `ROLLOUTS_SECONDS` say; short without them.
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().expect(name));
        let time = Duration::from_secs(number("ROLLOUTS_SECONDS").unwrap_or(3600).into());
        Self { rollouts: number("ROLLOUTS").unwrap_or(12) as usize, time }
    }
}

#[test]
fn no_job_fails_and_the_plan_is_kept() {
    let (length, begin) = (RunLength::from_environment(), Instant::now());
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini(&format!("dedicated_count = {WORKERS}")).quiet();
    fs::write(setup.dir().join("workers/stamped.so"), version(VERSIONS[0])).unwrap();
    let mut manager = setup.start();
    wait_all(&manager, "stamped", &version(VERSIONS[0]));
    let notes = manager.dir().join("notes");

    let (deployed, ends) = under_load(&gearmand, &notes, || deploy(&mut manager, &length));
    wait_all(&manager, "stamped", &version(VERSIONS[deployed.len() % 2]));

    let expected = ExpectedRun { function: "stamped", planned: WORKERS, versions: &deployed };
    let RunReport { fewest, most, finished, mut violations } = check_events(&manager.events(), &expected);
    let runs: Vec<String> = fs::read_to_string(&notes).unwrap().lines().map(str::to_owned).collect();
    violations.extend(check_jobs(&ends, &runs, &VERSIONS));
    println!(
        "{finished} of {} rollouts in {} s: {} jobs, between {} and {most} of {WORKERS} planned workers served, {} \
         violations",
        length.rollouts,
        begin.elapsed().as_secs(),
        ends.len(),
        fewest.unwrap_or_default(),
        violations.len()
    );
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(finished > 0 && ends.len() > finished, "{finished} rollouts, {} jobs", ends.len());
}

/// Deploys one version after the other, each once the one before is everywhere. Returns their hashes.
fn deploy(manager: &mut Manager, length: &RunLength) -> Vec<String> {
    let (end, mut deployed) = (Instant::now() + length.time, Vec::new());
    let versions = VERSIONS.map(version);
    while deployed.len() < length.rollouts && Instant::now() < end {
        let bytes = &versions[(deployed.len() + 1) % 2];
        let hash = hash(bytes);
        manager.mark();
        rename_over(manager, bytes);
        manager.wait_event("rollout_finished", |event| event["version"] == *hash);
        deployed.push(hash);
    }
    deployed
}

/// Does that while callers submit one job after the other. Returns how each job ended, too.
fn under_load<T>(server: &Gearmand, notes: &Path, work: impl FnOnce() -> T) -> (T, JobEnds) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                let over = &over;
                scope.spawn(move || calls(server, notes, number, over))
            })
            .collect();
        // Also where `work` panics, so that the callers end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        let ends = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ends)
    })
}

fn calls(server: &Gearmand, notes: &Path, number: usize, over: &AtomicBool) -> JobEnds {
    let (mut client, mut ends) = (server.client(), Vec::new());
    let workload = format!("note {}\ntake {}", notes.display(), JOB.as_micros());
    while !over.load(Ordering::Relaxed) {
        let unique = format!("{number}-{}", ends.len());
        let how = Submission::Foreground(Priority::Normal);
        client.submit(how, b"stamped", unique.as_bytes(), workload.as_bytes()).unwrap();
        let end = loop {
            match client.next_event(Instant::now() + DEADLINE).unwrap().map(|event| event.event) {
                None => break JobEnd::Lost,
                Some(JobEvent::Complete(answer)) => break JobEnd::Answer(String::from_utf8_lossy(&answer).into()),
                Some(news) if news.is_end() => break JobEnd::Failed,
                Some(_) => {}
            }
        };
        let is_lost = end == JobEnd::Lost;
        ends.push((unique, end));
        if is_lost {
            // Its answer might be taken for that of the next one.
            break;
        }
    }
    ends
}
