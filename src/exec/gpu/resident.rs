//! Parameters on devices, shared by sessions.

use super::adapter::Gpu;
use super::half::decode;
use crate::error::Result;
use crate::graph;
use crate::shape::Shape;
use crate::tensor::{DType, Tensor, len};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Part of a buffer, from `offset` bytes on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
}

/// A parameter in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'g> {
    pub name: &'g str,
    pub shape: Shape,
    pub is_half: bool,
    /// In bytes, from the beginning of the slot.
    pub offset: u64,
}

/// Places, shapes and whether they are stored as f16, by the name of their parameter.
type Places = BTreeMap<String, (Place, Shape, bool)>;

/// The places of parameters on each adapter to which they were uploaded.
#[derive(Default)]
pub struct Resident {
    on: Mutex<Vec<(Arc<Gpu>, Places)>>,
    /// What sessions on the references have overwritten, by name.
    host: Mutex<BTreeMap<String, Tensor>>,
    /// Sessions also share what they overwrite.
    is_live: bool,
    /// Increases whenever a session overwrites a shared parameter.
    version: Arc<AtomicU64>,
}

impl std::fmt::Debug for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Resident").field("is_live", &self.is_live).finish_non_exhaustive()
    }
}

impl Resident {
    /// Creates places for sessions that share all parameters and states, including those that they overwrite.
    pub fn live() -> Self {
        Self { is_live: true, ..Self::default() }
    }

    /// Creates places that are these, except that those of `members` lie in the parameter `arena`, and those of `others` are unknown.
    /// Both count as overwritten when either is.
    pub fn beside<'n>(
        &self,
        arena: &str,
        members: &[graph::Member],
        others: impl Iterator<Item = &'n String> + Clone,
    ) -> Self {
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (_, places) in &mut on {
            others.clone().for_each(|name| drop(places.remove(name)));
            let Some((Place { buffer, offset }, ..)) = places.get(arena).cloned() else { continue };
            for member in members {
                let place = Place { buffer: buffer.clone(), offset: offset + 4 * member.first as u64 };
                places.insert(member.name.clone(), (place, member.shape, false));
            }
        }
        Self { on: Mutex::new(on), host: Mutex::default(), is_live: self.is_live, version: self.version.clone() }
    }

    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Returns how often shared parameters were overwritten.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Counts that shared parameters were overwritten, and returns the new version.
    pub(super) fn overwritten(&self) -> u64 {
        self.version.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Returns the place on `gpu` of the slot with these parameters. If they do not already lie together in this way, `make` creates a
    /// buffer and uploads their values before any other session can see it.
    pub(super) fn place(&self, gpu: &Arc<Gpu>, members: &[Member], make: impl FnOnce() -> wgpu::Buffer) -> Place {
        let mut all = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|(on, _)| Arc::ptr_eq(on, gpu));
        let at = known.unwrap_or_else(|| {
            all.push((gpu.clone(), BTreeMap::new()));
            all.len() - 1
        });
        let places = &mut all[at].1;
        let begin = |member: &Member| {
            let (place, shape, is_half) = places.get(member.name)?;
            let offset = place.offset.checked_sub(member.offset)?;
            ((*shape, *is_half) == (member.shape, member.is_half))
                .then(|| Place { buffer: place.buffer.clone(), offset })
        };
        if let Some(first) = members.first().and_then(begin)
            && members.iter().all(|member| begin(member).as_ref() == Some(&first))
        {
            return first;
        }
        let buffer = make();
        for member in members {
            let place = Place { buffer: buffer.clone(), offset: member.offset };
            places.insert(member.name.to_owned(), (place, member.shape, member.is_half));
        }
        Place { buffer, offset: 0 }
    }

    /// Reads all parameters back from `gpu`, or from the references if there is none.
    ///
    /// # Errors
    /// The adapter fails.
    pub async fn read(&self, gpu: Option<&Arc<Gpu>>) -> Result<BTreeMap<String, Tensor>> {
        let Some(gpu) = gpu else {
            return Ok(self.host.lock().unwrap_or_else(PoisonError::into_inner).clone());
        };
        let places = {
            let all = self.on.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().find(|(on, _)| Arc::ptr_eq(on, gpu)).map(|(_, places)| places.clone()).unwrap_or_default()
        };
        let mut tensors = BTreeMap::new();
        for (name, (place, shape, is_half)) in places {
            let width = if is_half { 2 } else { 4 };
            let bytes = gpu.copy_out(&place, (width * len(&shape) as u64).next_multiple_of(4)).await?;
            tensors.insert(name, decode(shape, DType::F32, is_half, &bytes)?);
        }
        Ok(tensors)
    }

    /// Returns what sessions on the references have overwritten, by name.
    pub fn host(&self) -> &Mutex<BTreeMap<String, Tensor>> {
        &self.host
    }
}
