//! A stand-in for libnrt 2.32.31.

fake_nrt::export_core!(2, 32, 31);
fake_nrt::export_optional!();
fake_nrt::export_async!();
