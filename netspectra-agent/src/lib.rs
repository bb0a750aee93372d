//! NetSpectra agent.
