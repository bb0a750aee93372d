//! The REST API: questions over HTTP, answered from the store and the live state through one typed plan.
//!
//! What always holds:
//! - **One table of routes.** `routes` names every path and every parameter; the router, the refusal of unknown
//!   parameters, the OpenAPI document, the 404 page and the index are all made from it, so they cannot differ.
//! - **Client text never reaches a store.** Parameters become a [`netspectra_common::query::Plan`] or a 400 that names
//!   the parameter.
//! - **Every answer says how complete it is**: the ledger of the same range is asked together with the question.
//! - **Nothing is unbounded**: connections, header time, body, concurrency, rate, time and rows each have a limit in
//!   [`Limits`], and each refusal is a problem document (RFC 9457) that says what to do.
//!
//! The API reads no clock but the one it is handed and holds no state beside its counters.
#![forbid(unsafe_code)]

mod answers;
mod app;
mod auth;
mod cursor;
mod deps;
mod encode;
mod endpoint;
mod in_process;
mod observe;
mod openapi;
mod params;
mod problem;
mod rate;
mod routes;
mod serve;
mod service;
mod view;

#[cfg(test)]
mod tests;

pub use app::router;
pub use auth::{Auth, TokenError};
pub use deps::{Check, Deps, Health, Limits};
pub use in_process::{Answered, AskError, ask};
pub use openapi::document as openapi_document;
pub use serve::{ApiError, serve};
pub use service::{REPORT_PATH, ServiceDeps, serve_service};
