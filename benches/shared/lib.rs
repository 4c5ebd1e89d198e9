//! What the benchmarks of Portcullis share: data, contenders that take turns, the table at the end.
//! Each group names the property that it protects, and its peer or its limit runs beside it; see
//! `README.md` in `benches`.

pub mod data;
pub mod parts;
pub mod results;
pub mod rounds;
pub mod table;
