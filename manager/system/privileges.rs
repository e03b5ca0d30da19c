//! Changes from root to the user the manager runs as (`-u`), irreversibly.

use std::ffi::{CStr, CString};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{
    Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups, getresgid, getresuid, initgroups, setegid, seteuid,
    setgid, setgroups, setuid,
};

/// A user to run as: it exists, and this process may change to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunUser {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Why the manager cannot run as a user. The first two are mistakes in the command or the configuration, found before
/// anything starts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegeError {
    /// The user database has no such user.
    #[error("there is no user {name:?} to run as (-u); create it, or name another")]
    UnknownUser { name: String },
    /// Only root may change to another user.
    #[error(
        "cannot run as user {name:?} (-u): that takes root, and this is uid {euid}; start as root, or leave it out"
    )]
    NotRoot { name: String, euid: Uid },
    /// A step failed. The process may have changed in part: it has to end.
    #[error("cannot run as user {name:?} (-u): {step}: {}", .errno.desc())]
    Step {
        name: String,
        /// The system call.
        step: &'static str,
        errno: Errno,
    },
    /// Root's rights did not come back after something was tried as that user. The process has to end.
    #[error("tried what user {name:?} (-u) may do, and could not become root again; refusing to go on")]
    NoWayBack { name: String },
    /// All steps succeeded, and yet some of the old rights are left. The process has to end.
    #[error("running as user {name:?} (-u), yet {left}; refusing to go on")]
    WayBack { name: String, left: &'static str },
}

impl RunUser {
    /// Looks up a user. May block as long as the machine's user database does (LDAP).
    ///
    /// # Errors
    ///
    /// There is no such user, or this process is neither root nor that user.
    pub(crate) fn lookup(name: &str) -> Result<Self, PrivilegeError> {
        let unknown = || PrivilegeError::UnknownUser { name: name.into() };
        let found = User::from_name(name)
            .map_err(|errno| PrivilegeError::Step { name: name.into(), step: "looking it up", errno })?
            .ok_or_else(unknown)?;
        let euid = geteuid();
        if !euid.is_root() && euid != found.uid {
            return Err(PrivilegeError::NotRoot { name: name.into(), euid });
        }
        Ok(Self { name: name.into(), uid: found.uid, gid: found.gid })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uid(&self) -> Uid {
        self.uid
    }

    /// The id of the user's primary group.
    pub(crate) fn gid(&self) -> Gid {
        self.gid
    }

    /// Does something with the user's rights, then changes back and verifies it. If we are that user already, only does
    /// it. Call it before there are other threads: rights belong to the process.
    ///
    /// # Errors
    ///
    /// A step fails, there or back. The process has to end then, since it may have changed in part.
    pub(crate) fn try_out<T>(&self, act: impl FnOnce() -> T) -> Result<T, PrivilegeError> {
        if !geteuid().is_root() {
            return Ok(act());
        }
        let step = |step| move |errno| PrivilegeError::Step { name: self.name.clone(), step, errno };
        let name = CString::new(self.name.as_str()).map_err(|_| step("its name")(Errno::EINVAL))?;
        let (groups, gid) = (getgroups().map_err(step("getgroups"))?, getegid());
        initgroups(&name, self.gid).map_err(step("initgroups"))?;
        setegid(self.gid).map_err(step("setegid"))?;
        seteuid(self.uid).map_err(step("seteuid"))?;
        let done = act();
        // The user first: only root may change back the groups.
        seteuid(Uid::from_raw(0)).map_err(step("seteuid(root)"))?;
        setegid(gid).map_err(step("setegid, back"))?;
        setgroups(&groups).map_err(step("setgroups, back"))?;
        let back = geteuid().is_root() && getegid() == gid;
        if !back || getgroups().map(sorted) != Ok(sorted(groups)) {
            return Err(PrivilegeError::NoWayBack { name: self.name.clone() });
        }
        Ok(done)
    }

    /// Becomes the user for good: supplementary groups, group, user, then verifies that there is no way back, then sets
    /// `no_new_privs`, so that no set-uid program helps either. If we are that user already, does only the last two.
    ///
    /// Call it before there are other threads, which would keep their own `no_new_privs`. The kernel makes the process
    /// undumpable at this step: no core files of the manager, which has seen root's data.
    ///
    /// # Errors
    ///
    /// A step fails, or some of the old rights are left. The process has to end then.
    pub(crate) fn drop_privileges(&self) -> Result<(), PrivilegeError> {
        let step = |step| move |errno| PrivilegeError::Step { name: self.name.clone(), step, errno };
        let name = CString::new(self.name.as_str()).map_err(|_| step("its name")(Errno::EINVAL))?;
        if geteuid().is_root() {
            // In this order: each step needs the rights the next one gives up.
            initgroups(&name, self.gid).map_err(step("initgroups"))?;
            setgid(self.gid).map_err(step("setgid"))?;
            setuid(self.uid).map_err(step("setuid"))?;
            self.prove_groups(&name)?;
        }
        self.prove_user()?;
        prctl::set_no_new_privs().map_err(step("prctl(PR_SET_NO_NEW_PRIVS)"))
    }

    /// Verifies that all groups are the user's and none is root's.
    fn prove_groups(&self, name: &CStr) -> Result<(), PrivilegeError> {
        let unreadable = |_| self.way_back("its groups cannot be read");
        let gids = getresgid().map_err(unreadable)?;
        if [gids.real, gids.effective, gids.saved] != [self.gid; 3] {
            return Err(self.way_back("a group id is another one's"));
        }
        let groups = sorted(getgroups().map_err(unreadable)?);
        if groups != sorted(getgrouplist(name, self.gid).map_err(unreadable)?) {
            return Err(self.way_back("its supplementary groups are not that user's"));
        }
        Ok(())
    }

    /// Verifies that all user ids are the user's, and that the ways back to root are closed.
    fn prove_user(&self) -> Result<(), PrivilegeError> {
        let uids = getresuid().map_err(|_| self.way_back("its user ids cannot be read"))?;
        if [uids.real, uids.effective, uids.saved] != [self.uid; 3] {
            return Err(self.way_back("a user id is another one's"));
        }
        let root = Uid::from_raw(0);
        // When asked to run as root there is nothing to come back to.
        if self.uid != root && (setuid(root).is_ok() || seteuid(root).is_ok()) {
            return Err(self.way_back("it could become root again"));
        }
        Ok(())
    }

    fn way_back(&self, left: &'static str) -> PrivilegeError {
        PrivilegeError::WayBack { name: self.name.clone(), left }
    }
}

fn sorted(mut groups: Vec<Gid>) -> Vec<Gid> {
    groups.sort_by_key(|gid| gid.as_raw());
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system::reexec;

    #[test]
    fn an_unknown_user_is_named() {
        let error = RunUser::lookup("no-such-user-here").unwrap_err();
        let text = "there is no user \"no-such-user-here\" to run as (-u); create it, or name another";
        assert_eq!(error.to_string(), text);
        assert!(matches!(RunUser::lookup("nul\0inside").unwrap_err(), PrivilegeError::UnknownUser { .. }));
    }

    /// A field of this thread's status (a test is not the main thread).
    fn status(field: &str) -> Vec<String> {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn root_becomes_nobody_irrevocably() {
        if !reexec::is_root_child("system::privileges::tests::root_becomes_nobody_irrevocably") {
            return;
        }
        let user = RunUser::lookup("nobody").unwrap();
        user.drop_privileges().unwrap();
        assert_eq!(status("Uid"), vec![user.uid().to_string(); 4]);
        assert_eq!(status("Gid"), vec![user.gid().to_string(); 4]);
        assert!(!status("Groups").contains(&"0".to_owned()), "root's groups are gone");
        assert_eq!(status("NoNewPrivs"), ["1"]);
        for capabilities in ["CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(capabilities), ["0000000000000000"]);
        }
        assert!(fs::read("/etc/shadow").is_err());
        // The same user again is fine, another one is not.
        user.drop_privileges().unwrap();
        let error = RunUser::lookup("root").unwrap_err();
        assert!(error.to_string().contains("that takes root, and this is uid"), "{error}");
        assert!(matches!(RunUser::lookup("no-such-user-here"), Err(PrivilegeError::UnknownUser { .. })));
    }

    #[test]
    fn root_tries_what_nobody_may_do_and_becomes_root_again() {
        if !reexec::is_root_child("system::privileges::tests::root_tries_what_nobody_may_do_and_becomes_root_again") {
            return;
        }
        let all = || ["Uid", "Gid", "Groups", "CapEff"].map(status);
        let before = all();
        let user = RunUser::lookup("nobody").unwrap();
        let (there, shadow) = user.try_out(|| (all(), fs::read("/etc/shadow"))).unwrap();
        assert_eq!((&there[0][1], &there[1][1]), (&user.uid().to_string(), &user.gid().to_string()));
        assert!(shadow.is_err() && !there[2].contains(&"0".to_owned()), "{there:?}");
        assert_eq!(all(), before);
    }

    #[test]
    fn a_way_back_is_found() {
        if !reexec::is_root_child("system::privileges::tests::a_way_back_is_found") {
            return;
        }
        // Only the effective id is another's: the saved one is still root's.
        let user = RunUser::lookup("nobody").unwrap();
        seteuid(user.uid()).unwrap();
        let error = user.prove_user().unwrap_err();
        assert!(error.to_string().contains("a user id is another one's"), "{error}");
        seteuid(Uid::from_raw(0)).unwrap();
    }
}
