//! Entry point of the command line.

fn main() -> std::process::ExitCode {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Without this variable, Mesa's Vulkan layer prints errors on stderr, although nothing here opens a window.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
    lineament::cli::run(exit_now)
}

/// Ends the process while other threads run; destructors called by `exit` would unload a driver's library that they still use.
fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` ends the process and takes no pointer.
    unsafe { libc::_exit(code) }
}
