//! Messages of the protocol, as openGauss shapes them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads a message: its type and what follows the length.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    Ok((kind, read_body(stream).await?))
}

/// Reads a length and what follows it: a startup message has no type.
pub(super) async fn read_body<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    let mut body = vec![0; length.checked_sub(4).ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// A message.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// `CopyData` with these bytes.
pub(super) fn copy_data(parts: &[&[u8]]) -> Vec<u8> {
    message(b'd', &parts.concat())
}

/// The end of a command.
pub(super) fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"].concat())
}

/// A row of texts.
pub(super) fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            None => body.extend_from_slice(&u32::MAX.to_be_bytes()),
            Some(value) => {
                body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                body.extend_from_slice(value);
            }
        }
    }
    message(b'D', &body)
}

/// The values of a row.
pub(super) fn values(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut values = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length);
        if length == u32::MAX {
            values.push(None);
            rest = behind;
            continue;
        }
        let Some((value, behind)) = behind.split_at_checked(length as usize) else { break };
        values.push(Some(value.to_vec()));
        rest = behind;
    }
    values
}

/// A description of rows of texts.
pub(super) fn description(names: &[&str]) -> Vec<u8> {
    let mut body = (names.len() as u16).to_be_bytes().to_vec();
    for name in names {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(&[0; 6]);
        body.extend_from_slice(&25_u32.to_be_bytes());
        body.extend_from_slice(&(-1_i16).to_be_bytes());
        body.extend_from_slice(&(-1_i32).to_be_bytes());
        body.extend_from_slice(&[0; 2]);
    }
    message(b'T', &body)
}

/// An error, with its fields in openGauss's order: a number of its own in `c`, the message before the SQLSTATE, a
/// module in `d`, and no severity in `V`.
pub(super) fn error(severity: &str, code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0c0\0M{text}\0C{code}\0dBACKEND\0\0").as_bytes())
}

/// What the server behind said of an error or a notice, as openGauss would have said it. With `fatal` an error is.
pub(super) fn reported(kind: u8, body: &[u8], fatal: bool) -> Vec<u8> {
    let field = |wanted: u8| {
        body.split(|byte| *byte == 0)
            .find_map(|field| field.split_first().filter(|(name, _)| **name == wanted).map(|(_, text)| text))
    };
    let mut fields = vec![b'S'];
    fields.extend_from_slice(if fatal { b"FATAL" } else { field(b'S').unwrap_or_default() });
    fields.extend_from_slice(b"\0c0\0");
    for name in *b"MC" {
        fields.push(name);
        fields.extend_from_slice(field(name).unwrap_or_default());
        fields.push(0);
    }
    fields.extend_from_slice(b"dBACKEND\0");
    for name in *b"DHWPpqFLR" {
        if let Some(text) = field(name) {
            fields.push(name);
            fields.extend_from_slice(text);
            fields.push(0);
        }
    }
    fields.push(0);
    message(kind, &fields)
}
