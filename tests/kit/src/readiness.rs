//! Asks a server whether it serves, without a database driver.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::USER;
use crate::product::Product;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the server on this port takes connections now.
pub(crate) fn serves(product: Product, port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, TIMEOUT) else { return false };
    if stream.set_read_timeout(Some(TIMEOUT)).is_err() {
        return false;
    }
    if product.is_postgres() { postgres_serves(stream) } else { mysql_serves(stream) }
}

/// A `MySQL` server that is ready greets with protocol version 10; one that is not answers an error packet (0xff).
fn mysql_serves(mut stream: TcpStream) -> bool {
    let mut greeting = [0_u8; 5];
    stream.read_exact(&mut greeting).is_ok() && greeting.last() == Some(&10)
}

/// A `PostgreSQL` server that is ready asks for the password (`R`); one that is starting answers an error (`E`).
fn postgres_serves(mut stream: TcpStream) -> bool {
    let mut body = vec![0, 3, 0, 0];
    for text in ["user", USER, "database", "postgres", ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or_default().to_be_bytes();
    let mut answer = [0_u8; 1];
    stream.write_all(&length).is_ok()
        && stream.write_all(&body).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"R"
}
