//! The examples as programs of their own, as their users run them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;

use crate::until::until;

/// The binary of an example. All are built once if they are not what the source says.
pub fn example(name: &str) -> PathBuf {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLES.get_or_init(build).join(name)
}

/// Sends a signal, such as `-TERM`, and waits for the end.
pub fn end_by(signal: &str, child: &mut Child) -> ExitStatus {
    let pid = child.id().to_string();
    let told = Command::new("kill").args([signal, &pid]).status();
    assert!(told.expect("kill(1) is there").success());
    until("the end after a signal", || {
        child.try_wait().expect("it is our child")
    })
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("a test is a file");
    // target/<profile>/deps/<test>
    let profile = test.parent().and_then(Path::parent).expect("cargo's tree");
    let target = profile.parent().expect("cargo's tree");
    let name = profile.file_name().expect("cargo's tree");
    // The whole workspace, as `cargo test` has it: then the features are the same, and
    // everything but the examples themselves is there already.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace"])
        .args(["--example", "echo", "--example", "client"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .args(match name.to_str() {
            Some("release") => &["--release"][..],
            _ => &[],
        })
        .status();
    assert!(status.expect("cargo is there").success());
    profile.join("examples")
}
