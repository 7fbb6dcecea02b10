//! MariaDB's INET4 and INET6, as the text that the server makes of them.

use std::io::Write as _;
use std::net::Ipv4Addr;

use super::bytes::Malformed;

/// Bytes of an address of the type `native`; `None` when it is not an address type.
pub(crate) fn width(native: &str) -> Option<usize> {
    match native {
        "inet4" => Some(4),
        "inet6" => Some(16),
        _ => None,
    }
}

/// Appends an address of `width` bytes. The log leaves zero bytes at its end out.
pub(crate) fn decode_into(raw: &[u8], width: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    const TOO_LONG: Malformed = Malformed("an address is longer than its type");
    let mut bytes = [0; 16];
    bytes.get_mut(..raw.len()).filter(|_| raw.len() <= width).ok_or(TOO_LONG)?.copy_from_slice(raw);
    match bytes {
        [a, b, c, d, ..] if width == 4 => write_text(out, format_args!("{}", Ipv4Addr::new(a, b, c, d))),
        _ => version_six(bytes, out),
    }
    Ok(())
}

/// The server's text of an IPv6 address. It differs from RFC 5952 in two ways: `::` stands for a
/// single zero too, and every address of no more than 32 significant bits that needs more than
/// the last 16 of them is shown with an IPv4 address at its end.
fn version_six(bytes: [u8; 16], out: &mut Vec<u8>) {
    let groups = std::net::Ipv6Addr::from(bytes).segments();
    let zeros = |start: usize| groups.iter().skip(start).take_while(|&&group| group == 0).count();
    // The first of the longest: of equals, `max_by_key` takes the last.
    let gap = (0..groups.len()).rev().map(|start| (start, zeros(start))).max_by_key(|&(_, length)| length);
    let (start, length) = gap.unwrap_or_default();
    let [_, _, _, _, _, sixth, high, low] = groups;
    let embedded = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (start, length) {
        (0, 6) => write_text(out, format_args!("::{embedded}")),
        (0, 5) if sixth == 0xffff => write_text(out, format_args!("::ffff:{embedded}")),
        (_, 0) => join(groups.iter(), out),
        _ => {
            join(groups.iter().take(start), out);
            out.extend_from_slice(b"::");
            join(groups.iter().skip(start + length), out);
        }
    }
}

fn join<'a>(groups: impl Iterator<Item = &'a u16>, out: &mut Vec<u8>) {
    for (index, group) in groups.enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        write_text(out, format_args!("{colon}{group:x}"));
    }
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn text(raw: &[u8], width: usize) -> String {
        let mut out = Vec::new();
        decode_into(raw, width, &mut out).expect("an address");
        String::from_utf8(out).expect("text")
    }

    fn stripped(bytes: &[u8]) -> &[u8] {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        &bytes[..end]
    }

    #[test]
    fn addresses_read_as_the_server_writes_them() {
        // Each as MariaDB 10.11 answers it.
        for expected in [
            "::",
            "::1",
            "fe80::",
            "::ffff:192.0.2.128",
            "::192.0.2.1",
            "::0.1.0.2",
            "::0.1.0.0",
            "::1.0.0.0",
            "1:0:0:2::3",
            "2001:db8::1:0:0:1",
            "2001::1:0:1:0:1:0",
            "2001:db8::ff00:42:8329",
            "1:2:3:4:5:6:7:8",
        ] {
            let address: Ipv6Addr = expected.parse().expect("an address");
            assert_eq!(text(stripped(&address.octets()), 16), expected);
        }
        assert_eq!(text(&[10, 32], 4), "10.32.0.0");
        assert_eq!(text(&[], 4), "0.0.0.0");
        assert!(decode_into(&[1; 5], 4, &mut Vec::new()).is_err());
        assert!(decode_into(&[1; 17], 16, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn the_text_means_the_address(groups in prop::array::uniform8(prop_oneof![Just(0u16), any::<u16>()])) {
            let address = Ipv6Addr::from(groups);
            prop_assert_eq!(text(stripped(&address.octets()), 16).parse(), Ok(address));
        }
    }
}
