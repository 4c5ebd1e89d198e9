//! Sets `cfg(shuttle)` for this package alone. As a compiler flag for all packages it would want
//! every dependency built once more.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
