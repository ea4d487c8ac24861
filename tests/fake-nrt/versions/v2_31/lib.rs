//! A stand-in for libnrt 2.31.24.

fake_nrt::export_core!(2, 31, 24);
fake_nrt::export_optional!();
fake_nrt::export_async!();
