//! What the adapter relies on of an API server, request by request.

mod apply;
mod current;
mod kinds;
mod lists;
mod objects;
mod validation;
mod watches;
mod workloads;

use crate::columns::columns;
use crate::report;

#[tokio::test(flavor = "multi_thread")]
async fn api_servers_answer_alike() {
    let columns = columns().await;
    let cases = [
        objects::cases(),
        apply::cases(),
        lists::cases(),
        watches::cases(),
        kinds::cases(),
        current::cases(),
        workloads::cases(),
        validation::cases(),
    ];
    report::run(&columns, &cases.into_iter().flatten().collect::<Vec<_>>()).await;
}
