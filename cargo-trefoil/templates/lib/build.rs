//! Links the examples and the tests in tests/ as images of the machine.

fn main() {
    let image = std::env::var("DEP_TREFOIL_IMAGE").expect("trefoil is a dependency");
    println!("cargo::rustc-link-arg-examples={image}");
    println!("cargo::rustc-link-arg-tests={image}");
}
