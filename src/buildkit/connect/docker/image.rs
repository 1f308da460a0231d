//! The image of a builder that is to be created, pulled if it is not there.

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;

use super::{Engine, is_absent, refused};
use crate::auth::Keychain;
use crate::event::Events;
use crate::failure::{Explain, Failure, Kind};
use crate::registry::Reference;

/// Makes sure that an image is there.
///
/// # Errors
/// Explained: it is no reference, or cannot be pulled.
pub(super) async fn ensure(engine: &Engine, image: &str, keychain: &Keychain, events: &Events) -> anyhow::Result<()> {
    let what = format!("could not pull the builder's image {image}");
    let hint = "check its name and your login, or name one that Docker can have with --buildkit-image";
    let reference = Reference::parse(image).map_err(anyhow::Error::msg).explain(Kind::Usage, what.as_str(), hint)?;
    match engine.docker.inspect_image(image).await {
        Ok(_) => return Ok(()),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(refused(error, what, hint)),
    }
    let credentials = keychain.credentials(reference.api_host()).await?.map(|found| {
        let secret = Some(found.password.reveal().to_owned());
        match found.username.is_empty() {
            true => DockerCredentials { identitytoken: secret, ..DockerCredentials::default() },
            false => DockerCredentials { username: Some(found.username), password: secret, ..Default::default() },
        }
    });
    events.note(format!("pulling the builder's image {reference}"));
    let options = CreateImageOptionsBuilder::default().from_image(&reference.to_string()).build();
    let mut progress = engine.docker.create_image(Some(options), None, credentials);
    while let Some(message) = progress.next().await {
        let message = message.explain(Kind::Environment, what.as_str(), hint)?;
        // Docker tells of a failure at the end of an answer that began well.
        if let Some(error) = message.error_detail {
            let cause = anyhow::anyhow!(error.message.unwrap_or_default());
            return Err(Failure::because(cause, Kind::Environment, what, hint));
        }
    }
    Ok(())
}
