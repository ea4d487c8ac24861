//! Weights on their way to tiles: codes of 8 bits are stored with 128 added, those of 4 bits two to a byte.

use std::ops::Range;

use crate::cpu::arch::x86_64::avx512::Avx512;
use crate::cpu::isa::Isa;
use crate::cpu::quant::{Line, QuantPanels, TILE_CODES, Width};
use crate::spec::contract::PANEL_COLS;

/// Tiles of depth of a panel that are unpacked at a time: those of two panels are 16 KiB, which stay in the first cache
/// while the rows' tiles pass.
pub const BLOCK_TILES: usize = 8;

/// The longest group that is unpacked whole.
pub const MAX_UNPACKED_LEN: usize = BLOCK_TILES * TILE_CODES;

/// Weights of two panels, some groups of them, as tiles of i8.
#[repr(C, align(64))]
pub struct Unpacked {
    /// A group's tiles one after the other, both panels of each. Lines behind a group that ends within a tile meet
    /// zeros in the rows.
    pub tiles: [[[Line; 16]; 2]; BLOCK_TILES],
    /// By group and panel.
    pub scales: [[[f32; PANEL_COLS]; 2]; BLOCK_TILES],
    /// As the scales; 4 bits alone.
    pub minima: [[[f32; PANEL_COLS]; 2]; BLOCK_TILES],
}

impl Unpacked {
    /// Room.
    #[inline(always)]
    pub fn zeroed() -> Self {
        Self {
            tiles: [[[Line([0; PANEL_COLS]); 16]; 2]; BLOCK_TILES],
            scales: [[[0.0; PANEL_COLS]; 2]; BLOCK_TILES],
            minima: [[[0.0; PANEL_COLS]; 2]; BLOCK_TILES],
        }
    }

    /// Unpacks groups of two panels: 8 bits lose the 128 that is added to them, 4 bits become bytes.
    #[inline(always)]
    pub fn fill(&mut self, isa: Avx512, weights: &QuantPanels, panels: [usize; 2], groups: Range<usize>) {
        let (code_lines, group_tiles) = (weights.code_lines(), weights.group_len.div_ceil(TILE_CODES));
        for (p, panel) in panels.into_iter().enumerate() {
            let panel = &weights.lines[panel * weights.panel_lines()..][..weights.panel_lines()];
            for (i, group) in groups.clone().enumerate() {
                let (codes, scales) = panel[group * (code_lines + 1)..][..code_lines + 1].split_at(code_lines);
                let tiles = &mut self.tiles[i * group_tiles..];
                match weights.width {
                    Width::Int8 => {
                        for (l, line) in codes.iter().enumerate() {
                            tiles[l / 16][p][l % 16] = Line(line.0.map(|codes| codes ^ 0x8080_8080));
                        }
                        self.scales[i][p] = *scales[0].as_f32();
                    }
                    Width::Int4 => {
                        for (l, line) in codes.iter().enumerate() {
                            tiles[0][p][2 * l] = Line(line.0.map(|codes| codes & 0x0f0f_0f0f));
                            tiles[0][p][2 * l + 1] = Line(line.0.map(|codes| codes >> 4 & 0x0f0f_0f0f));
                        }
                        let (scale, minimum) = isa.load_pairs(scales[0].as_pairs());
                        isa.store(scale, &mut self.scales[i][p]);
                        isa.store(minimum, &mut self.minima[i][p]);
                    }
                }
            }
        }
    }
}
