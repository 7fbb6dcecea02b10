//! The other end of a connection, for tests: it sends and expects what a test says.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::channel::Channel;

pub(crate) struct TestServer(Option<DuplexStream>);

impl TestServer {
    pub(crate) fn new() -> (Self, Channel) {
        let (here, there) = tokio::io::duplex(1 << 20);
        (Self(Some(here)), Channel::new(Box::new(there)))
    }

    fn stream(&mut self) -> &mut DuplexStream {
        self.0.as_mut().expect("the connection is open")
    }

    pub(crate) fn close(&mut self) {
        self.0 = None;
    }

    pub(crate) async fn send(&mut self, tag: u8, body: &[u8]) {
        self.bytes(&message(tag, body)).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).await.expect("there is room");
    }

    pub(crate) async fn startup(&mut self) -> Vec<(String, String)> {
        let length = self.stream().read_u32().await.expect("a length") as usize;
        let mut body = vec![0; length - 4];
        self.stream().read_exact(&mut body).await.expect("a startup message");
        assert_eq!(body[..4], [0, 3, 0, 0], "the protocol's version");
        let texts: Vec<_> = body[4..].split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
        let pairs = texts.chunks_exact(2).map(|pair| (pair[0].to_string(), pair[1].to_string()));
        pairs.take_while(|(name, _)| !name.is_empty()).collect()
    }

    pub(crate) async fn receive(&mut self) -> (u8, Vec<u8>) {
        let tag = self.stream().read_u8().await.expect("a message");
        let length = self.stream().read_u32().await.expect("a length") as usize;
        let mut body = vec![0; length - 4];
        self.stream().read_exact(&mut body).await.expect("a message");
        (tag, body)
    }
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}
