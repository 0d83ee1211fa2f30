//! Whole services as processes, on real parts; see `tests/`.
