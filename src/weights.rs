//! A network's parameters by name, with their manifest. [`crate::import::weights`] reads and writes their files.

use crate::error::{Error, Result};
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
    /// Returns these weights with the name that `rename` gives each tensor, without those for which it gives none: another program's
    /// names, a prefix more or less, or a part of a network.
    ///
    /// ```
    /// use lineament::prelude::*;
    ///
    /// # fn main() -> Result<()> {
    /// let mut weights = Weights::default();
    /// weights.insert("module.features.0.weight", Tensor::zeros([4, 1, 3, 3]));
    /// weights.insert("module.classifier.weight", Tensor::zeros([2, 4]));
    /// let backbone = weights.renamed(|name| {
    ///     let layer = name.strip_prefix("module.features.")?.strip_suffix(".weight")?;
    ///     Some(format!("backbone/conv{layer}.w"))
    /// })?;
    /// assert_eq!(backbone.tensors().keys().collect::<Vec<_>>(), ["backbone/conv0.w"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Two tensors get the same name.
    pub fn renamed(&self, rename: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            if let Some(new) = rename(name)
                && tensors.insert(new.clone(), tensor.clone()).is_some()
            {
                return Err(Error::weights(
                    self.name(),
                    format!("{name:?} and another tensor are both renamed to {new:?}"),
                ));
            }
        }
        Ok(Self { tensors, ..self.clone() })
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
