//! The configuration of docs/monitoring.md, given to the programs that it is for.

use std::net::TcpListener;

use gm_native::cli::Cli;

use crate::machine::{Machine, block};

const PLUGIN: &str = "/usr/lib/nagios/plugins/check_nrpe";

/// The words of a list in JSON, as a shell takes them.
fn shell_words(list: &str) -> String {
    let words: Vec<String> = serde_json::from_str(list).unwrap_or_else(|error| panic!("{list}: {error}"));
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A manager that serves, started by the init script.
fn started() -> String {
    block("running.md", "/etc/init.d/gm-native").replace("service gm-native reload\n", "") + "await serves\n"
}

/// From the server's plugin over NRPE and sudo to the manager.
#[test]
fn nrpe_asks_as_written() {
    let Some(machine) = Machine::with(&["nrpe", PLUGIN, "sudo", "visudo", "start-stop-daemon", "service"]) else {
        return;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sudoers = block("monitoring.md", "NOPASSWD");
    let nrpe = block("monitoring.md", "command[check_gm_native]");
    let service = block("monitoring.md", "check_command        check_nrpe!");
    let (_, command) = service.split_once("check_nrpe!").unwrap();
    let asks = format!("{PLUGIN} -H 127.0.0.1 -p {port} -c {}", command.split_whitespace().next().unwrap());
    let printed = machine.succeed(&format!(
        "cat > /etc/sudoers.d/gm-native <<'END'\n{sudoers}END\nchmod 440 /etc/sudoers.d/gm-native\nvisudo -cq\n\
         mkdir -p /etc/nagios/nrpe.d\ncat > /etc/nagios/nrpe.d/gm-native.cfg <<'END'\n{nrpe}END\n\
         printf 'server_address=127.0.0.1\\nserver_port={port}\\npid_file=/run/nrpe.pid\\n' > /etc/nagios/nrpe.d/test.cfg\n\
         nrpe -c /etc/nagios/nrpe.cfg -d\n\
         answers() {{ {PLUGIN} -H 127.0.0.1 -p {port} > /tmp/nrpe; }}\nawait answers\n\
         code=0\n{asks} || code=$?\necho $code\n{start}\
         {asks}\nservice gm-native stop\ncode=0\n{asks} || code=$?\necho $code\n",
        start = started()
    ));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("CRITICAL: no manager answers") && lines[1] == "2", "{printed}");
    assert!(lines[2].starts_with("OK: 1 function, 1 worker | "), "{printed}");
    assert!(lines[3].starts_with("CRITICAL: ") && lines[4] == "2", "{printed}");
}

/// Its templates and the host are those of any Nagios.
#[test]
fn nagios_takes_the_service() {
    let service = block("monitoring.md", "define service");
    let Some(machine) = Machine::with(&["nagios4"]) else { return };
    let printed = machine.succeed(&format!(
        "mkdir /tmp/n\nchown nagios /tmp/n\n\
         cat > /tmp/n/nagios.cfg <<'END'\nlog_file=/tmp/n/log\ncfg_file=/tmp/n/objects.cfg\ncheck_result_path=/tmp/n\n\
         temp_path=/tmp/n\nlock_file=/tmp/n/lock\nEND\n\
         cat > /tmp/n/objects.cfg <<'END'\n{NAGIOS_OBJECTS}{service}END\n\
         nagios4 -v /tmp/n/nagios.cfg || true\n"
    ));
    assert!(printed.contains("Checked 1 services.") && printed.contains("Total Errors:   0"), "{printed}");
}

const NAGIOS_OBJECTS: &str = "define command {
    command_name check_nrpe
    command_line /usr/lib/nagios/plugins/check_nrpe -H $HOSTADDRESS$ -c $ARG1$
}
define timeperiod {
    timeperiod_name always
    alias always
    monday 00:00-24:00
}
define contact {
    contact_name someone
    host_notification_period always
    service_notification_period always
    host_notification_commands check_nrpe
    service_notification_commands check_nrpe
}
define host {
    host_name worker1
    address 127.0.0.1
    max_check_attempts 1
    check_period always
    notification_period always
    contacts someone
}
define service {
    name generic-service
    register 0
    max_check_attempts 1
    check_period always
    notification_period always
    contacts someone
}
";

#[test]
fn icinga_takes_the_command_and_the_service() {
    let objects = block("monitoring.md", "object CheckCommand");
    // The command line that Icinga makes of it.
    let value = |key: &str| objects.split_once(key).unwrap().1.lines().next().unwrap().trim().to_owned();
    let program: Vec<String> = serde_json::from_str(&value("command = ")).unwrap();
    let config: String = serde_json::from_str(&value("vars.gm_native_config = ")).unwrap();
    assert_eq!(program[..2], ["/usr/bin/sudo", "-n"]);
    let order = |name: &str| {
        let line = objects.lines().find(|line| line.trim().starts_with(&format!("\"{name}\" = "))).unwrap();
        let (_, order) = line.split_once("order = ").unwrap();
        order.trim_end_matches([' ', '}']).parse::<i32>().unwrap()
    };
    assert!(order("-c") < order("status") && order("status") < order("--check"));
    let line = ["gm-native", "-c", &config, "status", "--check"];
    // It is the line that sudo allows.
    assert!(block("monitoring.md", "NOPASSWD").trim().ends_with(&line.join(" ")));
    assert!(Cli::parse_args(line, "").is_ok());

    let Some(machine) = Machine::with(&["icinga2"]) else { return };
    let printed = machine.run(&format!(
        "mkdir -p /tmp/i/zones.d/worker1 /run/icinga2\nchmod 777 /tmp/i /run/icinga2\n\
         cat > /tmp/i/icinga2.conf <<'END'\ninclude <itl>\ninclude <plugins>\n\
         object Endpoint \"worker1\" {{ }}\nobject Zone \"worker1\" {{ endpoints = [ \"worker1\" ] }}\n\
         include_zones \"etc\", \"/tmp/i/zones.d\"\nEND\n\
         cat > /tmp/i/zones.d/worker1/gm-native.conf <<'END'\n\
         object Host \"worker1\" {{\n  check_command = \"hostalive\"\n  vars.gm_native = true\n}}\n{objects}END\n\
         icinga2 daemon -C -c /tmp/i/icinga2.conf -DNodeName=worker1 -DPluginDir=/usr/lib/nagios/plugins 2>&1\n"
    ));
    let output = printed.out();
    assert!(printed.status.success() && output.contains("Instantiated 1 Service."), "{output}");
}

/// Each probe as the kubelet and Docker run it: without a manager, with one, and with one that has something to complain
/// of.
#[test]
fn the_probes_of_containers_have_the_codes_that_are_written_down() {
    let pod = block("monitoring.md", "livenessProbe:");
    let health = block("monitoring.md", "HEALTHCHECK");
    let commands: Vec<&str> = pod.lines().filter_map(|line| line.trim().strip_prefix("command: ")).collect();
    let [container, live, ready] = commands[..] else { panic!("{commands:?}") };
    let words: Vec<String> = serde_json::from_str(container).unwrap();
    assert!(Cli::parse_args(words, "").is_ok(), "{container}");
    let (_, health) = health.trim().split_once(" CMD ").unwrap();
    let [live, ready, health] = [live, ready, health].map(shell_words);
    let Some(machine) = Machine::with(&["start-stop-daemon", "service"]) else { return };
    let probes =
        "for probe in live ready health; do code=0; $probe > /tmp/$probe || code=$?; echo $1 $probe $code; done;";
    let printed = machine.succeed(&format!(
        "python3 -c 'import yaml' 2> /dev/null && python3 -c 'import sys, yaml; yaml.safe_load(sys.stdin)' <<'END'\n{pod}END\n\
         live() {{ {live}; }}\nready() {{ {ready}; }}\nhealth() {{ {health}; }}\n\
         probes() {{ {probes} }}\nprobes down\n{start}probes up\n\
         echo 'no library' > /srv/workers/text.so\n\
         warns() {{ status --check | grep -q ^WARNING; }}\nawait warns\nprobes warning\nservice gm-native stop\n",
        start = started()
    ));
    let codes: Vec<&str> = printed.lines().filter(|line| line.split(' ').count() == 3).collect();
    let expected = [
        ["down live 2", "down ready 1", "down health 2"],
        ["up live 0", "up ready 0", "up health 0"],
        ["warning live 0", "warning ready 0", "warning health 0"],
    ];
    assert_eq!(codes, expected.concat(), "{printed}");
}
