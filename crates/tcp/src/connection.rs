//! A connection: the half that any thread may touch, and the half that its worker drives.

mod ends;
mod pieces;
mod shared;
mod state;
mod waiting;

pub(crate) use pieces::Taken;
pub(crate) use shared::{Group, Shared, Shut, Station, Tell};
pub(crate) use state::{Asked, Birth, Buffers, Connection, Fate};
