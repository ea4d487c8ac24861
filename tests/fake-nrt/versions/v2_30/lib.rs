//! A stand-in for libnrt 2.30.50.

fake_nrt::export_core!(2, 30, 50);
fake_nrt::export_optional!();
fake_nrt::export_error_tracker!();
