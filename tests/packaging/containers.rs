//! The image of Containerfile: its last stage is made in a machine of the test's own, and run with namespaces and mounts
//! as docs/running.md says.

use std::fs;
use std::process::Command;

use crate::is_there;
use crate::machine::{Machine, block};
use crate::support::build::repository;
use crate::support::program::run;
use crate::support::wait::DEADLINE;

const CONTAINERFILE: &str = "Containerfile";
const COMPOSE: &str = "packaging/container/compose.yaml";

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// The instructions of the last stage, each with what follows it.
fn last_stage(containerfile: &str) -> Vec<(String, String)> {
    let joined = containerfile.replace("\\\n", "");
    let lines = joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instructions: Vec<(&str, &str)> = lines.map(|line| line.split_once(' ').unwrap()).collect();
    let start = instructions.iter().rposition(|(name, _)| *name == "FROM").unwrap();
    instructions[start + 1..].iter().map(|(name, rest)| ((*name).to_owned(), (*rest).to_owned())).collect()
}

/// A list in JSON as words for a shell.
fn words(list: &str) -> String {
    serde_json::from_str::<Vec<String>>(list).unwrap_or_else(|error| panic!("{list}: {error}")).join(" ")
}

/// What is copied into the image: from the stage that builds, or from the checkout.
fn copy(what: &str) -> String {
    let built = what.strip_prefix("--from=build ").map(|paths| paths.replace("/src/", "/root/gm-native/"));
    let copied = built.unwrap_or_else(|| format!("/root/gm-native/{what}"));
    let (_, to) = copied.rsplit_once(' ').unwrap();
    format!("install -d {to}\ncp {copied}\n")
}

/// As PID 1 of namespaces of its own, with a read-only root and a tmpfs for its state, until its STOPSIGNAL.
#[test]
fn a_container_serves_answers_is_healthy_and_stops() {
    let stage = last_stage(&text(CONTAINERFILE));
    let value = |name: &str| {
        let found = stage.iter().find(|(instruction, _)| instruction == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    };
    let build: String = stage
        .iter()
        .filter_map(|(name, rest)| match name.as_str() {
            "RUN" => Some(format!("{rest}\n")),
            "COPY" => Some(copy(rest)),
            _ => None,
        })
        .collect();
    let (_, health) = value("HEALTHCHECK").split_once(" CMD ").unwrap();
    let podman_run = block("running.md", "podman run");
    let options: Vec<&str> = podman_run.lines().find(|line| line.contains("podman run")).unwrap().split(' ').collect();
    let option = |name: &str| options[options.iter().position(|word| *word == name).unwrap() + 1];
    assert!(options.contains(&"--read-only") && option("--stop-timeout").parse::<u32>().unwrap() > 60 + 5);
    let compose = text(COMPOSE);
    for same in [format!("- {}\n", option("--tmpfs")), format!("stop_grace_period: {}s\n", option("--stop-timeout"))] {
        assert!(compose.contains(&same), "compose.yaml has no {same}");
    }
    assert!(compose.contains(&format!("test: [\"CMD\", {}\n", &health[1..])), "compose.yaml has no {health}");
    let (place, mount_options) = option("--tmpfs").split_once(':').unwrap();

    let Some(machine) = Machine::with(&["setpriv", "nsenter"]) else { return };
    let (user, group) = value("USER").split_once(':').unwrap();
    let environment = format!("env -i PATH=/usr/local/bin:/usr/bin:/bin {} GM_WORKERS=3", value("ENV"));
    let server = machine.gearmand.server();
    let inside = format!(
        "setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs {environment} GEARMAN_SERVERS={server}"
    );
    let (entry, arguments) = (words(value("ENTRYPOINT")), words(value("CMD")));
    let (host, port) = (machine.gearmand.host(), machine.gearmand.port());
    let done = machine.enter(&format!(
        "set -e\n\
         await() {{ tries=0; until \"$@\"; do tries=$((tries + 1)); [ $tries -lt 300 ] || return 1; sleep 0.1; done; }}\n\
         cd /\nrm -r /etc/gm-native\nmv /srv/workers /srv/mine\n{build}mv /srv/mine/* /srv/workers\n\
         mount -t tmpfs -o {mount_options} tmpfs {place}\n\
         mount -o remount,ro /\n! touch /srv/writable 2> /dev/null\n\
         unshare --pid --fork --kill-child --mount-proc {inside} {entry} {arguments} > /run/log 2>&1 &\n\
         outer=$!\n\
         first() {{ pid=$(cat /proc/$outer/task/$outer/children) && test -n \"$pid\"; }}\nawait first\n\
         inside() {{ nsenter --target $pid --pid --mount --root --wd {inside} \"$@\"; }}\n\
         checks() {{ inside {entry} status --check > /run/check 2>&1 && grep -q ^OK /run/check; }}\n\
         await checks || {{ cat /run/check /run/log >&2; false; }}\n\
         cat /run/check\n\
         inside {health}\n\
         gearman -h {host} -p {port} -f act 'say here'\necho\n\
         kill -{signal} $pid\nwait $outer\ncat /run/log\n",
        health = words(health),
        signal = value("STOPSIGNAL").trim_start_matches("SIG"),
    ));
    let printed = done.out();
    assert!(done.status.success(), "{printed}{}", done.err());
    assert!(printed.starts_with("OK: 1 function, 3 workers"), "{printed}");
    assert!(printed.lines().any(|line| line == "here"), "{printed}");
    let log: Vec<&str> = printed.lines().filter(|line| line.starts_with("    1 ")).collect();
    assert!(log.len() > 2 && log.last().unwrap().contains("stopped after"), "{printed}");
}

/// `scripts/install-packaging-tools` installs it.
#[test]
fn hadolint_has_nothing_to_say() {
    let Some(hadolint) = hadolint() else { return };
    let said = run(Command::new(hadolint).arg(repository().join(CONTAINERFILE)), b"", DEADLINE).unwrap();
    assert!(said.status.success() && said.out().is_empty(), "{said:?}");
}

fn hadolint() -> Option<std::path::PathBuf> {
    let installed =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-servers/hadolint/bin/hadolint");
    if is_there("hadolint") { Some("hadolint".into()) } else { Some(installed).filter(|path| path.exists()) }
}
