//! The program's commands, the sandbox and the keys, over small projects. One binary, because linking one takes as long as all of
//! its tests.

#[path = "../harness/apt.rs"]
mod apt;
#[path = "../harness/files_server.rs"]
mod files_server;
#[path = "../harness/gpg.rs"]
mod gpg;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/lab.rs"]
mod lab;
#[path = "../harness/png.rs"]
mod png;
#[path = "../harness/running.rs"]
mod running;
#[path = "../harness/seeded.rs"]
mod seeded;
#[path = "../harness/signer.rs"]
mod signer;

mod cli;
mod clients;
mod completion;
mod deep_chains;
mod diff;
mod exchange;
mod explain;
mod fetch;
mod https;
mod init;
mod inputs;
mod inside;
mod interrupted;
mod isolation;
mod keys;
mod lock;
mod machine;
mod manual;
mod output;
mod profiles;
mod proxy;
mod release;
mod sandbox;
mod secrets;
mod terminal;
mod typing;
mod verify;
mod watch;
