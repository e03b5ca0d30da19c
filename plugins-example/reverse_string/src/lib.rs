//! The workload, backwards.
