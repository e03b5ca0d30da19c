//! Which function the log names for output of a worker that serves several.

use crate::fixture::{Job, acting, path, touch, wait_busy, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::plugins;

#[test]
fn output_has_the_name_of_the_function_that_runs_and_none_when_nothing_does() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("reverse_string", &plugins::example("reverse_string"));
    let manager = setup.ini("count = 1\ndedicated_count = 0").start();
    wait_serving(&manager, "act");
    let [gate, end] = ["gate", "end"].map(|name| path(&manager, name));
    let job = Job::act(&gearmand, "", &format!("print in the job\nwait {gate}"));
    wait_busy(&manager, &job.handle);
    manager.wait_log("WORKER act: stdout: in the job");
    touch(&gate);
    job.result();
    // A thread that the job leaves behind prints on and on, and then no job runs.
    assert_eq!(Job::act(&gearmand, "", &format!("tick {end}\nsay left")).result(), b"left");
    manager.wait_log("WORKER stdout: tick");
    touch(&end);
}
