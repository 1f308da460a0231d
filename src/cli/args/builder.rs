//! The flags that say which builder, and what one is like that has to be made.

use clap::{Args, ValueHint};

/// The builder.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Builder")]
pub(crate) struct BuilderArgs {
    /// Builder: auto, unix:///PATH, tcp://HOST:PORT, docker-container://NAME, docker, spawn or spawn:/PATH/TO/buildkitd.
    /// auto takes BUILDKIT_HOST, then /run/buildkit/buildkitd.sock, then spawn, then a container of Docker.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) builder: Option<String>,
    /// State root; what the builder says when absent, else /var/lib/buildkit.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<String>,
    /// buildkitd.toml for a daemon or container we start; its registry hosts count for cache sources too.
    /// /etc/buildkit/buildkitd.toml where there is one, but not in a container.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) buildkitd_config: Option<String>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// A container that docker-container:// has to create.
#[derive(Debug, Default, Args)]
pub(crate) struct ContainerArgs {
    /// Image of a container that docker-container:// creates; pulled when it is not there.
    #[arg(long, value_name = "REF")]
    pub(crate) buildkit_image: Option<String>,
    /// When Docker starts that container again: no, always, unless-stopped, on-failure or on-failure:TIMES.
    #[arg(long, value_name = "POLICY")]
    pub(crate) builder_restart: Option<String>,
    /// Let that container stay, and run; it then collects garbage as its configuration says.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) keep_builder: Option<String>,
}

/// TLS with a builder on TCP; any of these asks for it.
#[derive(Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// Authority of the builder's certificate, for tcp://; the system's ones when absent.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tlscacert: Option<String>,
    /// Our certificate, for tcp://.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tlscert: Option<String>,
    /// Key of our certificate.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tlskey: Option<String>,
    /// Name in the builder's certificate, where it is not the host's.
    #[arg(long, value_name = "NAME")]
    pub(crate) tlsservername: Option<String>,
    /// Let tcp:// do without TLS beyond this machine.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure_tcp: Option<String>,
}
