//! A stand-in for libnrt 2.33.10.

fake_nrt::export_core!(2, 33, 10);
fake_nrt::export_optional!();
fake_nrt::export_async!();
