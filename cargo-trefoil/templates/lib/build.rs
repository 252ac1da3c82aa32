fn main() { println!("cargo::rustc-link-arg-examples={}", std::env::var("DEP_TREFOIL_IMAGE").unwrap()) }
