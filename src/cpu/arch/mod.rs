//! Kernel tables. To add one: a file or a folder that implements [`Isa`](super::isa::Isa), and a line in
//! [`for_each_table`].

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::isa::Isa;

/// What to do with a kernel table, whichever it is.
pub trait TableVisitor {
    /// Called once per table of this build, as [`for_each_table`] has them, with the table or with why this machine
    /// cannot run it.
    fn visit<I: Isa>(&mut self, table: Result<I, String>);
}

/// Shows every table of this build to `visitor`, best first, but for those that do not pay on this CPU ([`Isa::pays`]).
pub fn for_each_table(visitor: &mut impl TableVisitor) {
    #[cfg(target_arch = "x86_64")]
    {
        visitor.visit(x86_64::Amx::detect());
        visitor.visit(x86_64::Avx512Bf16::detect());
        visitor.visit(x86_64::Avx512::detect());
        visitor.visit(x86_64::Avx2::detect());
    }
    visitor.visit(portable::Portable::detect());
}
