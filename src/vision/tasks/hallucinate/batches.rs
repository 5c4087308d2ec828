//! Runs many faces through a session that takes a fixed number at a time.

use crate::error::{Error, Result};
use crate::exec::Session;
use crate::tensor::{Shape, Tensor};

/// Runs `session` on every face and returns, for each fetch, one row per face. Each of `inputs` has one row per face too, with
/// as many numbers as the graph's input has for one face; inputs that the plan does not read are ignored. An incomplete last
/// batch is padded with its own first face.
///
/// # Errors
/// The numbers of rows differ; a row has another length; an input is missing; the device fails.
pub fn over_faces(session: &Session, inputs: &[(&str, &[Vec<f32>])]) -> Result<Vec<Vec<Vec<f32>>>> {
    let plan = session.plan();
    let read: Vec<(&str, Shape, &[Vec<f32>])> = inputs
        .iter()
        .filter_map(|&(name, rows)| {
            let (_, value) = plan.inputs.iter().find(|(n, _)| n == name)?;
            Some((name, plan.values[*value].shape, rows))
        })
        .collect();
    let faces = inputs.first().map_or(0, |(_, rows)| rows.len());
    if let Some((name, rows)) = inputs.iter().find(|(_, rows)| rows.len() != faces) {
        return Err(Error::Usage(format!("{faces} faces need as many rows of {name:?}, got {}", rows.len())));
    }
    let batch = read.first().map_or(1, |(_, shape, _)| shape[0]);
    let mut all: Vec<Vec<Vec<f32>>> = vec![Vec::with_capacity(faces); plan.fetches.len()];
    for first in (0..faces).step_by(batch) {
        let count = batch.min(faces - first);
        let face = |k: usize| first + if k < count { k } else { 0 };
        let given: Vec<(&str, Tensor)> = read
            .iter()
            .map(|&(name, shape, rows)| {
                Ok((name, Tensor::new(shape, (0..batch).flat_map(|k| rows[face(k)].iter().copied()).collect())?))
            })
            .collect::<Result<_>>()?;
        let given: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (*name, tensor)).collect();
        for (all, found) in all.iter_mut().zip(session.run(&given)?) {
            let len = found.data().len() / batch;
            all.extend(found.data().chunks_exact(len).take(count).map(<[f32]>::to_vec));
        }
    }
    Ok(all)
}

/// Converts coefficients to f32, as the device takes them.
pub fn narrowed(p: &[Vec<f64>]) -> Vec<Vec<f32>> {
    p.iter().map(|p| p.iter().map(|v| *v as f32).collect()).collect()
}
