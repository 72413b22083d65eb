//! A proxy before DynamoDB, which throttles, delays, cuts off, and loses replies.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

/// What the proxy does with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum StoreFault {
    /// Passes all on.
    #[default]
    None,
    /// Refuses this part of the requests, as the service does that has too many.
    Throttle(f64),
    /// Passes each on, late by up to so much.
    Delay(Duration),
    /// Answers nothing.
    Partition,
    /// Passes each on. For this part of them, the client learns nothing of the effect.
    LoseReplies(f64),
}

/// A running proxy. It ends with the runtime.
#[derive(Clone)]
pub struct StoreProxy {
    pub url: String,
    state: Arc<State>,
}

struct State {
    port: Mutex<u16>,
    fault: Mutex<StoreFault>,
    client: Client<HttpConnector, Body>,
}

impl StoreProxy {
    /// Starts a proxy to a port of this machine.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::builder(TokioExecutor::new()).build_http();
        let state = Arc::new(State { port: Mutex::new(port), fault: Mutex::default(), client });
        let shared = Arc::clone(&state);
        let app = Router::new().fallback(move |request: Request| {
            let state = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state }
    }

    /// Sends what comes from now on to another port.
    pub fn redirect(&self, port: u16) {
        *self.state.port.lock().unwrap() = port;
    }

    /// Begins a fault, or ends one.
    pub fn set(&self, fault: StoreFault) {
        *self.state.fault.lock().unwrap() = fault;
    }
}

impl State {
    async fn answer(&self, request: Request) -> Response<Body> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            StoreFault::None | StoreFault::LoseReplies(_) => {}
            StoreFault::Throttle(part) => {
                if fastrand::f64() < part {
                    return refusal(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException");
                }
            }
            StoreFault::Delay(most) => tokio::time::sleep(most.mul_f64(fastrand::f64())).await,
            // The client gives up before.
            StoreFault::Partition => tokio::time::sleep(Duration::from_secs(60)).await,
        }
        let answer = self.pass(request).await;
        match fault {
            StoreFault::LoseReplies(part) if fastrand::f64() < part => match fastrand::bool() {
                true => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
                false => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    answer
                }
            },
            _ => answer,
        }
    }

    async fn pass(&self, request: Request) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let port = *self.port.lock().unwrap();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://127.0.0.1:{port}{path}").parse::<Uri>().unwrap();
        // Read to its end, so that a client that gives up does not cut a request in two.
        let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
            return refusal(StatusCode::BAD_GATEWAY, "Unreadable");
        };
        let request = Request::from_parts(head, Body::from(body));
        // In its own task, so that a client that gives up does not undo it.
        let sent = tokio::spawn(self.client.request(request)).await.unwrap();
        match sent {
            Ok(answer) => answer.map(Body::new),
            // The store is down.
            Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        }
    }
}

fn refusal(status: StatusCode, name: &str) -> Response<Body> {
    let body = format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{name}\",\"message\":\"injected\"}}");
    let mut answer = Response::new(Body::from(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", "application/x-amz-json-1.0".parse().unwrap());
    answer
}
