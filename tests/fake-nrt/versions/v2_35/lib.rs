//! A stand-in for libnrt 2.35.30.

fake_nrt::export_core!(2, 35, 30);
fake_nrt::export_optional!();
fake_nrt::export_async!();
fake_nrt::export_status_text!();
