//! The command line: parses and calls.

fn main() -> std::process::ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Mesa's Vulkan layer prints errors on stderr without this variable, though nothing here opens a window.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
    lineament::cli::run(exit_now)
}

/// Ends the process while other threads run: the destructors that `exit` calls would take a driver's library from under them.
fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process, and takes no pointer.
    unsafe { libc::_exit(code) }
}
