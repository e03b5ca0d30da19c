//! Hosts and libraries that were built otherwise: what crosses between them is the same.
