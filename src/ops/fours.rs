//! Siblings of plain kernels for GPUs: the same text, which reads and writes four numbers at a time.
//!
//! Such a text calls what it reads `T` and takes it from `shared/one.wgsl`; the sibling has `shared/four.wgsl` in its place.

use super::{Call, Caps, Family, Kernel, Source, Work};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const ONE: &str = include_str!("../../shaders/shared/one.wgsl");
const FOUR: &str = include_str!("../../shaders/shared/four.wgsl");

/// Returns the text of a sibling.
pub(super) fn text_of(text: &str) -> String {
    text.replace(ONE, FOUR)
}

/// Returns `kernels` and a sibling of the first, `relu/fours` for `relu/plain` and `loss/weighted_fours` for `loss/weighted`, which `serve`
/// serves. Each text is put together once.
pub(super) fn with_sibling(kernels: &'static [Kernel], serve: fn(&Call, &Caps) -> Option<Work>) -> &'static [Kernel] {
    static OF: Mutex<BTreeMap<&'static str, &'static [Kernel]>> = Mutex::new(BTreeMap::new());
    let mut all = OF.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(kernels[0].stem()).or_insert_with(|| {
        let plain = kernels[0].source;
        let stem = match plain.stem.strip_suffix("/plain") {
            Some(operation) => format!("{operation}/fours"),
            None => format!("{}_fours", plain.stem),
        };
        let sibling = Kernel::new(Source::built_in(stem.leak(), text_of(plain.text).leak()), serve);
        Vec::leak([kernels, &[sibling.only(Family::Hardware)]].concat())
    })
}

/// Returns `numbers` in units of `width`; `None` if they do not fill the last one.
pub(super) fn units(numbers: usize, width: usize) -> Option<usize> {
    numbers.is_multiple_of(width).then_some(numbers / width)
}

/// Returns how much faster a kernel of this width is taken to be than the plain one. A guess, not measured.
pub(super) fn gain(width: usize) -> f64 {
    if width == 1 { 1.0 } else { 1.5 }
}
