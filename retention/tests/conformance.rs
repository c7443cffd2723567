//! The stores of this crate pass the suites that every store must pass.

use forebay_retention::store::{MemoryChunks, MemoryState, conformance};

#[tokio::test]
async fn the_memory_state_conforms() {
    conformance::state_store(MemoryState::new).await;
}

#[tokio::test]
async fn the_memory_chunks_conform() {
    conformance::chunk_store(|chunks| {
        let store = MemoryChunks::new();
        chunks.iter().cloned().for_each(|chunk| store.insert(chunk));
        store
    })
    .await;
}
