//! Model folders: good ones of every form are opened and give back what was written; broken and hostile ones are
//! refused with one error that names everything that is wrong, and never a panic. So are weights that a caller made
//! which are not what the configuration says.

mod backend;
mod folder;
mod forged;
mod good;
mod refused;
#[path = "../common/tiny.rs"]
mod tiny;
