//! Benchmarks of Portcullis. Each group names the property that it protects, and its peer or its
//! limit runs beside it; see `README.md` here.
