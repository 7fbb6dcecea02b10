//! Starts one server of each product named and keeps them until Enter is pressed.
use test_kit::{Builder, Product};

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut servers = Vec::new();
    for product in Product::ALL {
        if wanted.is_empty() || wanted.iter().any(|name| name == product.name()) {
            let begin = std::time::Instant::now();
            let server = Builder::new(product).start()?;
            println!("{product}: {} in {:.1} s", server.url(), begin.elapsed().as_secs_f64());
            servers.push(server);
        }
    }
    println!("Enter ends them.");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
