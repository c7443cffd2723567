//! The end of a seed: nothing is amiss any more, everybody is up, and after a while all is as if nothing had been.

use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_ring::{Operation, State};

use super::client::{Client, Weather};
use super::node::{Node, TOKENS};
use super::world::{MOST_NODES, World};

impl World {
    pub(super) async fn settle(&mut self) {
        self.note("peace", 0);
        // One of which streams never come through, and one that begins late.
        let deaf = Client::new(&self.place, self.clients.len(), MOST_NODES);
        deaf.line.deaf.store(true, Ordering::Relaxed);
        self.mend_all();
        self.nodes.iter().for_each(|node| node.tell(|driver| driver.cancel_shutdown()));
        self.place.server.calm.store(true, Ordering::Relaxed);
        for round in 0..20 {
            // The last trouble: nothing that is written anew for another reason mends it.
            if round == 5 {
                self.lose_tokens(0).await;
            }
            for at in 0..self.nodes.len() {
                if !self.nodes[at].is_up() {
                    self.comes_back(at);
                }
            }
            self.pause(Duration::from_secs(4)).await;
        }
        self.clients[0] = Client::new(&self.place, 0, MOST_NODES);
        self.pause(Duration::from_secs(8)).await;
        let serves = |client: &Client, node: &Node| {
            let ring = client.ring();
            ring.instance(node.id())
                .is_some_and(|instance| instance.state == State::Active && instance.tokens.len() == TOKENS)
        };
        for (number, client) in self.clients.iter().chain([&deaf]).enumerate() {
            for node in &self.nodes {
                let (seed, id) = (self.seed, node.id());
                let shown = client.ring().instance(id).cloned();
                assert!(
                    serves(client, node),
                    "seed {seed}: after all client {number} sees {id} as {shown:?}"
                );
            }
        }
        for client in &self.clients {
            let ring = client.ring();
            assert!(self.nodes.iter().all(|node| ring.is_healthy(node.id(), Operation::READ)));
        }
        let went = self.write_and_read(Weather::Fair).await;
        assert!(went.iter().all(|&(wrote, read)| wrote && read), "seed {}: {went:?}", self.seed);
    }

    async fn pause(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.mend();
        self.look_after_nodes();
        self.write_and_read(Weather::Rough).await;
    }
}
