//! What is trained, in which order, for how long, and from which initial weights.

use super::Config;
use crate::vision::models::cbn::cascade::Variant;

/// Returns the entry of level `k` (from 0) in a list of [`Config`].
pub fn at<T: Copy>(list: &[T], k: usize) -> T {
    list[k.min(list.len() - 1)]
}

/// One training of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// G_A by L_A.
    Common,
    /// G_B by L_B.
    HighFrequency,
    /// All networks of a variant by the joint loss, starting from the branches trained alone or afresh.
    Joint(Variant),
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Common => "common",
            Self::HighFrequency => "high_frequency",
            Self::Joint(_) => "joint",
        }
    }
}

/// Level `k` (from 0) of a variant.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub variant: Variant,
    pub k: usize,
    /// Index of its sizes in the configuration, which is not `k` if the variant leaves levels out.
    pub level: usize,
}

impl Place {
    /// Returns the parts to train there, in order.
    pub fn parts(self, config: &Config) -> Vec<Part> {
        let joint = Part::Joint(self.variant);
        let parts = match self.variant {
            Variant::Full | Variant::Single => vec![Part::Common, Part::HighFrequency, joint],
            // The common branch is the full cascade's.
            Variant::Common => vec![joint],
            Variant::Fixed => vec![Part::HighFrequency, joint],
            // By the joint loss from the first step: L_B leaves free what no prior covers.
            Variant::HighFrequency => vec![joint],
        };
        parts.into_iter().filter(|&part| self.steps(config, part) > 0).collect()
    }

    /// Returns the scopes where the file of initial weights may have this network; the first that it has is used.
    pub fn origins(self, network: &str) -> Vec<Variant> {
        match (self.variant, network) {
            (Variant::Single, _) => vec![Variant::Single],
            (Variant::Fixed, "high_frequency") => vec![Variant::Fixed, Variant::HighFrequency, Variant::Full],
            (_, "common") => vec![Variant::Common, Variant::Full],
            (_, "high_frequency") => vec![Variant::HighFrequency, Variant::Full],
            (variant, _) => vec![variant],
        }
    }

    /// Returns the coefficients that the variant reads at level `k`: `still`, all 0, or those `found` by the full cascade.
    pub fn p<'a>(self, still: &'a [Vec<f64>], found: &'a [Vec<Vec<f64>>], k: usize) -> &'a [Vec<f64>] {
        if self.variant == Variant::Fixed { still } else { &found[k] }
    }

    pub fn steps(self, config: &Config, part: Part) -> u64 {
        let (alone, joint) = (at(&config.pretrain, self.level), at(&config.joint, self.level));
        match part {
            Part::Common | Part::HighFrequency => alone,
            // This loss is used from the first step to the last, for as many steps as the branch of the row `common` gets.
            Part::Joint(Variant::HighFrequency) => alone + joint,
            Part::Joint(_) => joint,
        }
    }
}

/// Returns the places of all variants, in the order of training.
pub fn places(levels: usize, variants: &[Variant]) -> Vec<Place> {
    let of = |&variant: &Variant| -> Vec<Place> {
        match variant {
            Variant::Single => vec![Place { variant, k: 0, level: levels - 1 }],
            _ => (0..levels).map(|k| Place { variant, k, level: k }).collect(),
        }
    };
    variants.iter().flat_map(of).collect()
}
