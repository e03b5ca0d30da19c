//! The container of docs/running.md: what the Dockerfile and `docker run` ask for, made with namespaces and mounts.

use crate::machine::{Machine, block};

/// The rest of a line of the Dockerfile.
#[track_caller]
fn instruction(dockerfile: &str, name: &str) -> String {
    let line = dockerfile.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {dockerfile}")).to_owned()
}

/// As PID 1 of namespaces of its own, with a read-only root and a tmpfs for its state, until its STOPSIGNAL.
#[test]
fn a_container_as_written_serves_answers_and_stops() {
    let dockerfile = block("running.md", "ENTRYPOINT");
    let docker_run = block("running.md", "docker run");
    let copied: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("COPY ")).collect();
    assert_eq!(
        copied,
        [
            "COPY gm-native gm-native-worker /usr/local/bin/",
            "COPY gm.ini /etc/gm-native/",
            "COPY workers/ /srv/workers/"
        ]
    );
    let (user, signal) = (instruction(&dockerfile, "USER"), instruction(&dockerfile, "STOPSIGNAL"));
    let entry: Vec<String> = serde_json::from_str(&instruction(&dockerfile, "ENTRYPOINT")).unwrap();
    let words: Vec<&str> = docker_run.split_whitespace().collect();
    let option = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
    let (place, mount_options) = option("--tmpfs").split_once(':').unwrap();
    let (_, args) = docker_run.trim().split_once(" IMAGE ").unwrap();
    assert!(words.contains(&"--read-only") && option("--stop-timeout").parse::<u32>().unwrap() > 60 + 5);

    let Some(machine) = Machine::with(&["setpriv", "nsenter"]) else { return };
    let inside = "setpriv --reuid=$uid --regid=$gid --clear-groups --no-new-privs";
    let entry = entry.join(" ");
    let (host, port) = (machine.gearmand.host(), machine.gearmand.port());
    let printed = machine.succeed(&format!(
        "cd /\nuserdel gm-native\n{useradd}\nuid=$(id -u {user})\ngid=$(id -g {user})\n\
         mkdir -p {place}\nmount -t tmpfs -o {mount_options} tmpfs {place}\n\
         mount -o remount,ro /\n! touch /srv/writable 2> /dev/null\n\
         unshare --pid --fork --kill-child --mount-proc {inside} {entry} {args} > {place}.log &\n\
         outer=$!\n\
         first() {{ pid=$(cat /proc/$outer/task/$outer/children) && test -n \"$pid\"; }}\nawait first\n\
         inside() {{ nsenter --target $pid --pid --mount --root --wd {inside} \"$@\"; }}\n\
         checks() {{ inside {entry} status --check > /run/check 2>&1 && grep -q ^OK /run/check; }}\n\
         await checks || {{ cat /run/check {place}.log >&2; false; }}\n\
         inside {entry} status --check=live\n\
         gearman -h {host} -p {port} -f act 'say here'\necho\n\
         kill -{signal} $pid\nwait $outer\ncat {place}.log\n",
        useradd = instruction(&dockerfile, "RUN"),
        signal = signal.trim_start_matches("SIG"),
    ));
    assert!(printed.lines().any(|line| line == "here"), "{printed}");
    let log: Vec<&str> = printed.lines().filter(|line| line.starts_with("    1 ")).collect();
    assert!(log.len() > 2 && log.last().unwrap().contains("stopped after"), "{printed}");
}
