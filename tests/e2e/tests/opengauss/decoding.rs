//! The stream of logical decoding, in every style.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::PATIENCE;
use engine_core::ErrorKind;
use engine_core::endpoint::EndpointUrl;
use engine_postgres::opengauss::decoding::{Change, Column, Event, Lsn, Style, Value};
use engine_postgres::opengauss::feed::{Arrival, Feed, FeedRequest, create_slot, drop_slot};
use test_kit::opengauss::{Double, Settings};
use tokio_postgres::Client;

use super::OpenGauss;

const STYLES: [(Style, bool); 7] = [
    (Style::Serial, false),
    (Style::Json { batched: false }, false),
    (Style::Json { batched: true }, true),
    (Style::Text { batched: false }, false),
    (Style::Text { batched: true }, true),
    (Style::Binary, false),
    (Style::Binary, true),
];

/// A database of a test's own on a server, with a table and a slot.
struct Scene {
    _server: OpenGauss,
    url: EndpointUrl,
    slot: String,
    sql: Client,
}

impl Scene {
    async fn new(server: OpenGauss, test: &str) -> Result<Self> {
        let name = format!("og_{test}_{}", std::process::id());
        let mut url = EndpointUrl::parse(&server.url)?;
        let sql = engine_postgres::opengauss::connect(&url).await?;
        sql.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        url.database = Some(name.clone());
        let sql = engine_postgres::opengauss::connect(&url).await?;
        sql.batch_execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.\"Order\" \
             (id integer PRIMARY KEY, \"a b\" varchar(40), n numeric(9, 2), b boolean, d timestamp)",
        )
        .await?;
        create_slot(&url, &name).await?;
        Ok(Self { _server: server, url, slot: name, sql })
    }

    async fn any(test: &str) -> Result<Self> {
        Self::new(OpenGauss::any()?, test).await
    }

    fn request(&self, style: Style, batched: bool) -> FeedRequest {
        FeedRequest { style, batched, skip_empty: true, ..FeedRequest::serial(&self.slot) }
    }

    async fn feed(&self, style: Style, batched: bool) -> Result<Feed> {
        self.open(&self.request(style, batched)).await
    }

    /// Opens a feed, as soon as the slot's last one is gone.
    async fn open(&self, request: &FeedRequest) -> Result<Feed> {
        let opened = async {
            loop {
                match Feed::open(&self.url, request).await {
                    Err(error) if is_in_use(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
                    outcome => return outcome.map_err(Into::into),
                }
            }
        };
        tokio::time::timeout(PATIENCE, opened).await.context("the slot stays in use")?
    }

    async fn drop(self) -> Result<()> {
        let dropped = async {
            loop {
                match drop_slot(&self.url, &self.slot).await {
                    Err(error) if is_in_use(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
                    outcome => return outcome.map_err(anyhow::Error::from),
                }
            }
        };
        tokio::time::timeout(PATIENCE, dropped).await.context("the slot stays in use")??;
        // The test's own connection is in the way of dropping the database.
        let Self { _server: server, slot, sql, .. } = self;
        drop(sql);
        let url = EndpointUrl::parse(&server.url)?;
        let sql = engine_postgres::opengauss::connect(&url).await?;
        let dropped = async {
            while let Err(error) = sql.batch_execute(&format!("DROP DATABASE {slot}")).await {
                if error.code().is_none_or(|code| code.code() != "55006") {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        Ok(tokio::time::timeout(PATIENCE, dropped).await.context("the database stays in use")??)
    }
}

fn is_in_use(error: &engine_core::Error) -> bool {
    error.why().is_some_and(|why| why.contains("55006"))
}

/// Reads so many transactions; answers them in words, and where the last ends.
async fn transactions(feed: &mut Feed, number: usize) -> Result<(Vec<String>, Option<Lsn>)> {
    let (mut told, mut ended, mut end) = (Vec::new(), 0, None);
    let read = async {
        while ended < number {
            let payload = match feed.next().await? {
                Arrival::Payload(payload) => payload,
                Arrival::Keepalive { .. } => {
                    feed.confirm(Lsn(0)).await?;
                    continue;
                }
            };
            for record in payload.records() {
                match record?.event {
                    Event::Begin(_) => told.push("begin".to_owned()),
                    Event::Change(change) => told.push(in_words(&change)),
                    Event::Truncate(truncate) => told.push(format!("truncate {:?}", truncate.tables)),
                    Event::Commit(commit) => {
                        ensure!(commit.committed_at.is_some(), "the time was asked for");
                        told.push("commit".to_owned());
                        ended += 1;
                        end = commit.end;
                    }
                    other => bail!("{other:?} is not expected"),
                }
            }
        }
        Ok((told, end))
    };
    tokio::time::timeout(PATIENCE, read).await.context("the transactions don't come")?
}

fn in_words(change: &Change<'_>) -> String {
    let row = |columns: &Option<Vec<Column<'_>>>| {
        let columns = columns.iter().flatten().map(|column| {
            let value = match &column.value {
                Value::Null => "NULL",
                Value::Unchanged => "as before",
                Value::Text(text) => match text.as_ref() {
                    "t" => "true",
                    "f" => "false",
                    other => other,
                },
            };
            format!("{}={value}", column.name)
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    let (new, old) = (row(&change.new), row(&change.old));
    format!("{:?} {}.{} ({new}) was ({old})", change.op, change.schema, change.table)
}

const CHANGES: [&str; 4] = [
    "INSERT INTO shop.\"Order\" VALUES (1, 'it''s \"ö\\', 12.50, true, '2024-02-29 23:59:59.123456'), \
     (2, NULL, NULL, false, NULL)",
    "BEGIN; UPDATE shop.\"Order\" SET \"a b\" = 'table public t INSERT: x[y]:''z''' WHERE id = 1; \
     UPDATE shop.\"Order\" SET id = 3 WHERE id = 2; COMMIT",
    "BEGIN; INSERT INTO shop.\"Order\" (id) VALUES (9); ROLLBACK",
    "DELETE FROM shop.\"Order\" WHERE id = 1",
];

const TOLD: [&str; 11] = [
    "begin",
    "Insert shop.Order (id=1, a b=it's \"ö\\, n=12.50, b=true, d=2024-02-29 23:59:59.123456) was ()",
    "Insert shop.Order (id=2, a b=NULL, n=NULL, b=false, d=NULL) was ()",
    "commit",
    "begin",
    "Update shop.Order (id=1, a b=table public t INSERT: x[y]:'z', n=12.50, b=true, \
     d=2024-02-29 23:59:59.123456) was (id=1)",
    "Update shop.Order (id=3, a b=NULL, n=NULL, b=false, d=NULL) was (id=2)",
    "commit",
    "begin",
    "Delete shop.Order () was (id=1)",
    "commit",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_style_says_the_same() -> Result<()> {
    let scene = Scene::any("styles").await?;
    for statement in CHANGES {
        scene.sql.batch_execute(statement).await?;
    }
    // Nothing is confirmed, so that all of it is sent again.
    for (style, batched) in STYLES {
        let mut feed = scene.feed(style, batched).await?;
        let (told, end) = transactions(&mut feed, 3).await.with_context(|| format!("{style:?}"))?;
        ensure!(told == TOLD, "{style:?} says {told:#?}");
        let has_end = !matches!(style, Style::Json { batched: false } | Style::Text { batched: false });
        ensure!(end.is_some() == has_end, "{style:?} ends at {end:?}");
        feed.close().await?;
    }
    scene.drop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_is_not_sent_again() -> Result<()> {
    let scene = Scene::any("confirmed").await?;
    let mut id = 0;
    for (style, batched) in
        [(Style::Serial, false), (Style::Json { batched: true }, true), (Style::Binary, false)]
    {
        id += 1;
        scene.sql.batch_execute(&format!("INSERT INTO shop.\"Order\" (id) VALUES ({id})")).await?;
        let mut feed = scene.feed(style, batched).await?;
        let (told, end) = transactions(&mut feed, 1).await?;
        ensure!(told[1].contains(&format!("id={id},")), "{style:?} says {told:#?}");
        feed.close().await?;
        // It was not confirmed.
        let mut feed = scene.feed(style, batched).await?;
        let (again, _) = transactions(&mut feed, 1).await?;
        ensure!(again == told, "{style:?} says {again:#?}");
        feed.confirm(end.context("a place to confirm")?).await?;
        feed.close().await?;
    }
    scene.drop().await
}

/// Why a parallel style is never chosen for somebody who didn't ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_serial_stream_has_a_truncate() -> Result<()> {
    let scene = Scene::any("truncate").await?;
    scene
        .sql
        .batch_execute(
            "BEGIN; INSERT INTO shop.\"Order\" (id) VALUES (1); TRUNCATE shop.\"Order\"; \
             INSERT INTO shop.\"Order\" (id) VALUES (2); COMMIT",
        )
        .await?;
    let mut feed = scene.feed(Style::Serial, false).await?;
    let (told, _) = transactions(&mut feed, 1).await?;
    ensure!(told.len() == 5 && told[2].starts_with("truncate"), "{told:#?}");
    feed.close().await?;
    let mut feed = scene.feed(Style::Binary, false).await?;
    let (told, _) = transactions(&mut feed, 1).await?;
    ensure!(told.len() == 3, "{told:#?}");
    feed.close().await?;
    scene.drop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_can_be_chosen() -> Result<()> {
    let scene = Scene::any("chosen").await?;
    scene.sql.batch_execute("CREATE TABLE shop.other (id integer PRIMARY KEY)").await?;
    scene.sql.batch_execute("INSERT INTO shop.\"Order\" (id) VALUES (1)").await?;
    scene.sql.batch_execute("INSERT INTO shop.other VALUES (2)").await?;
    for (style, batched) in STYLES {
        let tables = vec!["shop.other".to_owned()];
        let mut feed = scene.open(&FeedRequest { tables, ..scene.request(style, batched) }).await?;
        let (told, _) = transactions(&mut feed, 1).await?;
        ensure!(told[1..2] == ["Insert shop.other (id=2) was ()"], "{style:?} says {told:#?}");
        feed.close().await?;
    }
    scene.drop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_not_there_is_told() -> Result<()> {
    let server = OpenGauss::any()?;
    let url = EndpointUrl::parse(&server.url)?;
    for style in [Style::Serial, Style::Binary] {
        let request = FeedRequest { style, ..FeedRequest::serial("no_such_slot") };
        let error = Feed::open(&url, &request).await.err().context("it was opened")?;
        ensure!(error.to_string().contains("no_such_slot"), "{error}");
    }
    Ok(())
}

fn double(settings: Settings) -> Result<OpenGauss> {
    let double = Double::start(test_kit::postgres()?, settings)?;
    Ok(OpenGauss { url: double.url_of("postgres"), _double: Some(double) })
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_pool_of_threads_the_ha_port_is_found() -> Result<()> {
    let server = double(Settings { thread_pool: true, ..Settings::default() })?;
    let scene = Scene::new(server, "ha").await?;
    scene.sql.batch_execute("INSERT INTO shop.\"Order\" (id) VALUES (1)").await?;
    let mut feed = scene.feed(Style::Serial, false).await?;
    transactions(&mut feed, 1).await?;
    feed.close().await?;
    scene.drop().await
}

/// In a database with dolphin the text forms can't be believed about booleans.
#[tokio::test(flavor = "multi_thread")]
async fn with_dolphin_only_the_binary_style_has_booleans() -> Result<()> {
    let scene = Scene::new(double(Settings { dolphin: true, ..Settings::default() })?, "dolphin").await?;
    scene.sql.batch_execute("INSERT INTO shop.\"Order\" (id, b) VALUES (1, true)").await?;
    for (style, expected) in
        [(Style::Serial, "b=false"), (Style::Text { batched: true }, "b=false"), (Style::Binary, "b=1")]
    {
        let mut feed = scene.feed(style, true).await?;
        let (told, _) = transactions(&mut feed, 1).await?;
        ensure!(told[1].contains(expected), "{style:?} says {told:#?}");
        feed.close().await?;
    }
    scene.drop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_says_nothing_is_cut_off() -> Result<()> {
    let sender_timeout = Duration::from_secs(1);
    let scene = Scene::new(double(Settings { sender_timeout, ..Settings::default() })?, "silent").await?;
    for (style, batched) in [(Style::Serial, false), (Style::Binary, true)] {
        let mut feed = scene.feed(style, batched).await?;
        let mut asked = false;
        let ended = async {
            loop {
                match feed.next().await {
                    Ok(Arrival::Keepalive { reply_wanted, .. }) => asked |= reply_wanted,
                    Ok(Arrival::Payload(_)) => {}
                    Err(error) => return error,
                }
            }
        };
        let error = tokio::time::timeout(PATIENCE, ended).await.context("it goes on")?;
        ensure!(error.kind() == ErrorKind::Transient, "{error}");
        ensure!(asked, "it is asked before");
    }
    scene.drop().await
}
