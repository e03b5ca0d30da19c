//! P15: a plugin overwrites the scoreboard that its worker shares with the manager. Only that worker is affected.

use gm_native::gearman::client::JobEvent;

use crate::fixture::{Job, path, served, touch, wait_busy, wait_serving};

/// A worker that finds its scoreboard overwritten is replaced, and its job's result is the job's.
#[test]
fn a_worker_whose_scoreboard_was_overwritten_is_replaced() {
    let (gearmand, manager) = served("count = 2");
    let gate = path(&manager, "gate");
    let other = Job::act(&gearmand, "", &format!("wait {gate}\npid"));
    let untouched = wait_busy(&manager, &other.handle);
    for seed in 1..=8 {
        let pid = Job::act(&gearmand, "", &format!("scribble {seed}\npid")).result();
        let pid: i32 = String::from_utf8(pid).unwrap().parse().unwrap();
        let left = manager.wait_event("worker_exited", |event| event["pid"] == pid);
        assert!(left["jobs"].as_u64() < Some(100), "random bytes were taken for a count: {left}");
        manager.wait_log(&format!("worker {pid}: its scoreboard was overwritten"));
    }
    wait_serving(&manager, "act");
    let status = manager.status();
    assert!(status["functions"][0]["jobs_completed"].as_u64() <= Some(100), "{status}");
    touch(&gate);
    assert_eq!(other.result(), untouched.to_string().into_bytes());
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}

/// Its job has a timeout all the same.
#[test]
fn a_job_that_overwrites_the_scoreboard_and_hangs_is_killed() {
    let (gearmand, manager) = served("timeout = 300ms\ntimeout_grace = 200ms\ncount = 2");
    for (step, mark) in [("scribble 3", "one"), ("haunt 4", "two")] {
        let mark = path(&manager, mark);
        let job = Job::act(&gearmand, "", &format!("first {mark} {step}\nfirst {mark}2 wait /nowhere\nsay again"));
        assert_eq!(job.result(), b"again", "{step}");
        wait_serving(&manager, "act");
    }
}

/// A death that nobody can ascribe to a job has its back-off as any other; others are served meanwhile.
#[test]
fn a_function_that_overwrites_its_scoreboard_and_dies_backs_off() {
    let (gearmand, manager) = served("count = 2");
    let gate = path(&manager, "gate");
    let other = Job::act(&gearmand, "", &format!("wait {gate}\nsay mine"));
    wait_busy(&manager, &other.handle);
    let counter = path(&manager, "runs");
    let poison =
        Job::act(&gearmand, "poison", &format!("note {counter}\nhaunt 5\nscribble 6\nfirst {counter}8 say\nabort"));
    let event = manager.wait_event("backing_off", |event| event["function"] == "act");
    assert!(event["failures"].as_u64() >= Some(5), "{event}");
    let unknown = manager.events().iter().filter(|event| event["at"] == "unknown").count();
    assert!(unknown >= 5, "{unknown}");
    touch(&gate);
    assert_eq!(other.result(), b"mine");
    drop(poison);
}

/// A page that names the job of another worker gets that job no answer.
#[test]
fn a_forged_job_is_not_answered_for() {
    let (gearmand, manager) = served("count = 2\non_crash = fail");
    let (gate, mark) = (path(&manager, "gate"), path(&manager, "mark"));
    let other = Job::act(&gearmand, "", &format!("wait {gate}\nsay mine"));
    wait_busy(&manager, &other.handle);
    let forges = format!("first {mark} forge {}\nfirst {mark}2 segv\nsay again", other.handle);
    let forger = Job::act(&gearmand, "", &forges);
    assert_eq!(forger.news(), [JobEvent::Complete(b"again".to_vec())]);
    touch(&gate);
    assert_eq!(other.news(), [JobEvent::Complete(b"mine".to_vec())]);
    wait_serving(&manager, "act");
}
