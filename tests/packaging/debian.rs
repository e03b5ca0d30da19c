//! The Debian package, on a machine with systemd: installed, started, upgraded and purged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::booted;
use crate::is_there;
use crate::support::build::{BUILD_DEADLINE, alone, repository};
use crate::support::program::run;

/// Packages of one version, made by `make deb-package` of the programs that this test runs.
struct Packages {
    dir: TempDir,
}

impl Packages {
    /// None where cargo-deb is not here.
    fn build(version: &str) -> Option<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let has_tool = Command::new(&cargo).args(["deb", "--version"]).output().is_ok_and(|out| out.status.success());
        if !has_tool || !is_there("objcopy") {
            eprintln!("skipped: needs cargo-deb and objcopy (scripts/install-packaging-tools)");
            return None;
        }
        let dir = TempDir::with_prefix_in("gm-native-packages-", env!("CARGO_TARGET_TMPDIR")).unwrap();
        let release = dir.path().join("release");
        fs::create_dir(&release).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_gm-native"));
        // As a release has them: without most of the tables for debuggers, which would take a minute to compress.
        for program in [built.to_owned(), built.with_file_name("gm-native-worker")] {
            let small = release.join(program.file_name().unwrap());
            done(Command::new("objcopy").arg("--strip-debug").arg(&program).arg(small));
        }
        done(Command::new("cp").arg("-r").arg(crate::assets()).arg(release.join("assets")));
        let options = format!("--deb-version {version} --fast --output {}", dir.path().display());
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "deb-package"]).arg(format!("DEB_OPTIONS={options}"));
        make.current_dir(repository()).env("CARGO_TARGET_DIR", dir.path()).env_remove("MAKEFLAGS").env("CARGO", cargo);
        // All stage their files in one place.
        alone(|| done(&mut make));
        Some(Self { dir })
    }

    /// The package, and that of its debug symbols.
    fn files(&self) -> [PathBuf; 2] {
        let find = |start: &str, end: &str| {
            let files = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
            let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == end));
            files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(start)).unwrap()
        };
        [find("gm-native_", "deb"), find("gm-native-dbgsym_", "ddeb")]
    }
}

#[track_caller]
fn done(command: &mut Command) {
    run(command, b"", BUILD_DEADLINE).unwrap().success();
}

/// Installs, and then what an operator does in the first hour.
const INSTALL: &str = r#"
set -e
await() {
    tries=0
    until "$@"; do tries=$((tries + 1)); [ $tries -lt 300 ] || { echo "in vain: $*" >&2; return 1; }; sleep 0.1; done
}
serves() { gm-native -c $1 status --check > /tmp/check 2>&1 && grep -q ^OK /tmp/check; }
main=/etc/gm-native/gm.ini
pid() { systemctl show --value -p MainPID ${1:-gm-native}; }

# A container's, and that of scripts/install-test-deps, forbids services to start.
rm -rf /etc/gm-native /usr/sbin/policy-rc.d
# The index of all manuals takes long.
rm -f /var/lib/man-db/auto-update
dpkg -i $one 2>&1
test "$(systemctl is-enabled gm-native) $(systemctl is-active gm-native)" = 'enabled active'
ps -o user= -p $(pid)
journalctl --no-pager -u gm-native | grep -o 'no library in .* yet'

echo '; a change of the operator' >> $main
sed -i "s/^host = .*/host = $server/" $main
systemctl restart gm-native
cp /srv/workers/act.so /usr/local/lib/gm-native/workers
await serves $main
gearman -h $host -p $port -f act 'say done by the package'
echo

pkg-config --modversion gm-plugin
man -w gm-native-worker gm-native-status gm-native.ini
ls /usr/share/zsh/vendor-completions/_gm-native
"#;

/// Crashes a worker without and with debug symbols, upgrades and removes.
const CHANGE: &str = r#"
crash() {
    gearman -h $host -p $port -f act segv > /dev/null 2>&1 || true
    # The report is written twice: with the calls as soon as they are known.
    is_examined() { gm-native -c $main crashes show --json $1 > /tmp/report && grep -q '"address"' /tmp/report; }
    await is_examined $(date +%Y%m%d)-$1
    tr -d '\n' < /tmp/report
    echo
}
echo 'on_crash = fail' >> $main
systemctl reload gm-native
await serves $main
crash 1
dpkg -i $symbols > /dev/null
crash 2

cp $main /etc/gm-native/second.ini
systemctl start gm-native@second
await serves /etc/gm-native/second.ini
before="$(pid) $(pid gm-native@second)"
dpkg -i $two > /dev/null 2>&1
await serves $main
await serves /etc/gm-native/second.ini
for old in $before; do test ! -e /proc/$old; done
tail -n 2 $main
dpkg-query -W gm-native
gearman -h $host -p $port -f act 'say after the upgrade'
echo

rm /etc/gm-native/second.ini
dpkg -r gm-native-dbgsym gm-native > /dev/null 2>&1
! systemctl is-active gm-native gm-native@second
ls $main /usr/local/lib/gm-native/workers
dpkg --purge gm-native > /dev/null 2>&1
rm -r /usr/local/lib/gm-native
find /etc /usr /var -xdev -name '*gm-native*'
dpkg -i $two > /dev/null 2>&1
systemctl is-active gm-native
dpkg --purge gm-native > /dev/null 2>&1
echo the end
"#;

#[test]
fn the_changelog_begins_with_this_version() {
    let changelog = fs::read_to_string(repository().join("packaging/deb/changelog")).unwrap();
    assert!(changelog.starts_with(&format!("gm-native ({}-", env!("CARGO_PKG_VERSION"))), "{changelog}");
}

/// On a machine where it was never installed: first, with changed configuration, with debug symbols, a newer version,
/// removed, purged, and installed again.
#[test]
#[ignore = "builds two packages, which takes a minute or two"]
fn the_package_is_installed_started_upgraded_and_purged() {
    let Some(machine) = booted::machine(&["dpkg", "systemctl", "gearman", "pkg-config", "man"]) else { return };
    let Some(one) = Packages::build("0.1.0-1") else { return };
    let two = Packages::build("0.1.1-1").unwrap();
    let [package, symbols] = one.files().map(|path| path.display().to_string());
    let [newer, _] = two.files().map(|path| path.display().to_string());
    let (server, host, port) = (machine.gearmand.server(), machine.gearmand.host(), machine.gearmand.port());
    let variables =
        format!("one={package}\nsymbols={symbols}\ntwo={newer}\nserver={server}\nhost={host}\nport={port}\n");
    let printed = booted::succeed(&machine, &(variables + INSTALL + CHANGE));
    let lines: Vec<&str> = printed.lines().collect();
    let has = |line: &str| lines.contains(&line);
    let directories = "/usr/lib/gm-native/workers, /usr/local/lib/gm-native/workers";
    assert!(has("gm-native") && has(&format!("no library in {directories} yet")), "{printed}");
    assert!(has("done by the package") && has("after the upgrade"), "{printed}");
    assert!(has("/usr/share/man/man1/gm-native-status.1.gz") && has("1.0"), "{printed}");
    assert!(has("gm-native\t0.1.1-1") && has("on_crash = fail"), "{printed}");

    // Stripped programs have no names, and the package of symbols gives them back.
    let reports: Vec<Value> =
        lines.iter().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let [without, with] = reports.as_slice() else { panic!("two reports: {printed}") };
    let names_the_program = |report: &Value| report.to_string().contains("gm_native::worker::job::run");
    assert!(!names_the_program(without) && names_the_program(with), "{without:#}\n{with:#}");

    // What removing leaves is the configuration and the administrator's library; what purging leaves is nothing.
    let removed = lines.iter().position(|line| *line == "/etc/gm-native/gm.ini").unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(lines[removed - 2..removed], ["inactive", "inactive"], "{printed}");
    let left = ["/usr/local/lib/gm-native/workers:", "act.so", "active", "the end"];
    let rest: Vec<&str> = lines[removed + 1..].iter().copied().filter(|line| !line.is_empty()).collect();
    assert_eq!(rest, left, "{printed}");
}

/// Each tag that is left has its reason in the file of overrides.
#[test]
#[ignore = "builds a package, which takes a minute"]
fn lintian_has_nothing_to_say() {
    if !is_there("lintian") {
        eprintln!("skipped: needs lintian");
        return;
    }
    let Some(packages) = Packages::build("0.1.0-1") else { return };
    let mut lintian = Command::new("lintian");
    // Of a package that is in no archive.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs", "--display-info", "--pedantic"]);
    let [package, _] = packages.files();
    let said = run(lintian.arg("--allow-root").arg(package), b"", BUILD_DEADLINE).unwrap();
    // Which strings lie beside each other is another in each build, so that override may have nothing to do.
    let by_chance = "unused-override spelling-error-in-binary";
    let printed = said.out() + &said.err();
    let tags: Vec<&str> =
        printed.lines().filter(|line| !line.starts_with("N: ") && !line.contains(by_chance)).collect();
    assert_eq!(tags, [""; 0]);
}
