//! What each path answers.

mod now;
mod numbers;
mod rows;
mod series;
mod service;
mod top;

pub(crate) use now::now;
pub(crate) use numbers::{cardinality, ledger, quantiles};
pub(crate) use rows::{alerts, flows, messages};
pub(crate) use series::series;
pub(crate) use service::{index, live, metrics, openapi, ready, schema};
pub(crate) use top::top;

use crate::app::App;
use crate::encode::Format;
use crate::params::Params;
use std::sync::Arc;

/// An admitted request.
pub(crate) struct Ask {
    pub(crate) app: Arc<App>,
    pub(crate) params: Params,
    /// What `format` and `Accept` chose; JSON where the route has no choice.
    pub(crate) format: Format,
}
