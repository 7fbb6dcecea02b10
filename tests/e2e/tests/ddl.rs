//! Changes of structure on the source while it is followed.

mod answered;
mod carried;
mod shadow;
mod statements;
mod stops;
