//! A stand-in for a library that calls itself libnrt and lacks most of the core set.

fake_nrt::export_version!(2, 34, 10);
