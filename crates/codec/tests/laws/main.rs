//! Laws that hold for every framing, every option, every stream and every way to cut it.

mod check;
mod corpus;
mod draw;
mod exhaustive;
mod oracle;
mod properties;
mod spec;
