//! What a client sends along with a push reaches the ingesters, and each of them only what is for it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay_examples::client::{IngesterClient, Parts, ReadFailed, Tailing};
use forebay_examples::index::Span;
use forebay_examples::ingester::PushError;
use forebay_examples::labels::Labels;
use forebay_examples::logql::Matcher;
use forebay_examples::record::Record;
use forebay_examples::rpc::ingester_server;
use forebay_examples::wire::{Health, Pushed, Select, StreamVolume, Tail};
use forebay_tracing_ctx::{TraceServerLayer, context};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::lines::start_ns;
use crate::process::{Setup, free_port, text};
use crate::ring::announce;
use crate::wire;

/// An ingester that keeps the baggage of each push, and nothing else.
#[derive(Clone, Default)]
struct Keeps(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl IngesterClient for Keeps {
    async fn push(&self, _: Record) -> Result<Pushed, PushError> {
        let current = context::current().expect("a push is in a trace");
        self.0.lock().unwrap().push(current.baggage.as_str().to_owned());
        Ok(Pushed::default())
    }

    async fn select(&self, _: Select) -> Result<Parts, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn tail(&self, _: Tail) -> Result<Tailing, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn series(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<Labels>, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn volume(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<StreamVolume>, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn flush(&self) -> Result<(), ReadFailed> {
        Ok(())
    }

    async fn health(&self) -> Result<Health, ReadFailed> {
        Ok(Health::default())
    }
}

impl Keeps {
    /// Where it is called `id`.
    async fn start(&self, id: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder()
            .layer(TraceServerLayer::new())
            .add_service(ingester_server(id, Arc::new(self.clone())));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

#[tokio::test]
async fn the_baggage_of_a_push_reaches_the_ingester_and_does_not_stay_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let ingester = Keeps::default();
    announce(dir.path(), "a", &ingester.start("a").await).await;
    let nobody = format!("127.0.0.1:{}", free_port());
    let arguments = ["--target", "distributor", "--replication-factor", "1", "--index", &nobody];
    let distributor = Setup::new(dir.path()).arguments(&arguments).start().await;
    let line = json!({"streams": [{"stream": {"app": "t"}, "values": [[start_ns().to_string(), "x"]]}]});
    for baggage in [&["user=s%C3%B8k;p"][..], &[], &["a=1", "b=2"]] {
        let mut fields = vec![("content-type", "application/json")];
        fields.extend(baggage.iter().map(|field| ("baggage", *field)));
        let response =
            wire::post(&distributor.address, "/loki/api/v1/push", &fields, &line.to_string()).await;
        assert_eq!(response.status(), 204, "{}", response.body);
    }
    assert_eq!(*ingester.0.lock().unwrap(), ["user=s%C3%B8k;p", "", "a=1,b=2"]);
}

#[tokio::test]
async fn an_ingester_does_not_stand_in_for_others_that_are_said_to_be_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ingester = Keeps::default();
    let address = ingester.start("a").await;
    for id in ["a", "b", "c"] {
        announce(dir.path(), id, &address).await;
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let arguments = ["--target", "distributor", "--replication-factor", "3", "--index", &nobody];
    let distributor = Setup::new(dir.path()).arguments(&arguments).start().await;
    let line = json!({"streams": [{"stream": {"app": "t"}, "values": [[start_ns().to_string(), "x"]]}]});
    let response = distributor.push(&line).await;
    let told = text(&response);
    assert_eq!(response.status, 503, "{told}");
    assert!(told.contains("is for ingester") && told.contains("\"a\" is here"), "{told}");
    assert_eq!(ingester.0.lock().unwrap().len(), 1, "its own copy");
}
