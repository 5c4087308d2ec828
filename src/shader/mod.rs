//! WGSL: what a file declares ([`Shader`]), and its text with constants set and loops unrolled. The only room that names `naga::`.

mod reflect;
mod spirv;
mod unroll;

pub(crate) use reflect::forget;
pub(crate) use reflect::specialized;
pub use reflect::{Entry, Member, Shader, Variable, reflect};
pub use spirv::{Resource, Spirv, spirv, spirv_of_text};
