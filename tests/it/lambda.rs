//! The example `connect_lambda`, run by a simulator of AWS Lambda, on the local endpoint and a DynamoDB in memory.
//!
//! The API that the function invokes itself with is a server of this file. It feeds the next part of the call to the
//! stream whenever a hop hands on, so that every hop has something to read.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as AttributeType,
};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use kinesis_video::local::{LocalEndpoint, LocalStream, Stamp, fragment_number};
use kinesis_video::{AudioStreamExt, FragmentStreamExt, KinesisVideo, RecordExt, Start, Timestamp, WavSink};
use lambda_simulator::process::{ManagedProcess, ProcessConfig, ProcessRole};
use lambda_simulator::{Invocation, InvocationState, InvocationStatus, Simulator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::programs::program_path;
use crate::support::conversation::{AudioFragment, START, audio_document, steady};
use crate::support::dynamo::Dynamo;
use crate::support::endpoint::{now_millis, unlimited};
use crate::support::files::file_names;

const CONTACT: &str = "4a573372-1f28-4e26-b97b-3f8b5d2a9e11";

/// The time of the contact's first sample.
const FIRST: u64 = START + 2 * 1024;

/// What Lambda does with one call of Invoke.
#[derive(Clone, Copy)]
enum Answer {
    /// The event is delivered to both sandboxes, with the same request id.
    Twice,
    /// The event is delivered, but the caller reads of a failure.
    ReplyLost,
    /// The event is lost, and the caller reads of a failure.
    Refused,
}

/// An account with one function, which runs in up to two sandboxes.
struct Cloud {
    endpoint: LocalEndpoint,
    stream: LocalStream,
    dynamo: Dynamo,
    folder: TempDir,
    lambda: String,
    timeout: Duration,
    reserve: Duration,
    sandboxes: [Simulator; 2],
    processes: Mutex<[Option<ManagedProcess>; 2]>,
    /// The parts of the call that were not sent yet.
    parts: Mutex<VecDeque<Vec<(u32, AudioFragment)>>>,
    /// The answers to the next calls of Invoke, by hop. Without one, the event is delivered once.
    answers: Mutex<HashMap<u64, VecDeque<Answer>>>,
    /// The hops of all calls of Invoke.
    invoked: Mutex<Vec<u64>>,
}

/// A call in three parts, with other contacts before and after it.
///
/// Its blocks jitter, overlap and are missing, and fragments at the edges of the parts have no contact id. So the place
/// of each sample depends on the samples of the parts before.
fn parts() -> VecDeque<Vec<(u32, AudioFragment)>> {
    let mut call = steady(Some(CONTACT), 2, 15);
    for (index, fragment) in call.iter_mut().enumerate() {
        if [4, 5, 10].contains(&index) {
            fragment.contact = None;
        }
        fragment.blocks.retain(|block| block.salt % 7 != index as u64 % 7 || index == 0);
        for (at, block) in fragment.blocks.iter_mut().enumerate().skip(2) {
            block.millis += [0, 8, 3, 7, 0][at / 2 % 5];
            block.millis -= if at % 9 == 0 { 20 } else { 0 };
        }
    }
    let all = steady(Some("before"), 0, 2).into_iter().chain(call).chain(steady(Some("after"), 17, 1));
    let all: Vec<_> = (0..).zip(all).collect();
    [&all[..7], &all[7..12], &all[12..]].map(<[_]>::to_vec).into()
}

impl Cloud {
    async fn start(timeout: Duration, reserve: Duration) -> Arc<Self> {
        let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cloud = Arc::new(Self {
            stream: endpoint.create_stream("calls"),
            endpoint,
            dynamo: Dynamo::start().await,
            folder: tempfile::tempdir().unwrap(),
            lambda: format!("http://{}", listener.local_addr().unwrap()),
            timeout,
            reserve,
            sandboxes: [Simulator::builder().build().await.unwrap(), Simulator::builder().build().await.unwrap()],
            processes: Mutex::default(),
            parts: Mutex::new(parts()),
            answers: Mutex::default(),
            invoked: Mutex::default(),
        });
        let of_hop = |name, kind| AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
        let key = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let table = cloud.dynamo.client().create_table().table_name("calls").billing_mode(BillingMode::PayPerRequest);
        table
            .attribute_definitions(of_hop("call", AttributeType::S).unwrap())
            .attribute_definitions(of_hop("hop", AttributeType::N).unwrap())
            .key_schema(key("call", KeyType::Hash).unwrap())
            .key_schema(key("hop", KeyType::Range).unwrap())
            .send()
            .await
            .unwrap();
        let invoked = Arc::clone(&cloud);
        let invoke = move |headers: HeaderMap, body: Bytes| {
            let cloud = Arc::clone(&invoked);
            async move { cloud.invoke(&headers, &body).await }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(invoke)).await.unwrap() });
        cloud.push_part();
        cloud.spawn(0);
        cloud.spawn(1);
        cloud
    }

    /// Starts the function's process in a sandbox. A process that is there is killed.
    fn spawn(&self, sandbox: usize) {
        let program = ProcessConfig::new(program_path("connect_lambda"), ProcessRole::Runtime)
            .env("AWS_ENDPOINT_URL", self.endpoint.url())
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.dynamo.url())
            .env("AWS_ENDPOINT_URL_LAMBDA", &self.lambda)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_REGION", "us-west-2")
            .env("TABLE", "calls")
            .env("FOLDER", self.folder.path().to_str().unwrap())
            .env("RESERVE_SECONDS", self.reserve.as_secs().to_string())
            .inherit_stdio(false);
        let process = self.sandboxes[sandbox].spawn_process_with_config(program).unwrap();
        self.processes.lock().unwrap()[sandbox] = Some(process);
    }

    /// Kills the process of a sandbox, without a warning.
    fn kill(&self, sandbox: usize) {
        let mut process = self.processes.lock().unwrap()[sandbox].take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn push_part(&self) {
        for (index, fragment) in self.parts.lock().unwrap().pop_front().unwrap_or_default() {
            let millis = START + u64::from(index) * 1024;
            let time = |millis: u64| Timestamp::from_millis(millis as i64);
            let number = fragment_number(index + 1, millis);
            let stamp = Stamp { number, server_time: time(millis + 300), producer_time: time(millis) };
            self.stream.push_stamped(&audio_document(&fragment), stamp);
        }
    }

    /// The API Invoke.
    async fn invoke(self: Arc<Self>, headers: &HeaderMap, body: &Bytes) -> (StatusCode, &'static str) {
        let event: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(headers["x-amz-invocation-type"], "Event");
        let hop = event["hop"].as_u64().unwrap();
        let is_first = !self.invoked.lock().unwrap().contains(&hop);
        self.invoked.lock().unwrap().push(hop);
        if hop > 0 && is_first {
            self.push_part();
        }
        let answer = self.answers.lock().unwrap().get_mut(&hop).and_then(VecDeque::pop_front);
        if !matches!(answer, Some(Answer::Refused)) {
            let invocation = Invocation::new(event, self.timeout.as_millis() as u64);
            self.deliver(0, invocation.clone()).await;
            if matches!(answer, Some(Answer::Twice)) {
                self.deliver(1, invocation).await;
            }
        }
        match answer {
            Some(Answer::ReplyLost | Answer::Refused) => (StatusCode::SERVICE_UNAVAILABLE, "{}"),
            Some(Answer::Twice) | None => (StatusCode::ACCEPTED, ""),
        }
    }

    /// Delivers an event to a sandbox. As Lambda does, repeats it twice with the same request id if the function fails.
    async fn deliver(self: &Arc<Self>, sandbox: usize, invocation: Invocation) {
        let cloud = Arc::clone(self);
        let mut invocation = invocation;
        self.sandboxes[sandbox].enqueue(invocation.clone()).await;
        tokio::spawn(async move {
            for _ in 0..2 {
                let state = cloud.completed(sandbox, &invocation.request_id).await;
                if state.status != InvocationStatus::Error {
                    break;
                }
                invocation = cloud.again(&invocation);
                cloud.sandboxes[sandbox].enqueue(invocation.clone()).await;
            }
        });
    }

    /// Returns the invocation with a new deadline.
    fn again(&self, invocation: &Invocation) -> Invocation {
        let fresh = Invocation::new(invocation.payload.clone(), self.timeout.as_millis() as u64);
        let id = &invocation.request_id;
        Invocation { request_id: id.clone(), aws_request_id: id.clone(), ..fresh }
    }

    /// Waits until an invocation has ended, at most a minute.
    async fn completed(&self, sandbox: usize, request: &str) -> InvocationState {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let state = self.sandboxes[sandbox].get_invocation_state(request).await.unwrap();
            if !matches!(state.status, InvocationStatus::Pending | InvocationStatus::InProgress) {
                return state;
            }
            assert!(Instant::now() < end, "the invocation {request} did not end");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The event that Connect sends, with what else is in it.
    fn connect_event(&self) -> Value {
        let audio = json!({
            "StartFragmentNumber": fragment_number(3, FIRST).to_string(),
            "StartTimestamp": FIRST.to_string(),
            "StreamARN": self.stream.arn(),
        });
        json!({
            "Details": {
                "ContactData": {
                    "Attributes": {}, "Channel": "VOICE", "ContactId": CONTACT,
                    "CustomerEndpoint": { "Address": "+1234567890", "Type": "TELEPHONE_NUMBER" },
                    "MediaStreams": { "Customer": { "Audio": audio } },
                    "Queue": null,
                },
                "Parameters": {},
            },
            "Name": "ContactFlowEvent",
        })
    }

    fn connect(&self) -> Invocation {
        Invocation::new(self.connect_event(), self.timeout.as_millis() as u64)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{CONTACT}-{FIRST}.wav"))
    }

    /// The results of all invocations that have succeeded.
    async fn results(&self) -> Vec<Value> {
        let mut results = Vec::new();
        for sandbox in &self.sandboxes {
            let states = sandbox.get_all_invocation_states().await;
            results.extend(states.into_iter().filter_map(|state| Some(state.response?.payload["result"].clone())));
        }
        results
    }

    /// Waits for the WAV file, and compares it with the one that the library writes of the whole call.
    async fn check_file(&self) {
        wait(async || self.file().exists().then_some(())).await;
        let dir = tempfile::tempdir().unwrap();
        let expected = dir.path().join("expected.wav");
        let kvs = KinesisVideo::new(&self.endpoint.sdk_config());
        let live = kvs.live("calls").start(Start::ProducerTime(Timestamp::from_millis(FIRST as i64)));
        let audio = live.fragments().connect_audio().contact(CONTACT);
        audio.stereo().record(WavSink::create(&expected)).await.unwrap();
        let (samples, wanted) = (samples(&self.file()), samples(&expected));
        assert!(wanted.len() > 14 * 8192 * 2, "{}", wanted.len());
        assert_eq!(samples.len(), wanted.len());
        let different = samples.iter().zip(&wanted).position(|(sample, wanted)| sample != wanted);
        assert_eq!(different, None);
        // The pieces are gone, with what the killed attempts have left.
        wait(async || (file_names(self.folder.path()).len() == 1).then_some(())).await;
    }
}

fn samples(file: &Path) -> Vec<i16> {
    let mut reader = hound::WavReader::open(file).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 8000));
    reader.samples().map(Result::unwrap).collect()
}

/// Waits until there is something, at most a minute.
async fn wait<T>(mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(Instant::now() < end, "nothing for a minute");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hops_make_one_file_of_a_call_though_events_are_repeated() {
    use Answer::{Refused, ReplyLost, Twice};
    let cloud = Cloud::start(Duration::from_secs(4), Duration::from_secs(2)).await;
    // The same event runs in two sandboxes at once; Invoke succeeds, but the SDK repeats it; a hop fails after it has
    // saved its result, because Invoke was refused as often as the SDK tries.
    let answers = [(0, vec![Twice]), (1, vec![ReplyLost]), (2, vec![Refused; 3])];
    *cloud.answers.lock().unwrap() = answers.map(|(hop, answers)| (hop, answers.into())).into();
    // Connect repeats its call too.
    cloud.deliver(0, cloud.connect()).await;
    cloud.deliver(1, cloud.connect()).await;
    cloud.check_file().await;
    let results = wait(async || {
        let results = cloud.results().await;
        results.iter().any(|result| result.as_str().is_some_and(|text| text.ends_with(".wav"))).then_some(results)
    })
    .await;
    let count = |wanted: &str| results.iter().filter(|result| *result == wanted).count();
    assert!(count("another invocation has this hop") >= 2, "{results:?}");
    assert!(count("handed on") >= 3, "{results:?}");
    let mut invoked = cloud.invoked.lock().unwrap().clone();
    // Connect's two, the repeated one of hop 1, the three refused ones of hop 2.
    assert_eq!(invoked.iter().filter(|hop| **hop == 0).count(), 2, "{invoked:?}");
    assert!(invoked.iter().filter(|hop| **hop == 1).count() >= 2, "{invoked:?}");
    assert!(invoked.iter().filter(|hop| **hop == 2).count() >= 4, "{invoked:?}");
    invoked.sort_unstable();
    invoked.dedup();
    assert_eq!(invoked, [0, 1, 2, 3]);
}

/// Starts a call, kills its second hop while that reads, and returns the invocation of that hop.
async fn kill_second_hop(cloud: &Arc<Cloud>) -> Invocation {
    cloud.deliver(0, cloud.connect()).await;
    // The second piece is being written.
    wait(async || {
        let pieces = piece_names(cloud);
        (pieces.len() == 2 && pieces.iter().any(|name| name.ends_with(".part"))).then_some(())
    })
    .await;
    cloud.kill(0);
    let states = cloud.sandboxes[0].get_all_invocation_states().await;
    let running = states.into_iter().filter(|state| state.status == InvocationStatus::InProgress);
    let killed = running.map(|state| state.invocation).next().expect("the hop was running");
    assert_eq!(killed.payload["hop"], 1);
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_that_is_killed_while_it_reads_is_retried() {
    let cloud = Cloud::start(Duration::from_secs(9), Duration::from_secs(6)).await;
    let killed = kill_second_hop(&cloud).await;
    // The same event with another request id is not a retry.
    let duplicate = Invocation::new(killed.payload.clone(), 9000);
    let request = duplicate.request_id.clone();
    cloud.deliver(1, duplicate).await;
    let state = cloud.completed(1, &request).await;
    assert_eq!(state.response.expect("a result").payload["result"], "another invocation has this hop");
    cloud.spawn(0);
    cloud.sandboxes[0].enqueue(cloud.again(&killed)).await;
    cloud.check_file().await;
    assert_eq!(*cloud.invoked.lock().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_whose_repeats_have_failed_continues_with_another_request_id() {
    let cloud = Cloud::start(Duration::from_secs(4), Duration::from_secs(2)).await;
    let killed = kill_second_hop(&cloud).await;
    cloud.spawn(0);
    // As somebody does with the event from the on-failure destination, long after the deadline.
    let left = killed.deadline_ms() - now_millis();
    sleep(Duration::from_millis(u64::try_from(left).unwrap_or_default() + 100)).await;
    cloud.deliver(1, Invocation::new(killed.payload, 4000)).await;
    cloud.check_file().await;
}

/// The names in the folder of pieces.
fn piece_names(cloud: &Cloud) -> Vec<String> {
    let folder = cloud.file().with_extension("");
    if folder.exists() { file_names(&folder) } else { Vec::new() }
}
