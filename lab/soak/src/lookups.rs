//! Look-ups through the API: some of them during the flood, and one of every receipt in the end.

use std::{collections::HashSet, time::Duration};

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::{
    evidence::{Evidence, LookUp, Sent},
    run::{Owner, Phase, Run, http_client},
};

/// How many look-ups there are at once in the end.
const MAX_CONCURRENT: usize = 16;

/// How long the dead-letter recorder may take. It runs every minute.
const MAX_QUEUED: Duration = Duration::from_secs(180);

/// Looks up messages at random, for as long as there are faults: by receipt, by id, or as another owner.
pub(crate) async fn at_random(run: &Run, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let http = http_client();
    while run.is(Phase::Faults) {
        sleep(Duration::from_millis(chance.u64(10..100))).await;
        let Some(sent) = chance.choice(&run.evidence().sent).cloned() else { continue };
        let Some(accepted) = &sent.accepted else { continue };
        let owner = match chance.u32(0..8) {
            0 => chance.choice(&run.owners).expect("there are owners"),
            _ => run.owner(&sent.key.0),
        };
        let by_id = format!("/messages/{}", sent.key.1);
        let path = if chance.bool() { &by_id } else { &accepted.status_path };
        if let Some(found) = look_up(run, &http, owner, path).await {
            run.note_earlier(owner, found);
        }
    }
}

/// Looks up every receipt until none is queued any more, or for long enough. A late outcome can replace the record
/// of another request with the same id: the requests of that id are looked up again.
pub(crate) async fn all(run: &Run, say: &impl Fn(&str)) {
    let http = http_client();
    let end = Instant::now() + MAX_QUEUED;
    loop {
        let mut open: Vec<Sent> = {
            let Evidence { sent, outcomes, .. } = &*run.evidence();
            let accepted = || sent.iter().filter_map(|sent| Some((sent, outcomes.get(sent.receipt()?))));
            let is_open = |found: Option<&LookUp>| found.is_none_or(|found| found.outcome.status == "queued");
            let open: HashSet<_> =
                accepted().filter(|(_, found)| is_open(*found)).map(|(sent, _)| &sent.key).collect();
            accepted().map(|(sent, _)| sent).filter(|sent| open.contains(&sent.key)).cloned().collect()
        };
        if open.is_empty() || Instant::now() > end {
            return;
        }
        let total = open.len();
        let mut last = Instant::now();
        let mut looking_up = stream::iter(open.drain(..))
            .map(|sent| {
                let http = &http;
                async move {
                    let accepted = sent.accepted?;
                    let owner = run.owner(&sent.key.0);
                    let found = look_up(run, http, owner, &accepted.status_path).await?;
                    Some((owner, accepted.receipt, found))
                }
            })
            .buffer_unordered(MAX_CONCURRENT)
            .enumerate();
        while let Some((done, found)) = looking_up.next().await {
            if let Some((owner, receipt, found)) = found {
                let before = run.evidence().outcomes.insert(receipt, found);
                before.into_iter().for_each(|before| run.note_earlier(owner, before));
            }
            if last.elapsed() > Duration::from_secs(5) {
                last = Instant::now();
                say(&format!("looking up: {done} of {total}"));
            }
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// The response; none if there is none, or an error.
async fn look_up(run: &Run, http: &reqwest::Client, owner: &Owner, path: &str) -> Option<LookUp> {
    let request = http.get(format!("{}{path}", run.http_url)).bearer_auth(&owner.token);
    let response = request.send().await.ok()?.error_for_status().ok()?;
    let text = response.text().await.ok()?;
    Some(LookUp::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}
