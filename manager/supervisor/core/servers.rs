//! The job servers, as the workers see them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::{Action, Core};
use crate::config::HostPort;
use crate::supervisor::event::Event;
use crate::supervisor::reconcile::WorkerId;

/// One job server.
#[derive(Debug)]
pub struct Server {
    /// As configured.
    pub name: String,
    /// What its name resolved to last.
    pub addresses: Vec<SocketAddr>,
    /// Whether that is an address already, which nobody has to look up.
    literal: bool,
    pub(super) resolving: bool,
    up: BTreeSet<WorkerId>,
    said: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Up,
    Down,
}

impl Server {
    pub(super) fn new(host: &HostPort) -> Self {
        let address: Option<IpAddr> = host.host.parse().ok();
        Self {
            name: host.to_string(),
            addresses: address.map(|ip| SocketAddr::new(ip, host.port)).into_iter().collect(),
            literal: address.is_some(),
            resolving: address.is_none(),
            up: BTreeSet::new(),
            said: Said::Nothing,
        }
    }

    /// Workers connected to it.
    pub fn workers(&self) -> usize {
        self.up.len()
    }

    /// Whether it is known not to answer.
    pub fn is_down(&self) -> bool {
        self.said == Said::Down
    }
}

impl Core {
    /// The job servers, in the configured order.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub(super) fn server_up(&mut self, id: WorkerId, server: usize) {
        let known = self.workers.contains_key(&id);
        let Some(server) = self.servers.get_mut(server).filter(|_| known) else { return };
        server.up.insert(id);
        if server.said != Said::Up {
            server.said = Said::Up;
            let event = Event::ServerUp { server: server.name.clone() };
            self.tell(event);
        }
    }

    pub(super) fn server_down(&mut self, id: WorkerId, server: usize, reason: String) {
        let Some(server) = self.servers.get_mut(server) else { return };
        server.up.remove(&id);
        if server.up.is_empty() && server.said != Said::Down {
            server.said = Said::Down;
            let event = Event::ServerDown { server: server.name.clone(), reason };
            self.tell(event);
        }
    }

    /// A worker is gone: its connections say nothing any more.
    pub(super) fn forget_connections(&mut self, id: WorkerId) {
        for server in &mut self.servers {
            server.up.remove(&id);
        }
    }

    pub(super) fn resolved(&mut self, number: usize, result: Result<Vec<SocketAddr>, String>) {
        let Some(server) = self.servers.get_mut(number) else { return };
        server.resolving = false;
        match result {
            Ok(addresses) if addresses != server.addresses => {
                server.addresses.clone_from(&addresses);
                let all: Vec<WorkerId> = self.workers.keys().copied().collect();
                all.into_iter().for_each(|id| self.do_next(Action::Addresses(id, number, addresses.clone())));
            }
            Ok(_) => {}
            Err(reason) if server.said != Said::Down && server.up.is_empty() => {
                server.said = Said::Down;
                let event = Event::ServerDown { server: server.name.clone(), reason };
                self.tell(event);
            }
            Err(_) => {}
        }
    }

    /// A name that leads nowhere may lead somewhere else by now.
    pub(super) fn look_up_again(&mut self) {
        let due = |server: &Server| !server.literal && !server.resolving && server.up.is_empty();
        let due: Vec<usize> = (0..self.servers.len()).filter(|n| due(&self.servers[*n])).collect();
        for number in due {
            self.servers[number].resolving = true;
            self.do_next(Action::Resolve(number));
        }
    }
}
