//! How large the loaded programs are, and what the verifier had to do for them.

use super::{XdpError, XdpSource, load_error};

/// One loaded program, as this kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSize {
    /// Name in the object.
    pub name: String,
    /// Instructions that the verifier walked through to accept it; `None` before Linux 5.16. The kernel's limit is
    /// 1,000,000.
    pub verified: Option<u32>,
    /// Instructions after the kernel's rewriting.
    pub instructions: u32,
    /// Machine code, bytes; 0 when the kernel interprets.
    pub jited_bytes: u32,
}

/// Bytes of `struct bpf_insn`.
const INSTRUCTION: u32 = 8;

impl XdpSource {
    /// The loaded programs, by name.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn program_sizes(&self) -> Result<Vec<ProgramSize>, XdpError> {
        let mut sizes = Vec::new();
        for (name, program) in self.hand.loaded()?.programs().filter(|(_, p)| p.fd().is_ok()) {
            let info = program.info().map_err(|e| load_error("a question about a loaded program", &e))?;
            sizes.push(ProgramSize {
                name: name.to_owned(),
                verified: info.verified_instruction_count(),
                instructions: info.size_translated().unwrap_or(0) / INSTRUCTION,
                jited_bytes: info.size_jitted(),
            });
        }
        sizes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(sizes)
    }
}
