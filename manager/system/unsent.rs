//! How much of what was sent to a peer it has received.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// How many bytes the peer has not acknowledged yet; 0 if the system does not say.
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int, to the given address.
    let returned = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if returned == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn what_a_peer_does_not_read_is_counted_until_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut there = listener.accept().unwrap().0;
        assert_eq!(unacknowledged(here.as_fd()), 0);
        here.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = here.write(&[0; 65_536]) {
            sent += count;
        }
        let before = unacknowledged(here.as_fd());
        assert!(before > 0 && before <= sent, "{before} of {sent}");
        there.read_exact(&mut vec![0; sent]).unwrap();
        assert_eq!(unacknowledged(here.as_fd()), 0);
    }
}
