fn main() { println!("cargo::rustc-link-arg-bins={}", std::env::var("DEP_TREFOIL_IMAGE").unwrap()) }
