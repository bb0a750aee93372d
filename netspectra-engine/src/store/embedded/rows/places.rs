//! Where the two ends of a row are, in columns of their own. Rows of earlier builds have none.

use super::DecodeError;
use super::build::Columns;
use super::read::{FromText, Numbers, Text, TextDecoder};
use arrow::array::RecordBatch;
use arrow::datatypes::UInt32Type;
use netspectra_common::model::{Country, Owner, Place, Pod};
use std::sync::Arc;

impl FromText for Country {
    const EXPECTED: &'static str = "a country of two letters";
    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl<R> Columns<'_, R> {
    /// The columns of both ends.
    pub(super) fn places(self, src: impl Fn(&R) -> &Place, dst: impl Fn(&R) -> &Place) -> Self {
        self.opt_text("src_country", |r| src(r).country.as_ref().map(Country::as_str))
            .opt_text("dst_country", |r| dst(r).country.as_ref().map(Country::as_str))
            .opt_u32("src_as", |r| src(r).asn)
            .opt_u32("dst_as", |r| dst(r).asn)
            .opt_text("src_network", |r| src(r).network.as_deref())
            .opt_text("dst_network", |r| dst(r).network.as_deref())
            .opt_text("src_name", |r| src(r).name.as_deref())
            .opt_text("dst_name", |r| dst(r).name.as_deref())
            .opt_text("src_pod", |r| src(r).pod_name())
            .opt_text("dst_pod", |r| dst(r).pod_name())
            .opt_text("src_namespace", |r| src(r).namespace())
            .opt_text("dst_namespace", |r| dst(r).namespace())
            .opt_text("src_workload", |r| src(r).workload())
            .opt_text("dst_workload", |r| dst(r).workload())
            .opt_text("src_process", |r| src(r).process())
            .opt_text("dst_process", |r| dst(r).process())
            .opt_text("src_cgroup", |r| src(r).cgroup())
            .opt_text("dst_cgroup", |r| dst(r).cgroup())
    }
}

#[derive(Default)]
pub(super) struct PlacesDecoder([SideDecoder; 2]);

#[derive(Default)]
struct SideDecoder {
    country: TextDecoder<Country>,
    network: TextDecoder<Arc<str>>,
    name: TextDecoder<Arc<str>>,
    pod: TextDecoder<Arc<str>>,
    namespace: TextDecoder<Arc<str>>,
    workload: TextDecoder<Arc<str>>,
    process: TextDecoder<Arc<str>>,
    cgroup: TextDecoder<Arc<str>>,
}

/// The columns of one batch.
pub(super) struct Places<'a> {
    src: Side<'a>,
    dst: Side<'a>,
}

struct Side<'a> {
    country: Text<'a, Country>,
    asn: Numbers<'a, UInt32Type>,
    network: Text<'a, Arc<str>>,
    name: Text<'a, Arc<str>>,
    pod: Text<'a, Arc<str>>,
    namespace: Text<'a, Arc<str>>,
    workload: Text<'a, Arc<str>>,
    process: Text<'a, Arc<str>>,
    cgroup: Text<'a, Arc<str>>,
}

/// Binds the columns of one end.
macro_rules! side {
    ($decoder:expr, $batch:expr, $country:literal, $asn:literal, $($field:ident: $column:literal),*) => {
        Side {
            country: $decoder.country.bind($batch, $country)?,
            asn: Numbers::bind($batch, $asn)?,
            $($field: $decoder.$field.bind($batch, $column)?,)*
        }
    };
}

impl PlacesDecoder {
    pub(super) fn bind<'a>(&'a mut self, batch: &'a RecordBatch) -> Result<Places<'a>, DecodeError> {
        let [src, dst] = &mut self.0;
        Ok(Places {
            src: side!(src, batch, "src_country", "src_as", network: "src_network", name: "src_name", pod: "src_pod",
                namespace: "src_namespace", workload: "src_workload", process: "src_process", cgroup: "src_cgroup"),
            dst: side!(dst, batch, "dst_country", "dst_as", network: "dst_network", name: "dst_name", pod: "dst_pod",
                namespace: "dst_namespace", workload: "dst_workload", process: "dst_process", cgroup: "dst_cgroup"),
        })
    }
}

impl Places<'_> {
    pub(super) fn src(&mut self, i: usize) -> Result<Place, DecodeError> {
        self.src.at(i)
    }

    pub(super) fn dst(&mut self, i: usize) -> Result<Place, DecodeError> {
        self.dst.at(i)
    }
}

impl Side<'_> {
    fn at(&mut self, i: usize) -> Result<Place, DecodeError> {
        Ok(Place {
            country: self.country.at(i)?,
            asn: self.asn.at(i),
            network: self.network.at(i)?,
            name: self.name.at(i)?,
            pod: Pod::of(self.namespace.at(i)?, self.pod.at(i)?, self.workload.at(i)?),
            owner: Owner::of(self.process.at(i)?, self.cgroup.at(i)?),
        })
    }
}
