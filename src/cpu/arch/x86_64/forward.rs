//! What a table does as another does it.

/// Vector arithmetic, as the table in field `$of` has it.
macro_rules! forward_vectors {
    ($of:tt) => {
        $crate::cpu::arch::x86_64::forward::forward! { $of:
            splat(x: f32) -> Self::V;
            load(x: &[f32; 16]) -> Self::V;
            store(x: Self::V, out: &mut [f32; 16]) -> ();
            load_pairs(x: &[u16; 32]) -> (Self::V, Self::V);
            store_bf16(x: Self::V, out: &mut [u16; 16]) -> ();
            store_low_bytes(x: Self::V, out: &mut [u8; 16]) -> ();
            load_codes(codes: &[u8; 16]) -> Self::V;
            widen_codes(codes: &[u8; 32], out: &mut [u16; 32]) -> ();
            add(a: Self::V, b: Self::V) -> Self::V;
            sub(a: Self::V, b: Self::V) -> Self::V;
            mul(a: Self::V, b: Self::V) -> Self::V;
            div(a: Self::V, b: Self::V) -> Self::V;
            mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
            max(a: Self::V, b: Self::V) -> Self::V;
            select_lt(x: Self::V, limit: Self::V, a: Self::V, b: Self::V) -> Self::V;
            scale_unless_lt(x: Self::V, limit: Self::V, p: Self::V, n: Self::V, biased: Self::V) -> Self::V;
            reduce_add(x: Self::V) -> f32;
            reduce_max(x: Self::V) -> f32;
            prefetch_write(x: &f32) -> ();
        }

        #[inline(always)]
        fn prefetch<T>(self, x: &T) {
            self.$of.prefetch(x);
        }

        #[inline(always)]
        fn prefetch_far<T>(self, x: &T) {
            self.$of.prefetch_far(x);
        }
    };
}

/// Rounding to bf16 for a left operand, as the table in field `$of` has it.
macro_rules! forward_bf16 {
    ($of:tt) => {
        $crate::cpu::arch::x86_64::forward::forward! { $of:
            store_lhs(x: Self::V, out: &mut [u16; 16]) -> ();
            store_lhs_pair(a: Self::V, b: Self::V, out: &mut [u16; 32]) -> ();
        }
    };
}

/// Methods that call those of the same name of field `$of`.
macro_rules! forward {
    ($of:tt: $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: $type),*) -> $out {
                self.$of.$name($($arg),*)
            }
        )*
    };
}

pub(super) use {forward, forward_bf16, forward_vectors};
