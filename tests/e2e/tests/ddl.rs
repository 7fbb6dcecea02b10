//! Changes of structure on the source while it is followed.

mod statements;
