//! A stand-in for a libnrt that has the core set and nothing else.

fake_nrt::export_core!(2, 27, 23);
