fn main() {
    for p in guest_build::build_all(std::path::Path::new(".")).unwrap() {
        println!("{}", p.display());
    }
}
