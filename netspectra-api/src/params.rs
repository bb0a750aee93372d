//! The query string, checked: every refusal names the parameter.

use crate::problem::Problem;
use crate::routes::{Kind, Param, Route};
use netspectra_common::model::{Nanos, TimeRange, parse_duration};
use netspectra_common::query::{Filter, Metric, Quantity, parse_filter};
use netspectra_common::schema::Dimension;
use std::collections::BTreeMap;
use std::time::Duration;

/// Characters of the longest filter; parsing is bounded by its length.
const MAX_FILTER_LEN: usize = 8 * 1024;
/// Quantiles of one request.
const MAX_QUANTILES: usize = 32;

/// The parameters of a request, each at most once and known to the route.
#[derive(Debug)]
pub(crate) struct Params {
    values: BTreeMap<&'static str, String>,
}

impl Params {
    /// Reads `query` for `route`.
    ///
    /// # Errors
    /// 400 for a parameter that the route does not know or that comes twice, and for a required one that is missing.
    pub(crate) fn read(route: &Route, query: Option<&str>) -> Result<Self, Problem> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(param) = route.params.iter().find(|p| p.name == name) else {
                return Err(unknown(route, &name));
            };
            if values.insert(param.name, value.into_owned()).is_some() {
                return Err(Problem::param(param.name, format!("`{}` is given twice: expected once", param.name)));
            }
        }
        if let Some(missing) = route.params.iter().find(|p| p.required && !values.contains_key(p.name)) {
            return Err(Problem::param(missing.name, format!("`{}` is missing: {}", missing.name, missing.doc)));
        }
        Ok(Self { values })
    }

    /// The text as sent.
    pub(crate) fn text(&self, param: &Param) -> Option<&str> {
        self.values.get(param.name).map(String::as_str)
    }

    /// The text as sent, or the default.
    fn or_default(&self, param: &Param) -> Option<&str> {
        self.text(param).or(param.default)
    }

    /// `from` and `to`.
    pub(crate) fn range(&self, now: Nanos) -> Result<TimeRange, Problem> {
        let time = |param: &Param, all: Nanos| match self.or_default(param) {
            None | Some("all") => Ok(all),
            Some(text) => Nanos::parse(text, now).map_err(|e| Problem::param(param.name, e.to_string())),
        };
        let from = time(&crate::routes::FROM, TimeRange::ALL.from)?;
        let to = time(&crate::routes::TO, TimeRange::ALL.to)?;
        if from >= to {
            let (from, to) = (from.to_string(), to.to_string());
            return Err(Problem::param("from", format!("`from` ({from}) is not before `to` ({to})")));
        }
        Ok(TimeRange { from, to })
    }

    /// The filter; every row without one.
    pub(crate) fn filter(&self) -> Result<Filter, Problem> {
        let text = self.text(&crate::routes::FILTER).unwrap_or_default();
        let length = text.chars().count();
        if length > MAX_FILTER_LEN {
            let detail = format!("`filter` has {length} characters: expected at most {MAX_FILTER_LEN}");
            return Err(Problem::param("filter", detail));
        }
        parse_filter(text).map_err(|e| Problem::filter(text, &e))
    }

    /// A comma list of dimensions of roll-ups; empty when the parameter is absent and has no default.
    pub(crate) fn dimensions(&self, param: &Param) -> Result<Vec<Dimension>, Problem> {
        let mut dimensions = Vec::new();
        let Some(text) = self.or_default(param) else { return Ok(dimensions) };
        for word in text.split(',').map(str::trim) {
            let known = Dimension::from_name(word).filter(|d| d.in_rollups());
            let Some(dimension) = known else {
                let names: Vec<_> = rollup_dimensions().collect();
                let detail = format!("`{word}` in `{}` is not a dimension that can be grouped by", param.name);
                return Err(Problem::param(param.name, detail).hint(format!("expected some of {}", names.join(", "))));
            };
            if dimensions.contains(&dimension) {
                return Err(Problem::param(
                    param.name,
                    format!("`{word}` is twice in `{}`: expected once", param.name),
                ));
            }
            dimensions.push(dimension);
        }
        Ok(dimensions)
    }

    /// What ranks groups.
    pub(crate) fn metric(&self) -> Result<Metric, Problem> {
        let word = self.word(&crate::routes::METRIC)?;
        Ok(Metric::ALL.into_iter().find(|m| Some(m.name()) == word).unwrap_or(Metric::Bytes))
    }

    /// What quantiles are of.
    pub(crate) fn quantity(&self) -> Result<Quantity, Problem> {
        match self.word(&crate::routes::QUANTILES_OF)? {
            Some(word) => Ok(Quantity::ALL.into_iter().find(|q| q.name() == word).unwrap_or(Quantity::PacketSize)),
            None => Ok(Quantity::PacketSize),
        }
    }

    /// One of the parameter's words.
    pub(crate) fn word(&self, param: &Param) -> Result<Option<&'static str>, Problem> {
        let (Kind::Word(words), Some(text)) = (param.kind, self.or_default(param)) else { return Ok(None) };
        match words.iter().find(|w| **w == text) {
            Some(word) => Ok(Some(word)),
            None => {
                Err(Problem::param(param.name, format!("`{}` is `{text}`: expected {}", param.name, any_of(words))))
            }
        }
    }

    /// An integer in the parameter's range.
    pub(crate) fn integer(&self, param: &Param) -> Result<usize, Problem> {
        let (Kind::Integer(min, max), Some(text)) = (param.kind, self.or_default(param)) else { return Ok(0) };
        text.parse().ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| {
            Problem::param(param.name, format!("`{}` is `{text}`: expected an integer in {min}..={max}", param.name))
        })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, param: &Param) -> Result<bool, Problem> {
        match self.or_default(param) {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            Some(text) => {
                Err(Problem::param(param.name, format!("`{}` is `{text}`: expected `true` or `false`", param.name)))
            }
        }
    }

    /// Quantiles.
    pub(crate) fn fractions(&self, param: &Param) -> Result<Vec<f64>, Problem> {
        let text = self.or_default(param).unwrap_or_default();
        let refuse = |found: &str| {
            let name = param.name;
            Problem::param(name, format!("`{found}` in `{name}` is not a quantile: expected a number in 0..=1"))
        };
        if text.split(',').count() > MAX_QUANTILES {
            let detail = format!("`{}` has more than {MAX_QUANTILES} quantiles", param.name);
            return Err(Problem::param(param.name, detail));
        }
        text.split(',')
            .map(str::trim)
            .map(|word| word.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q)).ok_or_else(|| refuse(word)))
            .collect()
    }

    /// The length of a point, when given.
    pub(crate) fn step(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.text(&crate::routes::STEP) else { return Ok(None) };
        match parse_duration(text).filter(|d| !d.is_zero()) {
            Some(step) => Ok(Some(step)),
            None => {
                let detail = format!("`step` is `{text}`: expected a length such as `10s`, `1m`, `1h`, or seconds");
                Err(Problem::param("step", detail))
            }
        }
    }
}

/// Names of the dimensions that `by` and `of` take.
pub(crate) fn rollup_dimensions() -> impl Iterator<Item = &'static str> {
    Dimension::ALL.into_iter().filter(|d| d.in_rollups()).map(Dimension::name)
}

fn unknown(route: &Route, name: &str) -> Problem {
    // The name comes back in the answer: shortened, so that a long one does not make it long.
    let name: String = name.chars().take(64).collect();
    let names: Vec<_> = route.params.iter().map(|p| p.name).collect();
    let hint = if names.is_empty() {
        format!("`{}` takes no parameters", route.path)
    } else {
        format!("`{}` takes {}", route.path, names.join(", "))
    };
    Problem::param(&name, format!("`{name}` is not a parameter here")).hint(hint)
}

fn any_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
