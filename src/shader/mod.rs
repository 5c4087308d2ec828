//! WGSL: what a file declares ([`Shader`]), and its text with constants set, loops unrolled and arrays stored as f16. The only room that names `naga::`.

mod half;
mod reflect;
mod spirv;
mod unroll;

pub(crate) use reflect::forget;
pub(crate) use reflect::specialized;
pub(crate) use reflect::with_half;
pub use reflect::{Entry, Member, Shader, Variable, reflect};
pub use spirv::{Resource, Spirv, Translated, translate, translate_text};
