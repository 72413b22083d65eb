//! An AWS Lambda function that records an Amazon Connect contact as one stereo WAV file, however long the call is.
//!
//! Lambda ends an invocation after at most 15 minutes. So each invocation is a hop: it reads the stream until a minute
//! before its deadline, saves what it has read, and invokes the function again for the next hop.
//!
//! ```text
//! Connect ──▶ start ──▶ hop 0 ──▶ hop 1 ──▶ … ──▶ hop n ──▶ join ──▶ FOLDER/CONTACT-START.wav
//!                       14 min    14 min          the call ends
//! ```
//!
//! - Connect waits at most 8 s for a function, so the first invocation only starts hop 0.
//! - A hop saves whole fragments, as the service sends them, in `FOLDER/CONTACT-START/`. The next hop resumes after the
//!   last saved fragment. So the last invocation reads all pieces as one call, and no sample is missing or repeated.
//! - The call ends when another contact begins in the stream, or when no fragment arrives for `IDLE_SECONDS`.
//!
//! # Every hop once
//!
//! Lambda delivers an asynchronous event at least once, and repeats it up to twice if the hop fails or runs out of time.
//! The request id of a repeated event is the same. If the hop was invoked twice, there are two request ids. So each hop
//! is an item in a DynamoDB table:
//!
//! | the item | the invocation |
//! |---|---|
//! | does not exist | claims the hop |
//! | has the same request id, and no result | claims the hop again: the attempt before it failed |
//! | has another request id and a deadline in the past, and no result | claims the hop: that invocation has ended |
//! | has the same request id and a result | only invokes the next hop, because that may not have happened |
//! | otherwise | does nothing |
//!
//! Each claim replaces the claim before it. Only the last one can save its result, which is the event of the next hop and
//! names the pieces. So two attempts that run at the same time do no harm.
//!
//! # Setting it up
//!
//! Build for Amazon Linux 2023, and deploy the program as `bootstrap` with the runtime `provided.al2023`. In the flow,
//! put this function after the block "Start media streaming". Set the timeout to 15 minutes.
//!
//! | variable | value |
//! |---|---|
//! | `FOLDER` | a folder that all invocations share, such as an EFS file system: Lambda keeps no files |
//! | `TABLE` | the DynamoDB table: partition key `call`, a string; sort key `hop`, a number; time to live in `expires` |
//! | `RESERVE_SECONDS` | how long before the deadline a hop stops reading; default 60 |
//! | `IDLE_SECONDS` | how long no fragment arrives until the call has ended; default 30 |
//! | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_LAMBDA` | other endpoints, for tests |
//!
//! ```sh
//! aws dynamodb create-table --table-name calls --billing-mode PAY_PER_REQUEST \
//!   --attribute-definitions AttributeName=call,AttributeType=S AttributeName=hop,AttributeType=N \
//!   --key-schema AttributeName=call,KeyType=HASH AttributeName=hop,KeyType=RANGE
//! aws dynamodb update-time-to-live --table-name calls \
//!   --time-to-live-specification Enabled=true,AttributeName=expires
//! aws lambda put-function-recursion-config --function-name NAME --recursive-loop Allow
//! ```
//!
//! The last command is necessary. By default, Lambda stops a function that has invoked itself about 16 times in a row,
//! which is a call of four hours. [`MAX_HOPS`] ends the chain instead.
//!
//! The role needs these actions, and those of `AWSLambdaVPCAccessExecutionRole` for EFS:
//!
//! | action | resource |
//! |---|---|
//! | `kinesisvideo:GetDataEndpoint`, `kinesisvideo:GetMedia` | the streams of the Connect instance |
//! | `kms:Decrypt` | their key, if it is your own |
//! | `dynamodb:PutItem`, `dynamodb:UpdateItem` | the table |
//! | `lambda:InvokeFunction` | this function |
//! | `elasticfilesystem:ClientMount`, `elasticfilesystem:ClientWrite` | the file system |
//!
//! The retention of the streams has to cover a failed hop and its retries: an hour or more. Give the function an
//! on-failure destination, which receives the event of a hop that failed three times. Invoking the function with that
//! event continues the call.
#![allow(clippy::print_stdout, reason = "a program")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use futures::{SinkExt, StreamExt, TryStreamExt, stream};
use kinesis_video::{
    AudioStreamExt, FragmentStream, FragmentStreamExt, KinesisVideo, MediaSink, MemoryCheckpoint, PayloadSink,
    Position, RecordExt, Start, StreamEnd, Timestamp, WavSink,
};
use lambda_runtime::{Context, Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::fs::{self, File};
use tokio_util::io::ReaderStream;

/// The number of hops after which the function stops invoking itself: 28 hours.
const MAX_HOPS: u32 = 120;

/// The time after which the items of a call expire. Lambda delivers an event for at most six hours.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The event of a hop, which contains all that the hop has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hop {
    contact: String,
    stream: String,
    /// The time at which the media of the call starts, in milliseconds since the epoch.
    start: i64,
    hop: u32,
    /// Where the hop before this one has stopped.
    position: Option<Position>,
    /// True once audio of the contact has arrived.
    has_begun: bool,
    /// True if the call has ended: the pieces are to be joined.
    has_ended: bool,
    /// The pieces so far, by the attempts that wrote them.
    pieces: Vec<u64>,
}

impl Hop {
    /// Reads the event that Connect passes to a function.
    fn first(event: &Value) -> Result<Self, Error> {
        let text = |path: &str| {
            let text = event.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.ok_or_else(|| {
                format!("the event has no {path}: put the function after the block \"Start media streaming\"")
            })
        };
        let start = text("/Details/ContactData/MediaStreams/Customer/Audio/StartTimestamp")?;
        Ok(Self {
            contact: text("/Details/ContactData/ContactId")?.into(),
            stream: text("/Details/ContactData/MediaStreams/Customer/Audio/StreamARN")?.into(),
            start: start.parse().map_err(|_| format!("the start {start:?} is not a number of milliseconds"))?,
            hop: 0,
            position: None,
            has_begun: false,
            has_ended: false,
            pieces: Vec::new(),
        })
    }

    /// Returns the name of the call in the table and in file names.
    ///
    /// It has the start, because a flow may stop and start media streaming in one contact.
    fn call(&self) -> String {
        format!("{}-{}", WavSink::contact_in_name(Some(&self.contact)), self.start)
    }
}

/// The result of claiming a hop.
enum Claim {
    /// The hop is to be done, by the attempt of this number.
    Mine(u64),
    /// The hop is done. Its result is the event of the next hop.
    Done(Hop),
    /// Another invocation does the hop or has done it.
    Taken,
}

struct Function {
    kvs: KinesisVideo,
    dynamo: aws_sdk_dynamodb::Client,
    lambda: aws_sdk_lambda::Client,
    table: String,
    folder: PathBuf,
    reserve: Duration,
    idle: Duration,
}

impl Function {
    async fn from_env() -> Result<Self, Error> {
        let text = |name: &str| std::env::var(name).map_err(|error| format!("the variable {name}: {error}"));
        let seconds = |name: &str, default: u64| match std::env::var(name) {
            Ok(value) => value.parse().map_err(|_| format!("{name}={value} is not a number of seconds")),
            Err(_) => Ok(default),
        };
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        Ok(Self {
            kvs: KinesisVideo::new(&config),
            dynamo: aws_sdk_dynamodb::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            table: text("TABLE")?,
            folder: text("FOLDER")?.into(),
            reserve: Duration::from_secs(seconds("RESERVE_SECONDS", 60)?),
            idle: Duration::from_secs(seconds("IDLE_SECONDS", 30)?),
        })
    }

    async fn handle(&self, event: Value, context: &Context) -> Result<Value, Error> {
        if event.get("Details").is_some() {
            let first = Hop::first(&event)?;
            self.invoke(&first, context).await?;
            return Ok(json!({ "call": first.call() }));
        }
        let hop: Hop = serde_json::from_value(event).map_err(|error| format!("this is no event of a hop: {error}"))?;
        let next = match self.claim(&hop, context).await? {
            Claim::Taken => return Ok(json!({ "result": "another invocation has this hop" })),
            Claim::Done(next) => next,
            Claim::Mine(_) if hop.has_ended => {
                let file = self.join(&hop).await?;
                return Ok(json!({ "result": file }));
            }
            Claim::Mine(attempt) => {
                let next = self.read(&hop, attempt, context).await?;
                if !self.save(&hop, attempt, &next).await? {
                    return Ok(json!({ "result": "another invocation has taken this hop" }));
                }
                next
            }
        };
        if next.hop >= MAX_HOPS {
            return Err(format!("the call {} did not end in {MAX_HOPS} hops", hop.call()).into());
        }
        self.invoke(&next, context).await?;
        Ok(json!({ "result": "handed on", "pieces": next.pieces.len() }))
    }

    /// Claims a hop, unless another invocation has it.
    async fn claim(&self, hop: &Hop, context: &Context) -> Result<Claim, Error> {
        // JSON numbers above this lose digits in some programs.
        let attempt = fastrand::u64(..1 << 53);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let number = |number: u128| AttributeValue::N(number.to_string());
        let request = AttributeValue::S(context.request_id.clone());
        let put = self.dynamo.put_item().table_name(&self.table);
        let put = put
            .item("call", AttributeValue::S(hop.call()))
            .item("hop", number(hop.hop.into()))
            .item("request", request.clone())
            .item("attempt", number(attempt.into()))
            .item("deadline", number(context.deadline.into()))
            .item("expires", number((now + KEPT).as_secs().into()))
            // `call` is a reserved word.
            .condition_expression(
                "attribute_not_exists(#call) OR attribute_not_exists(#next) AND (#request = :me OR #deadline < :now)",
            )
            .expression_attribute_names("#call", "call")
            .expression_attribute_names("#next", "next")
            .expression_attribute_names("#request", "request")
            .expression_attribute_names("#deadline", "deadline")
            .expression_attribute_values(":me", request.clone())
            .expression_attribute_values(":now", number(now.as_millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(Claim::Mine(attempt)) };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else {
            return Err(kinesis_video::Error::from_sdk(error, "PutItem").into());
        };
        let old = |name: &str| failed.item().and_then(|item| item.get(name));
        match old("next").and_then(|next| next.as_s().ok()) {
            Some(next) if old("request") == Some(&request) => Ok(Claim::Done(serde_json::from_str(next)?)),
            _ => Ok(Claim::Taken),
        }
    }

    /// Reads and saves fragments until shortly before the deadline, or until the call ends. Returns the next hop.
    async fn read(&self, hop: &Hop, attempt: u64, context: &Context) -> Result<Hop, Error> {
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        // Otherwise the function would invoke itself again and again without reading anything.
        let time = left.checked_sub(self.reserve).filter(|time| !time.is_zero()).ok_or_else(|| {
            format!("{left:?} are left and RESERVE_SECONDS is {:?}: set a longer timeout", self.reserve)
        })?;
        let checkpoint = hop.position.clone().map_or_else(MemoryCheckpoint::default, MemoryCheckpoint::at);
        // `Start::AfterFragment` with the fragment that Connect names would skip the first second.
        let live = self.kvs.live(&hop.stream).start(Start::ProducerTime(Timestamp::from_millis(hop.start)));
        let (mut fragments, acks) = live.idle_timeout(self.idle).checkpointed(checkpoint);
        let stop = fragments.stop_handle();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            stop.stop();
        });
        let mut next = Hop { hop: hop.hop + 1, ..hop.clone() };
        let path = self.piece(hop, attempt);
        let mut piece = PayloadSink::create(&path);
        while let Some(fragment) = fragments.try_next().await? {
            // A fragment without an id belongs to the contact before it.
            match fragment.tags().get("ContactId").as_deref() {
                Some(id) if id == hop.contact => next.has_begun = true,
                Some(id) if !id.is_empty() && next.has_begun => {
                    next.has_ended = true;
                    break;
                }
                _ => {}
            }
            let position = fragment.position();
            piece.send(fragment).await?;
            acks.done(&position);
        }
        alarm.abort();
        next.has_ended |= fragments.end_reason().is_some_and(|reason| reason != StreamEnd::Stopped);
        SinkExt::close(&mut piece).await?;
        let summary = MediaSink::summary(&piece);
        if summary.files() > 0 {
            // Only what is on the disk is not read again.
            File::open(&path).await?.sync_all().await?;
            next.pieces.push(attempt);
        }
        next.position = acks.close().await?.or(next.position);
        println!("{}, hop {}: {summary}, ended: {}", hop.call(), hop.hop, next.has_ended);
        Ok(next)
    }

    /// Saves the result of a hop. Returns false if another attempt has taken the hop.
    async fn save(&self, hop: &Hop, attempt: u64, next: &Hop) -> Result<bool, Error> {
        let update = self.dynamo.update_item().table_name(&self.table);
        let update = update
            .key("call", AttributeValue::S(hop.call()))
            .key("hop", AttributeValue::N(hop.hop.to_string()))
            .update_expression("SET #next = :next")
            .condition_expression("#attempt = :attempt")
            .expression_attribute_names("#next", "next")
            .expression_attribute_names("#attempt", "attempt")
            .expression_attribute_values(":next", AttributeValue::S(serde_json::to_string(next)?))
            .expression_attribute_values(":attempt", AttributeValue::N(attempt.to_string()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(false)
            }
            Err(error) => Err(kinesis_video::Error::from_sdk(error, "UpdateItem").into()),
        }
    }

    /// Invokes this function for a hop, without waiting for the result.
    async fn invoke(&self, hop: &Hop, context: &Context) -> Result<(), Error> {
        let invoke = self.lambda.invoke().function_name(&context.invoked_function_arn);
        let invoke = invoke.invocation_type(InvocationType::Event).payload(Blob::new(serde_json::to_vec(hop)?));
        invoke.send().await.map_err(|error| kinesis_video::Error::from_sdk(error, "Invoke"))?;
        Ok(())
    }

    /// Joins the pieces of a call into one WAV file, and deletes them.
    async fn join(&self, hop: &Hop) -> Result<PathBuf, Error> {
        let file = self.folder.join(format!("{}.wav", hop.call()));
        // The pieces are gone if this invocation is repeated.
        if fs::try_exists(&file).await? {
            return Ok(file);
        }
        let paths: Vec<_> = hop.pieces.iter().map(|attempt| self.piece(hop, *attempt)).collect();
        let pieces = stream::iter(paths).then(async |path| open(&path).await).try_flatten();
        // A name of its own, because a repeated invocation may join at the same time.
        let part = self.pieces(hop).join(format!("{}.wav", fastrand::u64(..)));
        let audio = FragmentStream::from_stream(Box::pin(pieces)).connect_audio().contact(hop.contact.as_str());
        let summary = audio.stereo().record(WavSink::create(&part)).await?;
        File::open(&part).await?.sync_all().await?;
        fs::rename(&part, &file).await?;
        fs::remove_dir_all(self.pieces(hop)).await?;
        println!("{summary}, in {}", file.display());
        Ok(file)
    }

    /// Returns the folder of the pieces of a call.
    fn pieces(&self, hop: &Hop) -> PathBuf {
        self.folder.join(hop.call())
    }

    fn piece(&self, hop: &Hop, attempt: u64) -> PathBuf {
        self.pieces(hop).join(format!("{attempt}.mkv"))
    }
}

async fn open(path: &Path) -> Result<ReaderStream<File>, kinesis_video::Error> {
    let file = File::open(path).await.map_err(|error| {
        let message = format!("opening the piece {} failed", path.display());
        kinesis_video::Error::new(kinesis_video::ErrorKind::Io, message).caused_by(error)
    })?;
    Ok(ReaderStream::with_capacity(file, 256 << 10))
}

/// Returns an error with its causes as one line. Lambda shows only the error itself.
fn line(error: &Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let function = &Function::from_env().await?;
    let handler = service_fn(async |event: LambdaEvent<Value>| {
        let (event, context) = event.into_parts();
        let result = function.handle(event, &context).await;
        result.map_err(|error| Error::from(line(&error)))
    });
    lambda_runtime::run(handler).await
}
