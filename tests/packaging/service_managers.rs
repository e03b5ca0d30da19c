//! What starts gm-native on a machine, as docs/running.md has it: supervisord, an init script, systemd; and an upgrade.

use std::collections::BTreeMap;

use crate::machine::{Machine, block};

/// gm-native's defaults, in seconds: `graceful_shutdown_wait_time` and `stop_timeout`.
const LONGEST_STOP: u64 = 60 + 5;

#[test]
fn supervisord_starts_reloads_and_stops_it() {
    let ini = block("running.md", "[program:gm-native]");
    let keys: BTreeMap<&str, &str> = ini.lines().filter_map(|line| line.split_once('=')).collect();
    assert!(keys["stopwaitsecs"].parse::<u64>().unwrap() > LONGEST_STOP, "{ini}");
    let Some(machine) = Machine::with(&["supervisord", "supervisorctl"]) else { return };
    // That it is up for so long is not what is tested here.
    let ini = ini.replace("startsecs=5", "startsecs=1");
    let printed = machine.succeed(&format!(
        "cat > /etc/supervisor/conf.d/gm-native.conf <<'END'\n{ini}END\n\
         supervisord -c /etc/supervisor/supervisord.conf\n\
         await serves\n\
         is_running() {{ supervisorctl status gm-native | grep -q RUNNING; }}\n\
         await is_running\n\
         stat -c %U /proc/$(supervisorctl pid gm-native)\n\
         supervisorctl signal HUP gm-native > /dev/null\n\
         await grep -q 'SIGHUP: the configuration was read again' /var/log/gm-native/gm.log\n\
         supervisorctl stop gm-native > /dev/null\n\
         cat /var/log/gm-native/gm.log\n"
    ));
    let (user, log) = printed.split_once('\n').unwrap();
    assert_eq!(user, "gm-native");
    assert!(log.lines().last().unwrap().contains("stopped after"), "{log}");
    assert!(log.lines().all(|line| line.starts_with("[20")), "supervisord adds no dates: {log}");
}

#[test]
fn the_init_script_is_installed_and_used_as_written() {
    let Some(machine) = Machine::with(&["start-stop-daemon", "update-rc.d", "service"]) else { return };
    let commands = block("running.md", "/etc/init.d/gm-native");
    let printed = machine.succeed(&format!(
        "{commands}\
         await serves\n\
         ls /etc/rc2.d/S*gm-native /etc/rc0.d/K*gm-native > /dev/null\n\
         await grep -q 'reload: the configuration was read again' /var/log/gm-native/gm.log\n\
         echo 'VERBOSITY=-vvvv' > /etc/default/gm-native\n\
         service gm-native restart\n\
         await serves\n\
         tr '\\0' ' ' < /proc/$(cat /run/gm-native.pid)/cmdline\n\
         service gm-native stop\n\
         ! service gm-native status\n"
    ));
    assert!(printed.starts_with("reload: ") && printed.contains("-u gm-native -vvvv -d"), "{printed}");
}

/// The other commands talk to a systemd that runs, which there is none of here: service.rs plays it.
#[test]
fn the_unit_can_be_enabled() {
    let commands = block("running.md", "systemctl daemon-reload");
    assert!(commands.contains("systemctl enable --now gm-native\n"), "{commands}");
    let Some(machine) = Machine::with(&["systemctl"]) else { return };
    let units = "/etc/systemd/system/multi-user.target.wants";
    machine.succeed(&format!(
        "systemctl --root=/ enable gm-native 2> /tmp/enabled || {{ cat /tmp/enabled >&2; false; }}\n\
         test -e {units}/gm-native.service\n"
    ));
}

/// All but the build and systemctl, for which the init script stands.
#[test]
fn an_upgrade_goes_as_written() {
    let Some(machine) = Machine::with(&["start-stop-daemon", "service"]) else { return };
    let looks = block("running.md", "target/release/gm-native -c /etc/gm-native/gm.ini -Z");
    let looks = looks.strip_prefix("cargo build --release\n").unwrap();
    let installs = block("running.md", "sudo make install-files").replace("sudo ", "");
    let restarts = block("running.md", "systemctl restart gm-native");
    let restarts = restarts.replace("systemctl restart gm-native", "service gm-native restart");
    let init = block("running.md", "/etc/init.d/gm-native").replace("service gm-native reload\n", "");
    let printed = machine.succeed(&format!(
        "{init}await serves\nold=$(cat /run/gm-native.pid)\n{looks}{installs}\
         await serves\ntest $(cat /run/gm-native.pid) = $old\n{restarts}\
         test $(cat /run/gm-native.pid) != $old\nservice gm-native stop\n"
    ));
    assert!(printed.contains("serves act"), "{printed}");
    let version = format!("gm-native {}", env!("CARGO_PKG_VERSION"));
    assert!(printed.lines().any(|line| line.starts_with(&version) && line.contains("running")), "{printed}");
}
