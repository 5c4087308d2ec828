//! Running plans: on an adapter (`gpu`), with the references (`cpu`), with both compared (`check`), timed (`profile`).

pub mod check;
