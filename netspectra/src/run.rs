//! `netspectra run`.
use crate::Outcome;
pub(crate) fn main(_args: crate::cli::RunArgs) -> Outcome {
    Ok(std::process::ExitCode::SUCCESS)
}
