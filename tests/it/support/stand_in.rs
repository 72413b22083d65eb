//! A stand-in for the service, whose answers a test defines.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_smithy_async::time::{SharedTimeSource, StaticTimeSource};
use aws_smithy_runtime_api::client::http::{HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use kinesis_video::KinesisVideo;
use kinesis_video::local::LocalEndpoint;
use serde_json::{Value, json};

/// An answer of the stand-in.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: SdkBody,
}

impl Answer {
    pub fn json(body: Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: SdkBody::from(body.to_string()) }
    }

    pub fn refusal(status: u16, name: &str, message: &str) -> Self {
        let body = SdkBody::from(json!({ "Message": message }).to_string());
        Self { status, headers: vec![("x-amzn-errortype", name.to_owned())], body }
    }

    pub fn unknown_operation() -> Self {
        let unknown = "com.amazon.coral.service#UnknownOperationException";
        Self::json(json!({ "Output": { "__type": unknown }, "Version": "1.0" }))
            .with("content-type", "application/json")
    }

    pub fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.push((header, value.to_owned()));
        self
    }
}

/// The answer of DescribeStream for a stream with this retention in hours.
pub fn described(retention: u32) -> Value {
    let arn = "arn:aws:kinesisvideo:us-west-2:1:stream/door/1";
    json!({ "StreamInfo": { "StreamName": "door", "StreamARN": arn, "DataRetentionInHours": retention } })
}

/// The received requests: paths and bodies, without GetDataEndpoint.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Mutex<Vec<(String, Value)>>>);

impl Asked {
    /// Takes the requests since the last call.
    pub fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub fn bodies(&self) -> Vec<Value> {
        self.take().into_iter().map(|(_, body)| body).collect()
    }
}

/// The SDK's time, since the epoch.
pub const NOW: Duration = Duration::from_millis(1_700_000_000_500);

/// A client of a service with these answers. It has no sockets, so that tokio's clock can be paused.
pub async fn stand_in(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> (KinesisVideo, Asked) {
    let (config, asked) = stand_in_config(answer).await;
    (KinesisVideo::new(&config), asked)
}

/// The configuration for clients of a service with these answers.
pub async fn stand_in_config(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> (SdkConfig, Asked) {
    let asked = Asked::default();
    let (kept, answer) = (asked.clone(), Arc::new(answer));
    let client = http_client_fn(move |_, _| {
        let (kept, answer) = (kept.clone(), Arc::clone(&answer));
        SharedHttpConnector::new(Connector(Arc::new(move |request: HttpRequest| {
            let path = request.uri().rsplit_once('/').unwrap().1.to_owned();
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            if path == "getDataEndpoint" {
                return Answer::json(json!({ "DataEndpoint": "https://b-1.example.com" }));
            }
            kept.0.lock().unwrap().push((path.clone(), body.clone()));
            answer(&path, &body)
        })))
    });
    let time = SharedTimeSource::new(StaticTimeSource::new(SystemTime::UNIX_EPOCH + NOW));
    // The local endpoint supplies credentials and region.
    let config = LocalEndpoint::start().await.unwrap().sdk_config();
    let config = config.into_builder().endpoint_url("https://control.example.com").http_client(client);
    (config.time_source(time).build(), asked)
}

type Answering = Arc<dyn Fn(HttpRequest) -> Answer + Send + Sync>;

struct Connector(Answering);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl aws_smithy_runtime_api::client::http::HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Answer { status, headers, body } = (self.0)(request);
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), body);
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}
