//! A network's parameters by name, with their manifest. [`crate::import::weights`] reads and writes their files.

use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// A network's parameters by node path, with a manifest of what is known about them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights {
    name: String,
    tensors: BTreeMap<String, Tensor>,
    manifest: BTreeMap<String, String>,
}

impl Weights {
    /// Creates weights; `name` is that of the file, for messages.
    pub fn new(name: impl Into<String>, tensors: BTreeMap<String, Tensor>, manifest: BTreeMap<String, String>) -> Self {
        Self { name: name.into(), tensors, manifest }
    }
    /// Creates weights without a manifest.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, ..Self::default() }
    }

    /// Returns the file that the weights came from, for messages, or `weights` if there is none.
    pub fn name(&self) -> &str {
        if self.name.is_empty() { "weights" } else { &self.name }
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
    /// Returns these weights with `tensors` added, or in place of those of the same name.
    pub fn and(&self, tensors: BTreeMap<String, Tensor>) -> Self {
        let mut all = self.clone();
        all.tensors.extend(tensors);
        all
    }
    /// Sets a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }
    /// Sets an entry of the manifest. `sha256` is computed on saving, regardless of what is set here.
    pub fn set_manifest(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.manifest.insert(key.into(), value.into());
    }
}
