//! A stand-in for libnrt 2.34.10.

fake_nrt::export_core!(2, 34, 10);
fake_nrt::export_optional!();
fake_nrt::export_async!();
fake_nrt::export_status_text!();
