//! A machine on which a real systemd runs.

use crate::machine::Machine;
use crate::support::build::BUILD_DEADLINE;

/// Starts systemd with what a service needs and no more: nothing of this system's own services, and nothing that sets
/// something of the kernel. The script is a service, whose end is that of the machine.
const BOOT: &str = "mount --bind -o ro proc/sys proc/sys
umount -R dev
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do
    mknod -m 666 dev/$device c $(stat -c '0x%t 0x%T' /dev/$device)
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount --rbind /sys sys
umount -R sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
rm -rf etc/systemd/system/* lib/systemd/system/*.wants
mkdir lib/systemd/system/sysinit.target.wants
ln -s ../systemd-journald.service lib/systemd/system/sysinit.target.wants
cat > etc/systemd/system/script.service <<'END'
[Unit]
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart=/bin/sh /root/script
StandardOutput=file:/root/out
StandardError=inherit
END
touch root/out
mount --bind /proc/self/fd/8 root/out
mkdir -p mnt/outside
pivot_root . mnt/outside
cd /
umount -l mnt/outside
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=script.service --log-target=journal
";

/// A machine with systemd, unless it is missing here.
pub fn machine(programs: &[&str]) -> Option<Machine> {
    let all: Vec<&str> = programs.iter().copied().chain(["/lib/systemd/systemd", "mknod"]).collect();
    Machine::with(&all)
}

/// Runs a script there as root, to its end, which must be a success; what it prints.
#[track_caller]
pub fn succeed(machine: &Machine, script: &str) -> String {
    let done = machine.start(BOOT, script, BUILD_DEADLINE);
    let printed = machine.printed();
    assert!(done.status.success(), "{script}\n{printed}\n{}{}", done.out(), done.err());
    printed
}
