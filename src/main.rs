//! The `cachewarm` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    cachewarm::run(std::env::args_os())
}
