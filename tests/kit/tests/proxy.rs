//! What a client and a server notice of a proxy between them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use test_kit::Proxy;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

/// A proxy in front of a server of which the test holds the other end of each connection.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
}

impl Line {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Proxy::start("127.0.0.1", listener.local_addr()?.port())?;
        Ok(Self { proxy, listener })
    }

    fn client(&self) -> Result<TcpStream> {
        let url = self.proxy.url("scheme://user:word@elsewhere:1/name")?;
        let address = url.strip_prefix("scheme://user:word@").and_then(|rest| rest.strip_suffix("/name"));
        let client = TcpStream::connect(address.context("the rest of the URL changed")?)?;
        client.set_read_timeout(Some(LONG))?;
        Ok(client)
    }

    /// Both ends of a new connection.
    fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let client = self.client()?;
        let (server, _) = self.listener.accept()?;
        server.set_read_timeout(Some(LONG))?;
        Ok((client, server))
    }
}

fn says(from: &mut TcpStream, to: &mut TcpStream, text: &str) -> Result<()> {
    from.write_all(text.as_bytes())?;
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard)?;
    ensure!(heard == text.as_bytes(), "something else arrived");
    Ok(())
}

/// Whether the other side has ended or broken the connection.
fn has_ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn bytes_go_both_ways_until_the_connections_are_cut() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    says(&mut client, &mut server, "question")?;
    says(&mut server, &mut client, "answer")?;
    ensure!(line.proxy.connections() == 1);
    line.proxy.cut();
    ensure!(has_ended(&mut client) && has_ended(&mut server));
    let (mut client, mut server) = line.connect()?;
    says(&mut client, &mut server, "again")?;
    drop(server);
    ensure!(has_ended(&mut client), "the end of one side is the end of the other");
    Ok(())
}

#[test]
fn refused_connections_end_at_once() -> Result<()> {
    let line = Line::new()?;
    line.proxy.refuse(true);
    ensure!(has_ended(&mut line.client()?));
    line.proxy.heal();
    let (mut client, mut server) = line.connect()?;
    says(&mut client, &mut server, "taken")
}

#[test]
fn held_bytes_arrive_later_and_in_order() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    line.proxy.hold(true);
    client.write_all(b"one ")?;
    server.set_read_timeout(Some(SHORT))?;
    ensure!(!has_ended(&mut server), "a held connection stays open");
    client.write_all(b"two")?;
    ensure!(line.proxy.held_back() == 1, "nothing is held back");
    line.proxy.hold(false);
    let mut heard = [0; 7];
    server.read_exact(&mut heard)?;
    ensure!(&heard == b"one two");
    ensure!(line.proxy.held_back() == 0, "something is held back still");
    Ok(())
}

#[test]
fn what_is_lost_arrives_once_it_is_sent_again() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    line.proxy.lose(Some(2));
    let begin = Instant::now();
    for _ in 0..2 {
        says(&mut client, &mut server, "there")?;
        says(&mut server, &mut client, "and back")?;
    }
    ensure!(begin.elapsed() >= Duration::from_millis(400), "two losses took {:?}", begin.elapsed());
    line.proxy.heal();
    says(&mut client, &mut server, "at once")
}

#[test]
fn delays_and_limits_slow_bytes_down() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    line.proxy.delay(SHORT);
    let begin = Instant::now();
    says(&mut client, &mut server, "there")?;
    says(&mut server, &mut client, "and back")?;
    ensure!(begin.elapsed() >= 2 * SHORT, "a round trip took {:?}", begin.elapsed());
    line.proxy.heal();
    line.proxy.limit(Some(10_000));
    let begin = Instant::now();
    says(&mut client, &mut server, &"x".repeat(5_000))?;
    ensure!(begin.elapsed() >= Duration::from_millis(450), "5,000 bytes took {:?}", begin.elapsed());
    Ok(())
}

#[test]
fn an_answer_can_be_truncated() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    line.proxy.truncate_after(3);
    server.write_all(b"answer")?;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard)?;
    ensure!(heard == b"ans", "{heard:?}");
    let (mut client, mut server) = line.connect()?;
    says(&mut server, &mut client, "whole")
}

#[test]
fn a_bit_can_be_wrong() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    line.proxy.corrupt_after(2);
    server.write_all(b"answer")?;
    let mut heard = [0; 6];
    client.read_exact(&mut heard)?;
    ensure!(&heard == b"anrwer", "{heard:?}");
    says(&mut server, &mut client, "answer")
}

#[test]
fn forgotten_connections_stay_silent_and_new_ones_do_not() -> Result<()> {
    let line = Line::new()?;
    let (mut client, mut server) = line.connect()?;
    says(&mut client, &mut server, "before")?;
    line.proxy.hold_open_connections();
    client.write_all(b"into the void")?;
    server.set_read_timeout(Some(SHORT))?;
    ensure!(!has_ended(&mut server), "a forgotten connection stays open");
    let (mut client, mut server) = line.connect()?;
    says(&mut client, &mut server, "heard")
}
