//! Lines and JSON of events.

use super::*;
use crate::control::EventLine;
use crate::supervisor::job_disposition::JobDisposition;

fn death(at: DeathContext) -> Event {
    Event::WorkerDied(Death {
        pid: 4711,
        functions: vec!["reverse_string".into()],
        end: "killed by SIGSEGV".into(),
        exited: false,
        at,
        cut_another: false,
        version: Some("3f2a91c04d11".into()),
        generation: 7,
        jobs: 812,
        peak_mib: 41,
        report: None,
        out_of_memory: None,
    })
}

#[test]
fn the_line_of_a_crash() {
    let job = DeathContext::Job {
        function: "reverse_string".into(),
        handle: "H:host:12".into(),
        unique: "u1\nERROR forged".into(),
        seconds: 1.204,
        sending: false,
        timed_out: false,
        on_request: false,
        disposition: JobDisposition::Requeued,
        deaths: Some(1),
        max_attempts: Some(3),
    };
    assert_eq!(
        death(job).line(),
        "reverse_string: worker 4711 killed by SIGSEGV in job H:host:12 (unique u1\\nERROR forged) after 1.204 s; \
         version 3f2a91c04d11, generation 7, 812 jobs before, peak 41 MiB; requeued (death 1 of 3)"
    );
}

#[test]
fn a_job_is_named_by_what_it_has() {
    for (handle, unique, name) in [
        ("H:host:12", "u1", "job H:host:12 (unique u1)"),
        ("H:host:12", "", "job H:host:12"),
        ("H:host:12", "-", "job H:host:12"),
        ("", "u\n1", "a job (unique u\\n1)"),
        ("", "", "a job"),
    ] {
        assert_eq!(line::job_name(handle, unique), name);
        let at = DeathContext::Job {
            function: "f".into(),
            handle: handle.into(),
            unique: unique.into(),
            seconds: 1.0,
            sending: false,
            timed_out: false,
            on_request: false,
            disposition: JobDisposition::Requeued,
            deaths: None,
            max_attempts: None,
        };
        let [handle, unique] = [handle, unique].map(str::to_owned);
        let continued = Event::CanaryContinued {
            function: "f".into(),
            version: "a".into(),
            handle: handle.clone(),
            unique: unique.clone(),
            killed: "b".into(),
        };
        let job = EndingJob { pid: 3, function: "f".into(), handle, unique, seconds: 2.0, grace: 5.0 };
        for event in [death(at), continued, Event::JobOverdue { job, timeout: 1.0 }] {
            let line = event.line();
            assert!(line.contains(&format!(" {name}")) && !line.contains("(unique )"), "{line}");
        }
    }
}

/// Text from a library or its forged report cannot start a line of its own.
#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    let function = FunctionName::from("f");
    let [path, forged] = ["/w/f.so", "x\n[2026-11-24] ERROR forged\x1b[2J"].map(str::to_owned);
    let refused = Event::LibraryRefused {
        function: function.clone(),
        path: path.clone(),
        reason: forged.clone(),
        serving: None,
        again: None,
        is_repeated: false,
    };
    let found = Event::FunctionFound {
        function: function.clone(),
        version: ShortHash::from("3f2a91c04d11"),
        crate_version: forged.clone(),
        path,
        replaces: None,
    };
    for event in [refused, found, Event::LibraryWarning { function, text: forged }] {
        let line = event.line();
        assert!(line.contains("x\\n[2026-11-24] ERROR forged\\x1b[2J"), "{line}");
    }
}

#[test]
fn a_library_without_a_version_of_its_own_is_named_without_one() {
    let found = Event::FunctionFound {
        function: FunctionName::from("f"),
        version: ShortHash::from("3f2a91c04d11"),
        crate_version: String::new(),
        path: "/w/f.so".into(),
        replaces: None,
    };
    assert_eq!(found.line(), "f: version 3f2a91c04d11 from /w/f.so");
}

/// Through what carries them to followers, which has a pid and a text for every event.
#[test]
fn an_event_is_one_flat_json_object() {
    let left =
        Event::WorkerDraining { pid: 3, functions: vec!["f".into()], reason: ExitReason::DrainTimeout, limit: None };
    let sentence = |text: &str| text.to_owned();
    let [handle, unique] = ["H", "u"].map(sentence);
    let function = "f".into();
    let job = EndingJob { pid: 3, function, handle, unique, seconds: 2.5, grace: 5.0 };
    let overdue = Event::JobOverdue { job, timeout: 2.0 };
    for (event, own) in [
        (left, r#""event":"worker_draining","functions":["f"],"reason":"drain_timeout""#),
        (Event::ManagerError { text: sentence("x") }, r#""event":"manager_error""#),
        (
            overdue,
            r#""event":"job_overdue","function":"f","handle":"H","unique":"u","seconds":2.5,"grace":5.0,"timeout":2.0"#,
        ),
        (
            Event::LibraryWarning { function: "f".into(), text: sentence("x") },
            r#""event":"library_warning","function":"f""#,
        ),
        (Event::ConfigWarning { text: sentence("x") }, r#""event":"config_warning""#),
        (Event::FileWarning { text: sentence("x") }, r#""event":"file_warning""#),
        (
            Event::Reloaded { by: "SIGHUP", changes: vec![sentence("x")] },
            r#""event":"reloaded","by":"SIGHUP","changes":["x"]"#,
        ),
        (
            Event::RequestReceived(ReceivedRequest {
                request: 3,
                command: "restart",
                target: Some(sentence("f")),
                user: sentence("alice"),
                uid: 1000,
            }),
            r#""event":"request_received","request":3,"command":"restart","target":"f","user":"alice","uid":1000"#,
        ),
        (Event::ReloadIgnored, r#""event":"reload_ignored""#),
        (Event::LogReopened { by: "SIGUSR1" }, r#""event":"log_reopened","by":"SIGUSR1""#),
        (
            Event::LogNotReopened { by: "SIGHUP", log: sentence("syslog") },
            r#""event":"log_not_reopened","by":"SIGHUP","log":"syslog""#,
        ),
        (
            Event::AlreadyDraining { by: "SIGTERM", signals: 2, seconds: 1.5, kills_at: 5 },
            r#""event":"already_draining","by":"SIGTERM","signals":2,"seconds":1.5"#,
        ),
        (
            Event::MemoryLimitTooLow { functions: vec!["f".into()], mib: 41, max_mib: 10 },
            r#""event":"memory_limit_too_low","functions":["f"],"mib":41,"max_mib":10"#,
        ),
    ] {
        let line = EventLine { time: String::new(), level: String::new(), pid: 3, text: "line".into(), event };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(json, format!(r#"{{"time":"","level":"","pid":3,"text":"line",{own}}}"#));
    }
    let json = serde_json::to_value(death(DeathContext::Idle)).unwrap();
    assert_eq!([&json["event"], &json["at"], &json["end"]], ["worker_died", "idle", "killed by SIGSEGV"]);
}

#[test]
fn many_functions_are_counted() {
    let names = ["a", "b", "c"].map(FunctionName::from);
    assert_eq!(several(&names[..1]), "a");
    assert_eq!(several(&names[..2]), "a, b");
    assert_eq!(several(&names), "a, b, c");
    let names = ["a", "b", "c", "d"].map(FunctionName::from);
    assert_eq!(several(&names), "a, b and 2 more functions");
}
