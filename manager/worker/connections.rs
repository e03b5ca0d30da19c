//! How a worker opens, greets and loses its connections.

use std::io;
use std::time::Duration;

use crate::system::clock;
use crate::worker::messages::WorkerMessage;
use crate::worker::serve::Worker;
use crate::worker::session::{ConnectAttempt, DownReport, describe};

impl Worker {
    /// Starts the connection attempts that are due, and greets the servers of those that have succeeded.
    pub(super) fn connect(&mut self, now: Duration) {
        if self.draining.is_some() || !self.startup.may_connect {
            return;
        }
        for server in 0..self.sessions.len() {
            match self.sessions[server].connect(now, &self.limits) {
                ConnectAttempt::Underway => {}
                ConnectAttempt::Failed(reason) => self.report_down(server, reason),
                ConnectAttempt::Made => self.establish(server, now),
            }
        }
    }

    fn establish(&mut self, server: usize, now: Duration) {
        self.connections += 1;
        let number = self.connections;
        match self.sessions[server].establish(number, &self.id, now, &self.limits, &self.runner.scoreboard) {
            Ok(connection) => {
                self.manager_link.send_with_fd(&WorkerMessage::Connection { number, server }, connection.socket())
            }
            Err(error) => self.lose(server, &describe(&error)),
        }
    }

    pub(super) fn greeted(&mut self, server: usize) {
        let now = clock::now();
        self.sessions[server].mark_up(now);
        self.manager_link.send(&WorkerMessage::ServerUp { server });
        self.startup.readiness.begins(now);
    }

    /// Drops the connection after sending or receiving failed.
    pub(super) fn check(&mut self, server: usize, result: io::Result<()>) {
        if let Err(error) = result {
            self.lose(server, &describe(&error));
        }
    }

    /// A server accepted the connection but does not answer the greeting. Reported to the manager each time, because
    /// only the manager knows whether the server answers other workers.
    pub(super) fn report_unresponsive(&mut self, server: usize, reason: &str) {
        self.manager_link.send(&WorkerMessage::ServerUnresponsive { server });
        self.lose(server, reason);
    }

    /// Closes a connection, and reports it to the manager.
    pub(super) fn lose(&mut self, server: usize, reason: &str) {
        // A job may have closed it, but that can be told only if it was the only job in hand.
        self.prefetch.start_over();
        self.disconnect(server, clock::now());
        self.report_down(server, reason.to_owned());
    }

    fn report_down(&mut self, server: usize, reason: String) {
        match self.sessions[server].mark_down() {
            DownReport::Down => self.manager_link.send(&WorkerMessage::ServerDown { server, reason }),
            DownReport::StillDown => {
                self.manager_link.try_send(&WorkerMessage::ServerStillDown { server, reason });
            }
            DownReport::Nothing => {}
        }
    }
}
