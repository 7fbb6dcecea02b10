//! End-to-end tests: the engine's binary between real servers, judged by what a user would see.

mod bad_plugin;
mod bad_server;
mod bad_state;
mod big;
mod campaign;
mod control;
mod cutover;
mod ddl;
mod dead_letter;
mod failover;
mod failpoints;
mod faults;
mod interrupt;
mod live;
mod locks;
mod mysql_target;
mod outage;
mod plugins;
mod precheck;
mod refused;
mod resume;
mod schema;
mod strict;
mod types;
mod verify;
mod visibility;
