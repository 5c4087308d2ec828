//! Named tensors and their manifest, as safetensors files.

use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// A network's parameters by node path, and what is known about them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    manifest: BTreeMap<String, String>,
}

impl Weights {
    /// Tensors without a manifest.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, manifest: BTreeMap::new() }
    }
    /// The file that they came from, for messages.
    pub fn name(&self) -> &str {
        "weights"
    }
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }
    pub fn manifest(&self) -> &BTreeMap<String, String> {
        &self.manifest
    }
}
