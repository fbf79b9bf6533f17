//! No code of its own: `tests/models` checks models of Krake's protocols, `tests/simulation` runs its services in a
//! simulated network.
