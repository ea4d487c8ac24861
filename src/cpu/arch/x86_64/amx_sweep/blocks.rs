//! The blocks of a sweep, two row tiles by two panels, one by four or one by two, and the order in which they pass.

use std::arch::asm;

use super::super::tile::load;
use super::ahead::Ahead;
use super::sums::{SumTile, start_four, store_four, turn_four};
use super::{Depth, SHORT_TILES, STRIDE, Sweep, TILE_BYTES, TileDots};
use crate::cpu::product::Beside;

/// How a block follows the one before it.
#[derive(Clone, Copy)]
struct Turn {
    /// Its sums are in their tiles.
    started: bool,
    /// First panel of the block that it starts: each tile as soon as it is free, so that the sums on their way in do
    /// not wait for all those on their way out.
    next: Option<usize>,
}

impl Turn {
    /// It starts, and nothing after it.
    const ALONE: Self = Self { started: false, next: None };
}

/// A sweep under way.
pub struct Blocks<'a, D> {
    pub sweep: &'a Sweep<'a>,
    pub dots: &'a mut D,
    pub beside: Option<&'a mut dyn Beside>,
}

impl<D: TileDots> Blocks<'_, D> {
    /// All rows of a depth block.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    pub unsafe fn rows(&mut self, depth: Depth) {
        let n_row_tiles = self.sweep.n_row_tiles;
        // SAFETY: passed on to the caller; all row tiles are below their number.
        unsafe {
            if n_row_tiles == 1 {
                return self.one_row_tile(depth);
            }
            let mut row_tile = 0;
            while row_tile + 2 <= n_row_tiles {
                self.panels::<2>(row_tile, depth);
                row_tile += 2;
            }
            if row_tile < n_row_tiles {
                self.panels::<1>(row_tile, depth);
            }
        }
    }

    /// All panels of `ROWS` row tiles.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn panels<const ROWS: usize>(&mut self, row_tile: usize, depth: Depth) {
        let n_panels = self.sweep.n_panels;
        // SAFETY: as above; all panels are below their number.
        unsafe {
            let mut panel = 0;
            while panel + 2 <= n_panels {
                let turn = Turn { started: panel > 0, next: (panel + 4 <= n_panels).then_some(panel + 2) };
                self.block::<ROWS, 2>(row_tile, panel, depth, turn);
                panel += 2;
            }
            if panel < n_panels {
                self.block::<ROWS, 1>(row_tile, panel, depth, Turn::ALONE);
            }
        }
    }

    /// All panels of the only row tile.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn one_row_tile(&mut self, depth: Depth) {
        let n_panels = self.sweep.n_panels;
        // SAFETY: as above.
        unsafe {
            let (mut panel, is_short) = (0, depth.span.n_tiles <= SHORT_TILES);
            while panel + 4 <= n_panels && !is_short {
                self.one_by_four(panel, depth);
                panel += 4;
            }
            while panel + 2 <= n_panels {
                self.one_by_two(panel, depth);
                panel += 2;
            }
            if panel < n_panels {
                self.block::<1, 1>(0, panel, depth, Turn::ALONE);
            }
        }
    }

    /// `ROWS` row tiles by `PANELS` panels, each one or two.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn block<const ROWS: usize, const PANELS: usize>(
        &mut self,
        row_tile: usize,
        panel: usize,
        depth: Depth,
        turn: Turn,
    ) {
        // Of what is not there, the first stands in and is not used.
        let (row, col) = (row_tile + ROWS - 1, panel + PANELS - 1);
        let tiles = [(row_tile, panel), (row_tile, col), (row, panel), (row, col)];
        let used = [true, PANELS > 1, ROWS > 1, ROWS > 1 && PANELS > 1];
        let sweep = self.sweep;
        if !turn.started {
            // SAFETY: passed on to the caller.
            unsafe { self.start(tiles, used, depth) };
        }
        if depth.is_part && ROWS > 1 && PANELS > 1 {
            let mut ahead = Ahead::of(sweep, row_tile, panel, depth);
            // SAFETY: as above.
            unsafe { self.steps::<ROWS, PANELS>(row_tile, panel, depth, |_| ahead.ask()) };
        } else {
            // SAFETY: as above.
            unsafe { self.steps::<ROWS, PANELS>(row_tile, panel, depth, Self::step_beside) };
        }
        let next = turn.next.map(|next| tiles.map(|(row, col)| sweep.sums.tile(row, next + col - panel)));
        // SAFETY: as above; the next block has the same rows and as many panels.
        unsafe { self.end(tiles, used, depth, next) };
    }

    /// The steps of a block along the depth, with `beside` after some product of each.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn steps<const ROWS: usize, const PANELS: usize>(
        &mut self,
        row_tile: usize,
        panel: usize,
        depth: Depth,
        mut beside: impl FnMut(&mut Self),
    ) {
        let sweep = self.sweep;
        let span = &depth.span;
        let [a0, a1] = [row_tile, row_tile + ROWS - 1].map(|row_tile| sweep.lhs(row_tile, span));
        let [b0, b1] = [panel, panel + PANELS - 1].map(|panel| sweep.panel(panel, span));
        for t in (0..span.n_tiles).map(|t| t * TILE_BYTES) {
            // SAFETY: passed on to the caller; tile `t` of each of these is one of the span's.
            unsafe {
                load!("4", a0.add(t), STRIDE);
                load!("6", b0.add(t), STRIDE);
                D::dot::<0, 4, 6>();
                if PANELS > 1 {
                    load!("7", b1.add(t), STRIDE);
                    D::dot::<1, 4, 7>();
                }
                beside(self);
                if ROWS > 1 {
                    load!("5", a1.add(t), STRIDE);
                    D::dot::<2, 5, 6>();
                }
                if ROWS > 1 && PANELS > 1 {
                    D::dot::<3, 5, 7>();
                }
            }
        }
    }

    /// One row tile by four panels.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn one_by_four(&mut self, panel: usize, depth: Depth) {
        let sweep = self.sweep;
        let tiles = [0, 1, 2, 3].map(|p| (0, panel + p));
        // SAFETY: as in `block`.
        unsafe { self.start(tiles, [true; 4], depth) };
        let span = &depth.span;
        let a = sweep.lhs(0, span);
        let b = [0, 1, 2, 3].map(|p| sweep.panel(panel + p, span));
        for t in (0..span.n_tiles).map(|t| t * TILE_BYTES) {
            // SAFETY: as in `block`.
            unsafe {
                load!("4", a.add(t), STRIDE);
                load!("5", b[0].add(t), STRIDE);
                D::dot::<0, 4, 5>();
                load!("6", b[1].add(t), STRIDE);
                D::dot::<1, 4, 6>();
                self.step_beside();
                load!("7", b[2].add(t), STRIDE);
                D::dot::<2, 4, 7>();
                load!("5", b[3].add(t), STRIDE);
                D::dot::<3, 4, 5>();
            }
        }
        // SAFETY: as in `block`.
        unsafe { self.end(tiles, [true; 4], depth, None) };
    }

    /// One row tile by two panels, two steps along the depth in turn, each with tiles of its own but for one: a load
    /// waits until the products with what its tile held before have begun.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn one_by_two(&mut self, panel: usize, depth: Depth) {
        let sweep = self.sweep;
        let (tiles, used) = ([0, 1, 1, 1].map(|p| (0, panel + p)), [true, true, false, false]);
        // SAFETY: as in `block`.
        unsafe { self.start(tiles, used, depth) };
        let span = &depth.span;
        let a = sweep.lhs(0, span);
        let b = [0, 1].map(|p| sweep.panel(panel + p, span));
        for t in (0..span.n_tiles).step_by(2) {
            let (this, next) = (t * TILE_BYTES, (t + 1) * TILE_BYTES);
            // SAFETY: as in `block`.
            unsafe {
                load!("4", a.add(this), STRIDE);
                load!("5", b[0].add(this), STRIDE);
                D::dot::<0, 4, 5>();
                load!("6", b[1].add(this), STRIDE);
                D::dot::<1, 4, 6>();
                self.step_beside();
                if t + 1 < span.n_tiles {
                    load!("2", a.add(next), STRIDE);
                    load!("7", b[0].add(next), STRIDE);
                    D::dot::<0, 2, 7>();
                    load!("5", b[1].add(next), STRIDE);
                    D::dot::<1, 2, 5>();
                }
            }
        }
        // SAFETY: as in `block`.
        unsafe { self.end(tiles, used, depth, None) };
    }

    /// What vectors have to do.
    #[inline(always)]
    fn step_beside(&mut self) {
        if let Some(beside) = &mut self.beside {
            beside.step();
        }
    }

    /// Starts sums in tiles 0 to 3: those of a row tile and a panel each.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn start(&self, tiles: [(usize, usize); 4], used: [bool; 4], depth: Depth) {
        let sums = tiles.map(|(row_tile, panel)| self.sweep.sums.tile(row_tile, panel));
        // SAFETY: passed on to the caller, whose sums these are.
        unsafe { start_four(&sums, used, depth.from_zero) };
    }

    /// Stores the sums in tiles 0 to 3, starts those of `next` there, and finishes the stored ones if no depth follows.
    ///
    /// # Safety
    /// As [`Sweep::run`].
    #[inline(always)]
    unsafe fn end(&mut self, tiles: [(usize, usize); 4], used: [bool; 4], depth: Depth, next: Option<[SumTile; 4]>) {
        let sums = tiles.map(|(row_tile, panel)| self.sweep.sum_after(row_tile, panel, depth));
        // SAFETY: passed on to the caller, whose sums and finished rows these are.
        unsafe {
            match &next {
                Some(next) => turn_four(&sums, next, used, depth.from_zero),
                None => store_four(&sums, used),
            }
        }
        for (i, (row_tile, panel)) in tiles.into_iter().enumerate() {
            if depth.is_last && used[i] {
                // SAFETY: as above.
                unsafe { self.dots.finish(&sums[i], row_tile, panel) };
            }
        }
    }
}
