//! How a server lets clients of other machines in: token and certificate.

use anyhow::anyhow;
use server::{Secret, ServerConfig, ServerError, Tls};

use crate::cli::AccessArgs;
use crate::failure::Failure;

/// The environment's name for the token.
const TOKEN: &str = "REPRODUCEML_TOKEN";

/// Adds what the arguments and the environment say to a server's configuration.
pub fn apply(args: &AccessArgs, mut config: ServerConfig) -> Result<ServerConfig, Failure> {
    config.token = token(args)?;
    if let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(Tls::from_files(chain, key).map_err(explain)?);
    }
    Ok(config)
}

/// The token of the file, else the environment's, if there is one.
fn token(args: &AccessArgs) -> Result<Option<Secret>, Failure> {
    let token = match (&args.token_file, std::env::var(TOKEN)) {
        (Some(file), _) => Some(Secret::from_file(file)),
        (None, Ok(text)) => Some(Secret::new(&text)),
        (None, Err(std::env::VarError::NotPresent)) => None,
        (None, Err(std::env::VarError::NotUnicode(_))) => {
            return Err(Failure::input(anyhow!("{TOKEN} is no text; give a token in ASCII")));
        }
    };
    token.transpose().map_err(explain)
}

/// Why a server does not start, with what to do about it.
pub fn explain(error: ServerError) -> Failure {
    match error {
        ServerError::Store(error) => error.into(),
        ServerError::TokenNeeded { .. } => Failure::input(anyhow!(
            "{error}; the token goes into a file (--token-file) or into {TOKEN}"
        )),
        ServerError::InUse { .. } => {
            Failure::input(anyhow!("{error} with --listen; port 0 takes any that is free"))
        }
        error => Failure::input(error),
    }
}
