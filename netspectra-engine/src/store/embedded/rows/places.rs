//! Where the two ends of a row are, in six columns. Rows of earlier builds have none.

use super::DecodeError;
use super::build::Columns;
use super::read::{FromText, Numbers, Text, TextDecoder};
use arrow::array::RecordBatch;
use arrow::datatypes::UInt32Type;
use netspectra_common::model::{Country, Place};
use std::sync::Arc;

impl FromText for Country {
    const EXPECTED: &'static str = "a country of two letters";
    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl<R> Columns<'_, R> {
    /// The six columns of both ends.
    pub(super) fn places(self, src: impl Fn(&R) -> &Place, dst: impl Fn(&R) -> &Place) -> Self {
        self.opt_text("src_country", |r| src(r).country.as_ref().map(Country::as_str))
            .opt_text("dst_country", |r| dst(r).country.as_ref().map(Country::as_str))
            .opt_u32("src_as", |r| src(r).asn)
            .opt_u32("dst_as", |r| dst(r).asn)
            .opt_text("src_network", |r| src(r).network.as_deref())
            .opt_text("dst_network", |r| dst(r).network.as_deref())
    }
}

#[derive(Default)]
pub(super) struct PlacesDecoder {
    countries: [TextDecoder<Country>; 2],
    networks: [TextDecoder<Arc<str>>; 2],
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
}

impl PlacesDecoder {
    pub(super) fn bind<'a>(&'a mut self, batch: &'a RecordBatch) -> Result<Places<'a>, DecodeError> {
        let ([src_country, dst_country], [src_network, dst_network]) = (&mut self.countries, &mut self.networks);
        Ok(Places {
            src: Side {
                country: src_country.bind(batch, "src_country")?,
                asn: Numbers::bind(batch, "src_as")?,
                network: src_network.bind(batch, "src_network")?,
            },
            dst: Side {
                country: dst_country.bind(batch, "dst_country")?,
                asn: Numbers::bind(batch, "dst_as")?,
                network: dst_network.bind(batch, "dst_network")?,
            },
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
        Ok(Place { country: self.country.at(i)?, asn: self.asn.at(i), network: self.network.at(i)? })
    }
}
