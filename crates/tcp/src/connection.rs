//! A connection: the half that any thread may touch, and the half that its worker drives.

mod shared;
mod state;

pub(crate) use shared::{Group, Shared, Shut, Station, Tell};
pub(crate) use state::{Birth, Connection, Fate};
