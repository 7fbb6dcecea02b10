//! A server of the kit survives being stopped and killed, keeps its port and data, and ends when dropped.

use std::net::TcpStream;

use test_kit::{Builder, Product, Server};

fn answer(server: &Server, statement: &str) -> String {
    let flag = if server.product().is_postgres() { "--command" } else { "--execute" };
    let output =
        server.client().expect("a client").args([flag, statement]).output().expect("the client runs");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn keeps_data_and_port(product: Product, setting: &str) {
    let server = Builder::new(product).line(setting).start().expect("the server starts");
    let port = server.port();
    answer(
        &server,
        "CREATE TABLE IF NOT EXISTS mysql.kept (n INT)".replace("mysql.", schema(product)).as_str(),
    );
    server.stop().expect("the server stops");
    assert!(!listens(port), "{product} still listens after it was stopped");
    server.start().expect("the server starts again");
    answer(&server, "INSERT INTO mysql.kept VALUES (7411)".replace("mysql.", schema(product)).as_str());
    server.restart().expect("the server restarts");
    let kept = answer(&server, "SELECT n FROM mysql.kept".replace("mysql.", schema(product)).as_str());
    assert!(kept.contains("7411"), "{product} answers {kept} after a restart");
    server.kill().expect("the server is killed");
    assert!(!listens(port), "{product} still listens after it was killed");
    server.start().expect("a killed server starts again");
    assert_eq!(server.port(), port);
    assert!(server.start().is_err(), "{product} was started twice");
    drop(server);
    assert!(!listens(port), "{product} still listens after its value was dropped");
}

fn schema(product: Product) -> &'static str {
    if product.is_postgres() { "public." } else { "mysql." }
}

#[test]
fn mysql() {
    keeps_data_and_port(Product::MySql, "max_connections=20");
}

#[test]
fn mariadb() {
    keeps_data_and_port(Product::MariaDb, "log_bin_compress=ON");
}

#[test]
fn postgres() {
    keeps_data_and_port(Product::Postgres15, "max_connections = 20");
}

#[test]
fn an_extra_line_wins_over_the_kits_own_setting() {
    let server =
        Builder::new(Product::MariaDb).line("binlog_row_image=MINIMAL").start().expect("the server starts");
    assert!(answer(&server, "SELECT @@binlog_row_image").contains("MINIMAL"));
}
