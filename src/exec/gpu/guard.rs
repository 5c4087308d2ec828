//! Words that a checked session puts after every buffer and texture, and inspects after a run.

use super::adapter::words_per_texel;
use super::resident::Place;
use super::session::{GpuSession, Memory};
use crate::error::Result;
use crate::layout::{Layout, TEXELS_PER_ROW};
use crate::plan::{Hold, Plan, Value};
use crate::rng::Rng;
use crate::tensor::len;

/// Watched words after every buffer of a guarded session.
pub(super) const GUARD_WORDS: usize = 64;
/// Watched blocks of rows after every texture.
pub(super) const GUARD_BLOCKS: u64 = 1;

/// What a guarded session puts after every buffer and texture, and into memory that has not been written yet. Used for checks: two
/// sessions with different guards on the same inputs give the same bits unless a kernel reads what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Unwritten memory is NaN.
    First,
    /// Unwritten memory is large numbers, since `max` and comparisons drop NaN.
    Second,
}

impl Guard {
    /// Returns `count` words for the end of slot `slot`: alternating large numbers and NaNs, different for every slot, so that what
    /// a kernel reads past the end of one tensor differs from what lies past the end of the one that it writes.
    fn words(self, slot: usize, count: usize) -> Vec<u32> {
        let first = usize::from(self == Self::Second);
        let mut rng = Rng::new((slot as u64) << 1 | first as u64);
        let mut word = |i: usize| {
            let bits = rng.next_u64() as u32;
            if i % 2 == first { Self::large(bits) } else { 0x7FC0_0000 | bits & 0x003F_FFFF | 1 }
        };
        (0..count).map(&mut word).collect()
    }

    /// Returns what `count` unwritten words of slot `slot` hold.
    fn fill(self, slot: usize, count: usize) -> Vec<u32> {
        let mut rng = Rng::new(slot as u64);
        match self {
            Self::First => vec![0x7FC0_DEAD; count],
            Self::Second => (0..count).map(|_| Self::large(rng.next_u64() as u32)).collect(),
        }
    }

    /// Returns a number whose magnitude is at least 2^10 and below 2^18, made from these bits.
    fn large(bits: u32) -> u32 {
        bits & 0x807F_FFFF | (127 + 10 + (bits >> 23) % 8) << 23
    }
}

impl GpuSession {
    /// Fills memory that a run must not read before it writes it.
    pub(super) fn fill_unwritten(&self, plan: &Plan, guard: Guard) {
        for (slot, s) in plan.slots.iter().enumerate() {
            if s.hold == Hold::Reused {
                let words = guard.fill(slot, (s.bytes / 4) as usize);
                self.gpu.queue.write_buffer(&self.place(slot).buffer, 0, bytemuck::cast_slice(&words));
            }
        }
        for (value, view) in self.textures(plan).filter(|(value, _)| !value.is_prepared) {
            let words = guard.fill(value.slot, value.bytes() as usize / 4);
            self.write_texels(view, value.layout, 0, &words);
        }
        // The gaps of a pack stay zero.
        let is_computed = |v: &&Value| plan.slots[v.slot].hold == Hold::Pack { is_kept: false };
        for value in plan.values.iter().filter(|v| v.within.is_some()).filter(is_computed) {
            let words = guard.fill(value.slot, len(&value.shape));
            let buffer = &self.place(value.slot).buffer;
            self.gpu.queue.write_buffer(buffer, value.offset_bytes, bytemuck::cast_slice(&words));
        }
    }

    /// Writes the watched words: after every buffer, and after the last texel of every value in a texture.
    pub(super) fn write_guards(&self, plan: &Plan, guard: Guard) {
        for (slot, s) in plan.slots.iter().enumerate() {
            if let Memory::Buffer(Place { buffer, .. }) = &self.memory[slot] {
                let words = guard.words(slot, GUARD_WORDS);
                self.gpu.queue.write_buffer(buffer, s.bytes, bytemuck::cast_slice(&words));
            }
        }
        for (value, view) in self.textures(plan) {
            let words = words_per_texel(value.layout);
            let used = value.layout.elements(&value.shape);
            let total = (view.texture().height() as usize) * TEXELS_PER_ROW;
            let all = guard.words(value.slot, (total - used) * words);
            // The rest of the row in which the value ends, then whole rows.
            let rest = (used.next_multiple_of(TEXELS_PER_ROW) - used) * words;
            for (from, words) in [(used, &all[..rest]), (used.next_multiple_of(TEXELS_PER_ROW), &all[rest..])] {
                self.write_texels(view, value.layout, from, words);
            }
        }
    }

    /// Returns the values that lie in textures, each with its texture.
    fn textures<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (&'a Value, &'a wgpu::TextureView)> {
        plan.values.iter().filter_map(|value| match &self.memory[value.slot] {
            Memory::Texture(view) => Some((value, view)),
            Memory::Buffer(_) => None,
        })
    }

    /// Returns the slots of a guarded session whose guard words a run overwrote.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn broken_guards(&self, plan: &Plan) -> Result<Vec<usize>> {
        let Some(guard) = self.guard else { return Ok(Vec::new()) };
        let mut broken = Vec::new();
        for (slot, s) in plan.slots.iter().enumerate().filter(|(_, s)| s.hold.layout() == Layout::Rows) {
            let place = Place { offset: s.bytes, ..self.place(slot).clone() };
            let bytes = self.gpu.copy_out(&place, 4 * GUARD_WORDS as u64).await?;
            if bytemuck::pod_collect_to_vec::<u8, u32>(&bytes) != guard.words(slot, GUARD_WORDS) {
                broken.push(slot);
            }
        }
        for (value, view) in self.textures(plan) {
            let words = words_per_texel(value.layout);
            let used = value.layout.elements(&value.shape);
            let all = self.read_texture(view, value.layout).await?;
            if all[used * words..] != guard.words(value.slot, all.len() - used * words) {
                broken.push(value.slot);
            }
        }
        Ok(broken)
    }
}
