//! The connection to AWS, or to a local endpoint.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use clap::Args;
use kinesis_video::KinesisVideo;

use crate::failure::{Failure, Result};

/// The options of every command that calls the service.
#[derive(Args, Clone, Debug)]
pub(crate) struct AwsOptions {
    /// The AWS region. Default: AWS_REGION, or that of the profile.
    #[arg(long, global = true, value_name = "REGION", help_heading = "Global options")]
    region: Option<String>,
    /// The AWS profile. Default: AWS_PROFILE, or "default".
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    profile: Option<String>,
    /// Call this URL instead of AWS, such as that of `kvs serve`. Default: AWS_ENDPOINT_URL.
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    endpoint_url: Option<String>,
}

impl AwsOptions {
    /// Returns a client with the user's region, credentials and endpoint.
    pub(crate) async fn kvs(&self) -> Result<KinesisVideo> {
        Ok(KinesisVideo::new(&self.config().await?))
    }

    /// Returns the options of another place. What is not given is as here.
    pub(crate) fn elsewhere(
        &self,
        region: Option<String>,
        profile: Option<String>,
        endpoint_url: Option<String>,
    ) -> Self {
        Self {
            region: region.or_else(|| self.region.clone()),
            profile: profile.or_else(|| self.profile.clone()),
            endpoint_url: endpoint_url.or_else(|| self.endpoint_url.clone()),
        }
    }

    /// Returns the configuration of the SDK.
    pub(crate) async fn config(&self) -> Result<SdkConfig> {
        if let Some(url) = self.endpoint_url()
            && !is_url(&url)
        {
            let what = format!("\"{url}\" is not the URL of an endpoint");
            return Err(Failure::usage(what).hint("--endpoint-url http://127.0.0.1:8080"));
        }
        let config = self.load().await;
        if config.region().is_none_or(|region| region.as_ref().is_empty()) {
            return Err(Failure::other("no AWS region is set")
                .why("there is none in --region, AWS_REGION and the profile")
                .hint("--region us-west-2, or set AWS_REGION"));
        }
        Ok(config)
    }

    /// Returns the configuration for DynamoDB, which an endpoint of streams does not have.
    ///
    /// `--endpoint-url` is not for it, but AWS_ENDPOINT_URL_DYNAMODB and AWS_ENDPOINT_URL are.
    pub(crate) async fn table_config(&self) -> Result<SdkConfig> {
        // With a region, as for the streams.
        let region = self.config().await?.region().map(ToString::to_string);
        let own = std::env::var("AWS_ENDPOINT_URL_DYNAMODB").ok().filter(|url| !url.is_empty());
        Ok(Self { region, endpoint_url: own, ..self.clone() }.load().await)
    }

    /// Returns the environment in which another program makes the same calls.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let options =
            [("AWS_REGION", &self.region), ("AWS_PROFILE", &self.profile), ("AWS_ENDPOINT_URL", &self.endpoint_url)];
        options.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// Loads the configuration of the SDK, which may lack a region.
    ///
    /// An endpoint on this machine needs neither region nor credentials, so that `kvs serve` needs no configuration.
    pub(crate) async fn load(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            // The profile that was asked for goes before the credentials in the environment.
            let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile).build();
            loader = loader.profile_name(profile).credentials_provider(credentials);
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if self.has_local_credentials() {
            let credentials = Credentials::new("local", "local", None, None, "kvs for a local endpoint");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
            if self.has_local_region() {
                loader = loader.region(Region::new("us-west-2"));
            }
        }
        loader.load().await
    }

    /// Returns whether the credentials are made up, since the endpoint is on this machine and there are no others.
    pub(crate) fn has_local_credentials(&self) -> bool {
        self.is_loopback() && self.profile.is_none() && !is_set("AWS_ACCESS_KEY_ID") && !is_set("AWS_PROFILE")
    }

    fn has_local_region(&self) -> bool {
        self.has_local_credentials() && self.region.is_none() && !is_set("AWS_REGION")
    }

    /// Returns where the region comes from.
    pub(crate) fn region_origin(&self) -> &'static str {
        if self.region.is_some() {
            "--region"
        } else if self.has_local_region() {
            "kvs, for an endpoint on this machine"
        } else if is_set("AWS_REGION") {
            "AWS_REGION"
        } else if is_set("AWS_DEFAULT_REGION") {
            "AWS_DEFAULT_REGION"
        } else {
            "the profile or the instance"
        }
    }

    /// Returns the endpoint that replaces AWS, if there is one.
    pub(crate) fn endpoint_url(&self) -> Option<String> {
        self.endpoint_url.clone().or_else(|| std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty()))
    }

    /// Returns the profile of --profile, the only place where its credentials are looked for.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    fn is_loopback(&self) -> bool {
        let url = self.endpoint_url().unwrap_or_default();
        let host = url.split("://").nth(1).unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|loopback| host.starts_with(loopback))
    }
}

/// Returns whether an environment variable has a value.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Returns whether the SDK can call this URL.
fn is_url(url: &str) -> bool {
    let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ':']) && !host.contains(char::is_whitespace))
}
