//! How generations follow each other: what is written before and after each step, so that a kill at any moment loses
//! nothing and doubles nothing. The table of moments is in `saved`.

use super::saved::{DeviceTable, Keeper, Phase};
use super::{XdpError, XdpSource, sys};
use crate::generation::Generation;
use crate::source::{Source, SourceError, wall_clock};
use netspectra_common::abi::{Counter, SLOTS};
use netspectra_common::model::ManifestHash;
use std::os::fd::OwnedFd;

/// What was just done. A kill after each is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Maps and tables are there, and count as the instance's.
    Begun,
    /// The programs are attached, and their hooks kept.
    Attached,
    /// It is written that the generation ends.
    Ending,
    /// The programs were told to fill the other slot.
    Told,
    /// No program fills the old slot any more.
    Still,
    /// The generation's end is written: it is final.
    Frozen,
    /// It is written that the generation is safe elsewhere.
    Clearing,
    /// Its tables are empty.
    Emptied,
    /// It is written that they are.
    Clean,
    /// The programs are detached for good.
    Detached,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Begun,
        Self::Attached,
        Self::Ending,
        Self::Told,
        Self::Still,
        Self::Frozen,
        Self::Clearing,
        Self::Emptied,
        Self::Clean,
        Self::Detached,
    ];
}

impl XdpSource {
    /// Names the run in chunk ids: its start, Unix nanoseconds. A run goes on over kills and ends with [`Self::detach`].
    pub fn epoch(&self) -> u64 {
        self.saved.epoch
    }

    /// The number of the generation that [`Source::generation`] returns next.
    pub fn next_generation(&self) -> u64 {
        match self.saved.phase() {
            Phase::Freezing | Phase::Frozen if !self.returned => self.saved.ended.number,
            Phase::Clean | Phase::Freezing | Phase::Frozen | Phase::Clearing => self.saved.number,
        }
    }

    /// The hash of the manifest before that one, which its manifest carries; `None` when there is none.
    pub fn previous(&self) -> Option<ManifestHash> {
        self.saved.chain()
    }

    /// Whether this source went on with what a process before it left.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Calls `f` after each step; for tests of what a kill there does.
    #[doc(hidden)]
    pub fn on_step(&mut self, f: impl FnMut(Step) + Send + 'static) {
        self.on_step = Some(Box::new(f));
    }

    pub(super) fn step(&mut self, step: Step) {
        if let Some(f) = &mut self.on_step {
            f(step);
        }
    }

    /// The slot that is not being filled.
    pub(super) fn ended_slot(&self) -> u32 {
        (self.saved.slot + SLOTS - 1) % SLOTS
    }

    fn save(&mut self, phase: Phase, step: Step) -> Result<(), XdpError> {
        self.saved.set_phase(phase);
        self.keeper.save(&self.saved)?;
        self.step(step);
        Ok(())
    }

    /// Ends the generation that is being filled.
    fn freeze(&mut self) -> Result<(), XdpError> {
        let saved = &mut *self.saved;
        saved.ended.number = saved.number;
        saved.ended.start = saved.started;
        saved.ended.interfaces = saved.interfaces;
        saved.ended.last = u32::from(self.ended);
        saved.number += 1;
        saved.slot = (saved.slot + 1) % SLOTS;
        self.returned = false;
        self.save(Phase::Freezing, Step::Ending)?;
        self.finish_freeze()
    }

    /// The rest of [`Self::freeze`]: may be done again.
    fn finish_freeze(&mut self) -> Result<(), XdpError> {
        self.set_slot()?;
        self.step(Step::Told);
        // A program that read the old slot number may still be running: wait until none can be.
        self.tables.wait_for_programs(self.saved.slot)?;
        self.step(Step::Still);
        let missed = self.missed()?;
        self.turn_devices();
        let saved = &mut *self.saved;
        let before = std::mem::replace(&mut saved.missed, missed);
        saved.ended.missed =
            Counter::new(missed.packets.wrapping_sub(before.packets), missed.bytes.wrapping_sub(before.bytes));
        saved.ended.offset = sys::wall_minus_monotonic();
        saved.ended.end = wall_clock().0.max(saved.ended.start);
        saved.started = saved.ended.end;
        self.save(Phase::Frozen, Step::Frozen)
    }

    /// What devices gained in the generation that ends.
    fn turn_devices(&mut self) {
        let Some(devices) = &mut self.devices else { return };
        let mut base = self.saved.devices.counted();
        let deltas = devices.turn(&mut base, &self.saved.ended.interfaces.interfaces());
        self.saved.ended.devices = DeviceTable::of_deltas(&deltas);
        self.saved.devices = DeviceTable::of_counted(&base);
    }

    /// Where the devices of interfaces that have come stand.
    pub(super) fn begin_devices(&mut self) {
        let Some(devices) = &mut self.devices else { return };
        let mut base = self.saved.devices.counted();
        devices.begin(&mut base, &self.saved.interfaces.interfaces());
        self.saved.devices = DeviceTable::of_counted(&base);
    }

    fn release(&mut self) -> Result<(), XdpError> {
        if matches!(self.saved.phase(), Phase::Frozen | Phase::Clearing) {
            if let Some(hash) = self.sent.take() {
                self.saved.set_chain(hash);
            }
            self.save(Phase::Clearing, Step::Clearing)?;
            self.tables.clear(self.ended_slot())?;
            if std::mem::take(&mut self.lacking) {
                tracing::error!("counting tables were missing: they are put back");
                self.tables.put_back(self.ended_slot())?;
            }
            self.step(Step::Emptied);
            self.save(Phase::Clean, Step::Clean)?;
        }
        if self.ended && self.saved.ended.last != 0 {
            self.keeper = Keeper::default();
            self.hand.forget()?;
        }
        Ok(())
    }
}

impl Source for XdpSource {
    fn generation(&mut self) -> Result<Option<Generation>, SourceError> {
        let left = self.saved.phase() == Phase::Frozen && !self.returned;
        // What filled until now is in the generation that ends here.
        let _ = self.is_filling();
        match self.saved.phase() {
            Phase::Clean => self.freeze()?,
            Phase::Freezing => self.finish_freeze()?,
            // Left by a process before this one, which may have sent it.
            Phase::Frozen if left => {}
            Phase::Frozen | Phase::Clearing => {
                self.release()?;
                self.freeze()?;
            }
        }
        self.returned = true;
        if !left {
            self.follow()?;
        }
        Ok(Some(self.read()?))
    }

    fn wake(&self) -> Option<OwnedFd> {
        let wake = self.wake.as_ref()?.descriptor();
        wake.inspect_err(|e| tracing::warn!(error = %e, "generations cannot end early")).ok()
    }

    fn sent(&mut self, hash: ManifestHash) {
        self.sent = Some(hash);
    }

    fn recycle(&mut self) -> Result<(), SourceError> {
        Ok(self.release()?)
    }
}
