//! How a target's connections are opened.

use engine_core::Result;
use engine_core::endpoint::EndpointUrl;
use std::sync::Arc;

use super::session::{self, Session};
use crate::connect::Connector;
use crate::server::{Flavor, Server};

/// Opens connections that write, each set up alike.
#[derive(Clone)]
pub(super) struct Connections(Arc<(Connector, Server)>);

impl Connections {
    pub(super) fn new(connector: Connector, server: Server) -> Self {
        Self(Arc::new((connector, server)))
    }

    pub(super) async fn open(&self) -> Result<Session> {
        session::open(&self.0.0, &self.0.1).await
    }

    /// A connection that only reads.
    pub(super) async fn open_reading(&self) -> Result<Session> {
        session::open_reading(&self.0.0).await
    }

    pub(super) fn url(&self) -> &EndpointUrl {
        self.0.0.url()
    }

    pub(super) fn server(&self) -> &Server {
        &self.0.1
    }

    pub(super) fn flavor(&self) -> Flavor {
        self.0.1.flavor
    }
}
