//! Why a record can't be read.

/// Says what is wrong with a record, in words that hold nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Malformed(pub(super) &'static str);

impl From<std::str::Utf8Error> for Malformed {
    fn from(_: std::str::Utf8Error) -> Self {
        Self("a text is not UTF-8")
    }
}
