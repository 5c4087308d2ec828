//! Many faces through a session that takes a fixed number of them at a time.

use crate::error::{Error, Result};
use crate::exec::Session;
use crate::tensor::{Shape, Tensor};

/// What `session` gives for each face: of every fetch a row per face. `inputs` have a row per face too, of as many numbers as
/// the graph's input has for one; those that the plan does not read may be there. A last batch that is not full is filled up with
/// its own first face.
///
/// # Errors
/// Other numbers of rows, or of numbers in one; an input is missing; the device fails.
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

/// Coefficients as the device takes them.
pub fn narrowed(p: &[Vec<f64>]) -> Vec<Vec<f32>> {
    p.iter().map(|p| p.iter().map(|v| *v as f32).collect()).collect()
}
