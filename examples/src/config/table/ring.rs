//! The names that say how the ingesters know of each other.

use forebay_tenant::yaml::Status::{Recognised, Used};
use forebay_tenant::yaml::{Error, Node, Table, Warning};

use super::{Set, path, port, positive_count, positive_duration, replication_factor, scalar, text};
use crate::config::{Config, Lifecycler, Ring, Store};

fn life(config: &mut Config) -> &mut Lifecycler {
    &mut config.ingester.lifecycler
}

fn ring(config: &mut Config) -> &mut Ring {
    &mut config.ingester.lifecycler.ring
}

pub(super) static LIFECYCLER: Table<Set> = Table::new(&[
    ("address", Used(|c, n, _| scalar(&mut life(c).address, n, text))),
    ("availability_zone", Used(|c, n, _| scalar(&mut c.common.instance_availability_zone, n, text))),
    ("enable_inet6", Recognised),
    ("final_sleep", Used(|c, n, _| scalar(&mut life(c).final_sleep, n, Node::duration))),
    ("heartbeat_period", Used(|c, n, _| scalar(&mut life(c).heartbeat_period, n, positive_duration))),
    ("heartbeat_timeout", Used(|c, n, _| scalar(&mut ring(c).heartbeat_timeout, n, positive_duration))),
    ("id", Used(|c, n, _| scalar(&mut c.common.instance_id, n, text))),
    ("interface_names", Recognised),
    ("join_after", Used(|c, n, _| scalar(&mut life(c).join_after, n, Node::duration))),
    ("min_ready_duration", Used(|c, n, _| scalar(&mut life(c).min_ready_duration, n, Node::duration))),
    ("num_tokens", Used(|c, n, _| scalar(&mut life(c).num_tokens, n, tokens))),
    ("observe_period", Used(|c, n, _| scalar(&mut life(c).observe_period, n, Node::duration))),
    ("port", Used(|c, n, _| scalar(&mut life(c).port, n, port))),
    ("readiness_check_ring_health", Recognised),
    ("ring", Used(|c, n, w| n.fields(&RING, w, |set, n, w| set(c, n, w)))),
    ("tokens_file_path", Used(|c, n, _| scalar(&mut life(c).tokens_file_path, n, |n| path(n).map(Some)))),
    ("unregister_on_shutdown", Used(|c, n, _| scalar(&mut life(c).unregister_on_shutdown, n, Node::bool))),
]);

static RING: Table<Set> = Table::new(&[
    ("excluded_zones", Recognised),
    ("heartbeat_timeout", Used(|c, n, _| scalar(&mut ring(c).heartbeat_timeout, n, positive_duration))),
    ("kvstore", Used(|c, n, w| n.fields(&KVSTORE, w, |set, n, w| set(c, n, w)))),
    ("replication_factor", Used(|c, n, _| scalar(&mut c.common.replication_factor, n, replication_factor))),
    ("zone_awareness_enabled", Used(|c, n, _| scalar(&mut ring(c).zone_awareness_enabled, n, Node::bool))),
]);

/// Of what `common.ring` says.
pub(super) static COMMON_RING: Table<Set> = Table::new(&[
    ("excluded_zones", Recognised),
    ("heartbeat_period", Used(|c, n, _| scalar(&mut life(c).heartbeat_period, n, positive_duration))),
    ("heartbeat_timeout", Used(|c, n, _| scalar(&mut ring(c).heartbeat_timeout, n, positive_duration))),
    ("instance_addr", Used(|c, n, _| scalar(&mut life(c).address, n, text))),
    ("instance_availability_zone", Used(|c, n, _| scalar(&mut c.common.instance_availability_zone, n, text))),
    ("instance_enable_ipv6", Recognised),
    ("instance_id", Used(|c, n, _| scalar(&mut c.common.instance_id, n, text))),
    ("instance_interface_names", Recognised),
    ("instance_port", Used(|c, n, _| scalar(&mut life(c).port, n, port))),
    ("kvstore", Used(|c, n, w| n.fields(&KVSTORE, w, |set, n, w| set(c, n, w)))),
    ("tokens_file_path", Recognised),
    ("zone_awareness_enabled", Used(|c, n, _| scalar(&mut ring(c).zone_awareness_enabled, n, Node::bool))),
]);

static KVSTORE: Table<Set> = Table::new(&[
    ("consul", Recognised),
    ("etcd", Used(|c, n, w| n.fields(&ETCD, w, |set, n, w| set(c, n, w)))),
    ("file", Used(|c, n, w| n.fields(&FILE, w, |set, n, w| set(c, n, w)))),
    ("multi", Recognised),
    ("prefix", Used(|c, n, _| scalar(&mut ring(c).kvstore.prefix, n, text))),
    ("store", Used(|c, n, _| scalar(&mut ring(c).kvstore.store, n, |n| store(n).map(Some)))),
]);

static ETCD: Table<Set> = Table::new(&[
    ("dial_timeout", Recognised),
    (
        "endpoints",
        Used(|c, n, w| {
            ring(c).kvstore.etcd.endpoints = n.items(w, |item, _| endpoint(item))?;
            Ok(())
        }),
    ),
    ("max_retries", Recognised),
    ("password", Recognised),
    ("tls_ca_path", Recognised),
    ("tls_cert_path", Recognised),
    ("tls_cipher_suites", Recognised),
    ("tls_enabled", Recognised),
    ("tls_insecure_skip_verify", Recognised),
    ("tls_key_path", Recognised),
    ("tls_min_version", Recognised),
    ("tls_server_name", Recognised),
    ("username", Recognised),
]);

static FILE: Table<Set> =
    Table::new(&[("dir", Used(|c, n, _| scalar(&mut ring(c).kvstore.file.dir, n, |n| path(n).map(Some))))]);

pub(super) static MEMBERLIST: Table<Set> = Table::new(&[
    ("abort_if_cluster_join_fails", Recognised),
    ("abort_if_fast_join_fails", Recognised),
    ("acquire_writer_timeout", Recognised),
    ("advertise_addr", Used(|c, n, _| scalar(&mut c.memberlist.advertise_addr, n, text))),
    ("advertise_port", Used(|c, n, _| scalar(&mut c.memberlist.advertise_port, n, port))),
    (
        "bind_addr",
        Used(|c, n, w| {
            c.memberlist.bind_addr = bind_addr(n, w)?;
            Ok(())
        }),
    ),
    ("bind_port", Used(|c, n, _| scalar(&mut c.memberlist.bind_port, n, known_port))),
    ("broadcast_timeout_for_local_updates_on_shutdown", Recognised),
    ("cluster_label", Used(|c, n, _| scalar(&mut c.memberlist.cluster_label, n, text))),
    ("cluster_label_verification_disabled", Recognised),
    ("compression_enabled", Recognised),
    ("dead_node_reclaim_time", Recognised),
    ("gossip_interval", Used(|c, n, _| scalar(&mut c.memberlist.gossip_interval, n, positive_duration))),
    ("gossip_nodes", Recognised),
    ("gossip_to_dead_nodes_time", Recognised),
    (
        "join_members",
        Used(|c, n, w| {
            c.memberlist.join_members = n.items(w, |item, _| member(item))?;
            Ok(())
        }),
    ),
    ("leave_timeout", Recognised),
    ("left_ingesters_timeout", Recognised),
    ("max_concurrent_writes", Recognised),
    ("max_join_backoff", Recognised),
    ("max_join_retries", Recognised),
    ("message_history_buffer_bytes", Recognised),
    ("min_join_backoff", Recognised),
    ("node_name", Used(|c, n, _| scalar(&mut c.memberlist.node_name, n, text))),
    ("notify_interval", Recognised),
    ("obsolete_entries_timeout", Recognised),
    ("packet_dial_timeout", Recognised),
    ("packet_write_timeout", Recognised),
    ("pull_push_interval", Recognised),
    ("randomize_node_name", Recognised),
    ("rejoin_interval", Recognised),
    ("retransmit_factor", Recognised),
    ("stream_timeout", Recognised),
    ("tls_ca_path", Recognised),
    ("tls_cert_path", Recognised),
    ("tls_cipher_suites", Recognised),
    ("tls_enabled", Recognised),
    ("tls_insecure_skip_verify", Recognised),
    ("tls_key_path", Recognised),
    ("tls_min_version", Recognised),
    ("tls_server_name", Recognised),
]);

/// Two of them under the names that Loki has, too.
fn store(node: &Node) -> Result<Store, Error> {
    match node.str()? {
        "memory" | "inmemory" => Ok(Store::Memory),
        "file" => Ok(Store::File),
        "etcd" => Ok(Store::Etcd),
        "gossip" | "memberlist" => Ok(Store::Gossip),
        _ => Err(node.expected("memory, file, etcd or gossip")),
    }
}

fn tokens(node: &Node) -> Result<usize, Error> {
    let most = forebay_ring::MAX_TOKENS_PER_INSTANCE;
    let count = positive_count(node).ok().filter(|count| *count <= most);
    count.ok_or_else(|| node.expected(format!("a count of 1 to {most}")))
}

fn endpoint(node: &Node) -> Result<String, Error> {
    let text = node.str()?;
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Option<http::Uri> = url.parse().ok();
    let is_one =
        uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some());
    if is_one { Ok(url) } else { Err(node.expected("an address such as http://10.0.0.1:2379")) }
}

/// A host, with a port or without.
fn member(node: &Node) -> Result<String, Error> {
    let text = node.str()?;
    let is_one = match text.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && (port.parse::<u16>().is_ok() || is_v6(text)),
        None => !text.is_empty(),
    };
    if is_one { Ok(text.to_owned()) } else { Err(node.expected("an address such as 10.0.0.1:7946")) }
}

fn is_v6(host: &str) -> bool {
    host.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Others are told it before it is bound.
fn known_port(node: &Node) -> Result<u16, Error> {
    port(node).ok().filter(|port| *port > 0).ok_or_else(|| node.expected("a port of 1 to 65535"))
}

/// Loki has a list of them.
fn bind_addr(node: &Node, warnings: &mut Vec<Warning>) -> Result<String, Error> {
    if let Ok(address) = node.str() {
        return Ok(address.to_owned());
    }
    let addresses = node.items(warnings, |item, _| text(item))?;
    <[String; 1]>::try_from(addresses).map(|[one]| one).map_err(|_| node.expected("one address"))
}
