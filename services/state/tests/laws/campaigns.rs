//! Laws of the number of campaigns: no caller takes the places of others.

use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::core::v1::CampaignRequest;
use krake_proto::krake::core::v1::leadership_service_client::LeadershipServiceClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::leadership::{Campaign, LONG, request};
use crate::support::server::Server;
use crate::support::{PATIENCE, memory};

/// Campaigns of one caller that a replica serves.
const OF_ONE_CALLER: usize = 64;

#[tokio::test]
async fn a_campaign_without_a_first_request_takes_no_place_from_others() {
    let one = Server::start(memory()).await;
    let mut silent = Vec::new();
    // More than one replica serves.
    for _ in 0..300 {
        let (requests, receiver) = mpsc::channel::<CampaignRequest>(1);
        let mut leadership = one.client.leadership();
        let call = tokio::spawn(async move { leadership.campaign(ReceiverStream::new(receiver)).await });
        silent.push((requests, call));
    }
    assert!(Campaign::start(&one.client, request("a", LONG)).await.answer().await.fence > 0);
    let (requests, call) = silent.pop().unwrap();
    drop(requests);
    let Err(ended) = timeout(PATIENCE, call).await.unwrap().unwrap() else { panic!("nothing was asked for") };
    assert_eq!(error::reason(&ended), Some(ErrorReason::InvalidField));
    silent.iter().for_each(|(_, call)| call.abort());
}

#[tokio::test]
async fn a_caller_with_as_many_campaigns_as_it_may_have_leaves_room_for_others() {
    let server = Server::start(memory()).await;
    let mut open = Vec::new();
    for number in 0..OF_ONE_CALLER {
        let holder = format!("holder-{number}");
        open.push(Campaign::open(&server.client, request(&holder, LONG)).await.unwrap());
    }
    let one_more = async || Campaign::open(&server.client, request("one-more", LONG)).await;
    let Err(refused) = one_more().await else { panic!("it is one too many") };
    assert_eq!(error::reason(&refused), Some(ErrorReason::TooManyCalls));
    assert!(refused.message().contains("64 campaigns from 127.0.0.1"), "{refused}");

    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    let elsewhere = endpoint.local_address(Some([127, 0, 0, 2].into())).connect().await.unwrap();
    let (requests, receiver) = mpsc::channel(1);
    let first = CampaignRequest { election: "another".into(), ..request("other", LONG) };
    requests.send(first).await.unwrap();
    let campaign = LeadershipServiceClient::new(elsewhere).campaign(ReceiverStream::new(receiver)).await;
    let answer = timeout(PATIENCE, campaign.unwrap().into_inner().message()).await.unwrap().unwrap();
    assert!(answer.unwrap().fence > 0, "another caller campaigns");

    open.pop();
    // The server learns of the end of a call some time after it.
    timeout(PATIENCE, async { while one_more().await.is_err() {} }).await.unwrap();
}
