fn main() { std::env::var("DEP_TREFOIL_LINK_ARGS").unwrap().split(' ').for_each(|a| println!("cargo:rustc-link-arg-bins={a}")) }
