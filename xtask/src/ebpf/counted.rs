//! Every way through a program counts its frame: a path from the entry to an `exit` that stores neither to the totals of
//! a generation nor to the cell of frames without a table would be a silent loss.
//!
//! A forward analysis over the control flow: for each instruction, what every register and stack slot surely points to,
//! and what has surely been counted on *all* ways there. Counted means a 64-bit store to the packets and one to the bytes
//! of the first counter behind a pointer that a look-up in `NO_TABLE`, or in a map inside `TOTALS`, returned. Where two
//! ways meet, only what both have stays; what is not understood is taken for unknown. So the check may refuse an object
//! that is right, but does not pass one that has a way around the counters.
//!
//! A slot of the stack is taken to be reached by the frame pointer alone: the slots in which a compiler keeps registers
//! have no address that the program takes.
//!
//! One way is let pass: a look-up in `NO_TABLE` that finds nothing. It is a per-CPU array read at index 0, which the kernel
//! always finds. Not checked: that what is stored is the sum of the old value and the frame; tests show that.

use super::program::{Insn, Program};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Packets and bytes are counted.
const BOTH: u8 = 0b11;
/// No program has more ways to look at than this many times its instructions: each visit loses something that is known.
const VISITS: usize = 4096;

const LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;

/// What a register or a stack slot surely holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// A map of the object that counts; `Inner` is one inside `TOTALS`.
    Map(Counting),
    /// A pointer into the value of such a map, `offset` bytes behind its begin, that the look-up at instruction `from`
    /// returned. May be null unless `checked`.
    Cell { of: Counting, from: usize, offset: i64, checked: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Totals,
    Inner,
    NoTable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    registers: [Option<Value>; 11],
    /// By offset from the frame pointer.
    stack: BTreeMap<i64, Value>,
    counted: u8,
}

impl State {
    /// What holds on both ways.
    fn meet(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            if mine != theirs {
                *mine = None;
            }
        }
        self.stack.retain(|offset, value| other.stack.get(offset) == Some(value));
        self.counted &= other.counted;
    }

    fn get(&self, register: u8) -> Option<Value> {
        self.registers.get(usize::from(register)).copied().flatten()
    }

    fn set(&mut self, register: u8, value: Option<Value>) {
        if let Some(place) = self.registers.get_mut(usize::from(register)) {
            *place = value;
        }
    }

    /// The look-up at `which` found something: so say all copies of its pointer.
    fn checked(&mut self, which: usize) {
        let slots = self.registers.iter_mut().flatten().chain(self.stack.values_mut());
        for value in slots {
            if let Value::Cell { from, checked, .. } = value
                && *from == which
            {
                *checked = true;
            }
        }
    }

    fn store(&mut self, insn: &Insn) {
        // BPF_STX | BPF_MEM | BPF_DW, or an atomic of that size.
        let wide = matches!(insn.code, 0x7b | 0xdb);
        if insn.dst == 10 {
            let at = i64::from(insn.off);
            let value = self.get(insn.src).filter(|_| insn.code == 0x7b);
            // What overlaps is gone.
            self.stack.retain(|slot, _| (slot - at).abs() >= 8);
            if let Some(value) = value {
                self.stack.insert(at, value);
            }
        }
        if let Some(Value::Cell { of: Counting::Inner | Counting::NoTable, offset, checked: true, .. }) =
            self.get(insn.dst)
            && wide
        {
            match offset.wrapping_add(insn.off.into()) {
                0 => self.counted |= 0b01,
                8 => self.counted |= 0b10,
                _ => {}
            }
        }
    }

    fn call(&mut self, insn: &Insn, at: usize) {
        let found = match (insn.src, insn.imm, self.get(1)) {
            (0, LOOKUP, Some(Value::Map(Counting::Totals))) => Some(Value::Map(Counting::Inner)),
            (0, LOOKUP, Some(Value::Map(of))) => Some(Value::Cell { of, from: at, offset: 0, checked: false }),
            _ => None,
        };
        for register in 0..6 {
            self.set(register, None);
        }
        // In a loop, what this look-up returned the time before is not what it returns now.
        let stale = |value: &Value| matches!(value, Value::Cell { from, .. } if *from == at);
        self.registers.iter_mut().filter(|r| r.as_ref().is_some_and(stale)).for_each(|r| *r = None);
        self.stack.retain(|_, value| !stale(value));
        self.set(0, found);
    }

    fn step(&mut self, insn: &Insn, at: usize) {
        match insn.code {
            // LD_IMM64.
            0x18 => {
                let map = match insn.symbol.as_deref() {
                    Some("TOTALS") => Some(Value::Map(Counting::Totals)),
                    Some("NO_TABLE") => Some(Value::Map(Counting::NoTable)),
                    _ => None,
                };
                self.set(insn.dst, map);
            }
            // MOV64 of a register; with an offset it extends a sign.
            0xbf => self.set(insn.dst, self.get(insn.src).filter(|_| insn.off == 0)),
            // ADD64 of a number.
            0x07 => {
                let moved = match self.get(insn.dst) {
                    Some(Value::Cell { of, from, offset, checked }) => {
                        Some(Value::Cell { of, from, offset: offset.wrapping_add(insn.imm.into()), checked })
                    }
                    _ => None,
                };
                self.set(insn.dst, moved);
            }
            // LDX of 64 bits: a spilled pointer comes back.
            0x79 => {
                let slot = i64::from(insn.off);
                self.set(insn.dst, self.stack.get(&slot).copied().filter(|_| insn.src == 10));
            }
            0x85 => self.call(insn, at),
            code => match code & 0x07 {
                // Loads and arithmetic.
                0 | 1 | 4 | 7 => self.set(insn.dst, None),
                2 | 3 => {
                    self.store(insn);
                    // An atomic that fetches overwrites its source, or register 0.
                    if code & 0xe0 == 0xc0 {
                        self.set(insn.src, None);
                        self.set(0, None);
                    }
                }
                _ => {}
            },
        }
    }
}

/// Checks `program`.
///
/// # Errors
/// Names the instruction at which a frame leaves uncounted, or that the check does not understand.
pub(super) fn check(program: &Program) -> Result<()> {
    let (name, insns) = (&program.name, &program.insns);
    let mut states: Vec<Option<State>> = vec![None; insns.len()];
    let mut open = vec![(0usize, State { registers: [None; 11], stack: BTreeMap::new(), counted: 0 })];
    let mut visits = 0;
    while let Some((at, incoming)) = open.pop() {
        let Some(place) = states.get_mut(at) else { bail!("program `{name}` runs past its end at instruction {at}") };
        let known = match place {
            None => place.insert(incoming),
            Some(known) => {
                let before = known.clone();
                known.meet(&incoming);
                if *known == before {
                    continue;
                }
                known
            }
        };
        visits += 1;
        if visits > VISITS.saturating_mul(insns.len()) {
            bail!("program `{name}` is too complex for this check");
        }
        let mut state = known.clone();
        let insn = &insns[at];
        let target = |off: i64| usize::try_from(at as i64 + 1 + off).unwrap_or(usize::MAX);
        if insn.code == 0x95 || (insn.code == 0x85 && insn.src == 0 && insn.imm == TAIL_CALL) {
            if state.counted != BOTH {
                bail!("program `{name}` has a way to instruction {at}, where it ends, that counts its frame nowhere");
            }
            if insn.code == 0x95 {
                continue;
            }
        }
        let is_jump = matches!(insn.code & 0x07, 5 | 6) && insn.code != 0x85;
        if !is_jump {
            state.step(insn, at);
            open.push((at + if insn.code == 0x18 { 2 } else { 1 }, state));
            continue;
        }
        match insn.code {
            0x05 => open.push((target(insn.off.into()), state)),
            0x06 => open.push((target(insn.imm.into()), state)),
            code => {
                let (jump, next) = branch(&state, insn, code);
                open.push((target(insn.off.into()), jump));
                open.push((at + 1, next));
            }
        }
    }
    Ok(())
}

/// What is known where a condition holds, and where it does not: a comparison of a looked-up pointer with null.
fn branch(state: &State, insn: &Insn, code: u8) -> (State, State) {
    let (mut jump, mut next) = (state.clone(), state.clone());
    let (null, other) = match code {
        // JEQ and JNE with a number, 64 bits.
        0x15 if insn.imm == 0 => (&mut jump, &mut next),
        0x55 if insn.imm == 0 => (&mut next, &mut jump),
        _ => return (jump, next),
    };
    match state.get(insn.dst) {
        Some(Value::Cell { of, from, checked: false, .. }) => {
            other.checked(from);
            if of == Counting::NoTable {
                null.counted = BOTH;
            }
        }
        _ => return (jump, next),
    }
    (jump, next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
        Insn { code, dst, src, off, imm, symbol: None }
    }

    /// The address of a map, in two instructions.
    fn map(dst: u8, name: &str) -> [Insn; 2] {
        [Insn { symbol: Some(name.into()), ..insn(0x18, dst, 0, 0, 0) }, insn(0, 0, 0, 0, 0)]
    }

    const EXIT: u8 = 0x95;
    const MOV: u8 = 0xbf;
    const STORE: u8 = 0x7b;
    const LOAD: u8 = 0x79;
    const JEQ: u8 = 0x15;
    const JNE: u8 = 0x55;
    const JA: u8 = 0x05;

    fn lookup() -> Insn {
        insn(0x85, 0, 0, 0, LOOKUP)
    }

    fn count(register: u8) -> [Insn; 2] {
        [insn(STORE, register, 3, 0, 0), insn(STORE, register, 3, 8, 0)]
    }

    fn verdict(parts: &[&[Insn]]) -> Result<(), String> {
        let program = Program { name: "p".into(), insns: parts.concat() };
        check(&program).map_err(|e| e.to_string())
    }

    const UNCOUNTED: &str = "that counts its frame nowhere";

    /// Looks into `TOTALS`, keeps the totals in register 6; the two jumps lead to `missing` instructions after the last.
    fn totals(missing: i16) -> Vec<Insn> {
        let head = [&map(1, "TOTALS")[..], &[lookup(), insn(JEQ, 0, 0, missing + 4, 0)]].concat();
        [head, vec![insn(MOV, 1, 0, 0, 0), lookup(), insn(JEQ, 0, 0, missing + 1, 0), insn(MOV, 6, 0, 0, 0)]].concat()
    }

    /// Counts in `NO_TABLE` and ends.
    fn no_table() -> Vec<Insn> {
        let head = [&map(1, "NO_TABLE")[..], &[lookup(), insn(JEQ, 0, 0, 2, 0)], &count(0)].concat();
        [head, vec![insn(EXIT, 0, 0, 0, 0)]].concat()
    }

    #[test]
    fn both_counted_ways_pass() {
        let counted = [&count(6)[..], &[insn(EXIT, 0, 0, 0, 0)]].concat();
        assert_eq!(verdict(&[&totals(3), &counted, &no_table()]), Ok(()));
    }

    #[test]
    fn an_early_return_is_found() {
        // Before anything else: if r2 == 7, end.
        let early = [insn(JNE, 2, 0, 1, 7), insn(EXIT, 0, 0, 0, 0)];
        let counted = [&count(6)[..], &[insn(EXIT, 0, 0, 0, 0)]].concat();
        let error = verdict(&[&early, &totals(3), &counted, &no_table()]).unwrap_err();
        assert!(error.contains("instruction 1,") && error.contains(UNCOUNTED), "{error}");
        // The way on which there are no totals ends without a look into `NO_TABLE`.
        let error = verdict(&[&totals(3), &counted, &[insn(EXIT, 0, 0, 0, 0)]]).unwrap_err();
        assert!(error.contains(UNCOUNTED), "{error}");
        // Only packets are counted.
        let error = verdict(&[&totals(2), &count(6)[..1], &[insn(EXIT, 0, 0, 0, 0)], &no_table()]).unwrap_err();
        assert!(error.contains(UNCOUNTED), "{error}");
    }

    #[test]
    fn a_store_elsewhere_counts_nothing() {
        for (dst, off) in [(6, 16), (2, 0)] {
            let stores = [insn(STORE, dst, 3, off, 0), insn(STORE, dst, 3, off + 8, 0), insn(EXIT, 0, 0, 0, 0)];
            assert!(verdict(&[&totals(3), &stores, &no_table()]).unwrap_err().contains(UNCOUNTED), "{dst} {off}");
        }
        // Into a map that is neither.
        let other = [&map(1, "FLOWS")[..], &[lookup(), insn(JEQ, 0, 0, 2, 0)], &count(0), &[insn(EXIT, 0, 0, 0, 0)]];
        assert!(verdict(&other).unwrap_err().contains(UNCOUNTED));
        // A narrow store.
        let narrow = [insn(0x63, 6, 3, 0, 0), insn(0x63, 6, 3, 8, 0), insn(EXIT, 0, 0, 0, 0)];
        assert!(verdict(&[&totals(3), &narrow, &no_table()]).unwrap_err().contains(UNCOUNTED));
    }

    #[test]
    fn a_spilled_pointer_counts_until_its_slot_is_overwritten() {
        let spill = |overwrite: i16| {
            let kept = [
                insn(STORE, 10, 6, -16, 0),
                insn(MOV, 6, 2, 0, 0),
                insn(0x63, 10, 2, overwrite, 0),
                insn(LOAD, 7, 10, -16, 0),
            ];
            let counted = [&kept[..], &count(7), &[insn(EXIT, 0, 0, 0, 0)]].concat();
            verdict(&[&totals(7), &counted, &no_table()])
        };
        assert_eq!(spill(-24), Ok(()));
        assert!(spill(-12).unwrap_err().contains(UNCOUNTED));
    }

    #[test]
    fn a_way_that_joins_with_another_pointer_is_found() {
        // Behind `if r2 == 0`, register 6 holds something else.
        let swap = [insn(JNE, 2, 0, 1, 0), insn(MOV, 6, 2, 0, 0)];
        let counted = [&swap[..], &count(6), &[insn(EXIT, 0, 0, 0, 0)]].concat();
        assert!(verdict(&[&totals(5), &counted, &no_table()]).unwrap_err().contains(UNCOUNTED));
    }

    #[test]
    fn a_loop_ends_and_a_program_without_end_is_refused() {
        let counted = [&count(6)[..], &[insn(JNE, 2, 0, -1, 0), insn(EXIT, 0, 0, 0, 0)]].concat();
        assert_eq!(verdict(&[&totals(4), &counted, &no_table()]), Ok(()));
        assert!(verdict(&[&[insn(JA, 0, 0, 5, 0)]]).unwrap_err().contains("runs past its end"));
        assert!(verdict(&[&[insn(JA, 0, 0, -9, 0)]]).unwrap_err().contains("runs past its end"));
        assert_eq!(verdict(&[&[insn(JA, 0, 0, -1, 0)]]), Ok(()), "a loop without end is the verifier's to refuse");
    }

    #[test]
    fn a_tail_call_leaves_the_program() {
        let tail = insn(0x85, 0, 0, 0, TAIL_CALL);
        let counted = [&count(6)[..], &[insn(EXIT, 0, 0, 0, 0)]].concat();
        assert!(verdict(&[&[tail], &totals(3), &counted, &no_table()]).unwrap_err().contains(UNCOUNTED));
    }
}
