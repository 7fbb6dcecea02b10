//! What the server's refusals mean on a replication connection.

use bytes::Bytes;
use engine_core::{Error, ErrorKind};

use super::fields::{Fields, Malformed};
use crate::failure::ServerReport;

/// The error in an `ErrorResponse`; `what` says what was being done.
pub(crate) fn error(body: &Bytes, what: &str) -> Error {
    match read(body) {
        Ok(said) => translate(&said, what),
        Err(malformed) => malformed.into(),
    }
}

/// The error of a login that was refused.
pub(crate) fn of_login(body: &Bytes) -> Error {
    let what = match read(body).as_ref().map_or("", |said| said.code.as_str()) {
        "28P01" => "the source refused the password",
        "3D000" => "the source has no such database",
        "42501" => {
            return error(body, "the account may not replicate from the source").help(
                "let a superuser ALTER ROLE the account REPLICATION, or grant it the role by which the provider \
                 gives that",
            );
        }
        "53300" => "the source has no room for a replication connection",
        _ => "the source refused the login",
    };
    error(body, what)
}

/// The text of a notice, for a log.
pub(crate) fn notice(body: &Bytes) -> String {
    read(body).map_or_else(|_| "unreadable".to_owned(), |said| said.message)
}

/// What an `ErrorResponse` holds, as far as it is used.
#[derive(Debug, Default)]
struct Said {
    code: String,
    message: String,
    detail: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

fn read(body: &[u8]) -> Result<Said, Malformed> {
    let mut fields = Fields::new(body);
    let mut said = Said::default();
    loop {
        let kind = fields.u8()?;
        if kind == 0 {
            return Ok(said);
        }
        // Before the login is through, messages are in the server's own encoding.
        let text = String::from_utf8_lossy(fields.terminated()?).into_owned();
        match kind {
            b'C' => said.code = text,
            b'M' => said.message = text,
            b'D' => said.detail = Some(text),
            b's' => said.schema = Some(text),
            b't' => said.table = Some(text),
            b'c' => said.column = Some(text),
            b'n' => said.constraint = Some(text),
            _ => {}
        }
    }
}

fn translate(said: &Said, what: &str) -> Error {
    let report = ServerReport {
        code: &said.code,
        message: &said.message,
        detail: said.detail.as_deref(),
        schema: said.schema.as_deref(),
        table: said.table.as_deref(),
        column: said.column.as_deref(),
        constraint: said.constraint.as_deref(),
    };
    // A slot stays in use until the server has noticed that whoever read from it is gone.
    let error =
        if said.code == "55006" { report.error_of(ErrorKind::Transient, what) } else { report.error(what) };
    match remedy(&said.code) {
        Some(help) => error.help(help),
        None => error,
    }
}

fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "check user and password of the source URL; a % in a password is written %25",
        "28000" => "check the user, and the server's pg_hba.conf for this host, user, database and sslmode",
        "3D000" => "name a database that the source has",
        "42501" => "grant the account the privilege named, or use one that has it",
        // All that a stream names are slot and publication.
        "42704" => {
            "was it dropped or renamed? the target may lack changes that were made meanwhile: begin a new task with \
             another --name"
        }
        "53300" => {
            "raise max_wal_senders and max_connections on the source, or stop replicas that are not needed"
        }
        "53400" => {
            "raise max_replication_slots on the source, or drop slots that nobody reads (pg_replication_slots)"
        }
        "55006" => {
            "stop whoever else reads from the slot; after an engine was killed, the server frees it by itself"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(fields: &[(u8, &str)]) -> Bytes {
        let mut body = Vec::new();
        for (kind, text) in fields {
            body.push(*kind);
            body.extend(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        body.into()
    }

    #[test]
    fn the_servers_words_and_class_are_kept() {
        let error = of_login(&body(&[
            (b'S', "FATAL"),
            (b'C', "42501"),
            (b'M', "must be superuser"),
            (b'D', "Only roles may."),
            (b'X', "of a later version"),
        ]));
        assert_eq!(error.kind(), ErrorKind::Precondition);
        let text = error.to_string();
        assert!(text.contains("must be superuser (SQLSTATE 42501): Only roles may."), "{text}");
        assert!(text.contains("REPLICATION"), "{text}");
    }

    #[test]
    fn a_slot_in_use_may_become_free() {
        let busy = body(&[(b'C', "55006"), (b'M', "replication slot \"a\" is active for PID 7")]);
        assert_eq!(error(&busy, "").kind(), ErrorKind::Transient);
        let lost = body(&[(b'C', "55000"), (b'M', "cannot read from it")]);
        assert_eq!(error(&lost, "").kind(), ErrorKind::Precondition);
    }

    #[test]
    fn an_unreadable_error_is_an_error() {
        assert_eq!(error(&Bytes::from_static(b"Mno end"), "").kind(), ErrorKind::Divergence);
    }
}
