//! Puts the generations of one node together: chunks wait for their manifest, what was there before is dropped.

use netspectra_common::model::{Chunk, Manifest, ManifestHash};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Runs of an agent that are remembered, per node: a message of an older one is taken for a new run.
const EPOCHS: usize = 16;
/// What a waiting chunk costs beside its deltas, counted in deltas.
const CHUNK_COST: usize = 4;

#[derive(Debug)]
struct Waiting {
    since: u64,
    chunks: BTreeMap<u32, Arc<Chunk>>,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.chunks.values().map(|c| cost(c)).sum()
    }
}

/// What a waiting chunk counts against the limit.
pub(crate) fn cost(chunk: &Chunk) -> usize {
    chunk.deltas.len() + CHUNK_COST
}

#[derive(Debug, Serialize, Deserialize)]
struct Epoch {
    id: u64,
    last: Option<u64>,
    /// Of the manifest with number `last`.
    head: Option<ManifestHash>,
    /// Not written: a generation comes back whole or not at all.
    #[serde(skip)]
    waiting: BTreeMap<u64, Waiting>,
}

/// A generation that can be counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complete {
    /// In the order of their numbers.
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Chunks the manifest names that did not come.
    pub(crate) missing: u64,
    /// Chunks the manifest does not name.
    pub(crate) unnamed: u64,
    /// Numbers between the last generation and this one.
    pub(crate) skipped: u64,
    /// The manifest does not follow the last one.
    pub(crate) chain_break: bool,
}

/// What a manifest closes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// A generation that is new.
    New(Complete),
    /// One that was counted before; whether it is known to have another manifest now.
    Again {
        /// Its manifest is not the one that was counted.
        altered: bool,
    },
}

/// Messages given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) chunks: u64,
    pub(crate) cost: usize,
}

impl Dropped {
    fn add(&mut self, waiting: &Waiting) {
        self.chunks += waiting.chunks.len() as u64;
        self.cost += waiting.cost();
    }
}

/// The generations of one node that are not counted yet, and the numbers of those that are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inbox {
    epochs: VecDeque<Epoch>,
}

impl Inbox {
    /// Whether `chunk` would be new.
    pub(crate) fn is_new(&self, chunk: &Chunk) -> bool {
        let id = &chunk.id.generation;
        let Some(epoch) = self.epochs.iter().find(|e| e.id == id.epoch) else { return true };
        let waiting = epoch.waiting.get(&id.generation);
        epoch.last.is_none_or(|last| id.generation > last)
            && waiting.is_none_or(|w| !w.chunks.contains_key(&chunk.id.chunk))
    }

    /// Keeps a new chunk; `now` counts messages. Returns what had to go with the oldest epoch.
    pub(crate) fn keep(&mut self, chunk: &Arc<Chunk>, now: u64) -> Dropped {
        let id = &chunk.id.generation;
        let (epoch, dropped) = self.epoch(id.epoch);
        let waiting =
            epoch.waiting.entry(id.generation).or_insert_with(|| Waiting { since: now, chunks: BTreeMap::new() });
        waiting.chunks.insert(chunk.id.chunk, chunk.clone());
        dropped
    }

    /// What `manifest` closes, and what nothing will ever close.
    ///
    /// A manifest follows when it carries the hash of the one before it that came, or none as number 0. The first one that
    /// comes of a run begins the chain: what was before it is not known here.
    pub(crate) fn close(&mut self, manifest: &Manifest) -> (Closed, Dropped) {
        let number = manifest.id.generation;
        let (epoch, mut dropped) = self.epoch(manifest.id.epoch);
        if epoch.last.is_some_and(|last| number <= last) {
            let altered = epoch.last == Some(number) && epoch.head.is_some_and(|head| head != manifest.hash());
            return (Closed::Again { altered }, dropped);
        }
        let chain_break = match epoch.last {
            Some(_) => manifest.previous.is_none() || manifest.previous != epoch.head,
            None => (number == 0) != manifest.previous.is_none(),
        };
        let mut complete =
            Complete { skipped: epoch.last.map_or(0, |last| number - last - 1), chain_break, ..Complete::default() };
        if let Some(mut waiting) = epoch.waiting.remove(&number) {
            let unnamed = waiting.chunks.split_off(&manifest.chunks);
            complete.unnamed = unnamed.len() as u64;
            dropped.cost += unnamed.values().map(|c| cost(c)).sum::<usize>() + waiting.cost();
            complete.chunks = waiting.chunks.into_values().collect();
        }
        complete.missing = u64::from(manifest.chunks).saturating_sub(complete.chunks.len() as u64);
        epoch.last = Some(number);
        epoch.head = Some(manifest.hash());
        // The bus keeps the order of a node: manifests of earlier generations do not come any more.
        let later = epoch.waiting.split_off(&number);
        for waiting in std::mem::replace(&mut epoch.waiting, later).values() {
            dropped.add(waiting);
        }
        (Closed::New(complete), dropped)
    }

    /// When the longest waiting generation began to wait, `except` left out.
    pub(crate) fn oldest(&self, except: Option<(u64, u64)>) -> Option<u64> {
        let waiting = self.epochs.iter().flat_map(|e| e.waiting.iter().map(move |(n, w)| ((e.id, *n), w.since)));
        waiting.filter(|(id, _)| Some(*id) != except).map(|(_, since)| since).min()
    }

    /// Gives up the generation that waits since `since`; all of them for `None`.
    pub(crate) fn give_up(&mut self, since: Option<u64>) -> Dropped {
        let mut dropped = Dropped::default();
        for epoch in &mut self.epochs {
            epoch.waiting.retain(|_, w| {
                let goes = since.is_none_or(|s| s == w.since);
                if goes {
                    dropped.add(w);
                }
                !goes
            });
        }
        dropped
    }

    /// The epoch `id`, new if need be; then the oldest one may have to go.
    fn epoch(&mut self, id: u64) -> (&mut Epoch, Dropped) {
        let mut dropped = Dropped::default();
        let at = match self.epochs.iter().position(|e| e.id == id) {
            Some(at) => at,
            None => {
                if self.epochs.len() >= EPOCHS
                    && let Some(oldest) = self.epochs.pop_front()
                {
                    oldest.waiting.values().for_each(|w| dropped.add(w));
                }
                self.epochs.push_back(Epoch { id, last: None, head: None, waiting: BTreeMap::new() });
                self.epochs.len() - 1
            }
        };
        (&mut self.epochs[at], dropped)
    }
}
