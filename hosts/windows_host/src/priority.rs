//! How much of the processors this process may take from others.
//!
//! Below normal, and not Windows' "background mode": that would also put reads and writes behind
//! everybody else's and keep the process in 32 MiB of memory, so on a host whose guests never rest a
//! backup would hardly move, and the checkpoint it holds would grow all the while.
//!
//! Unsafe code is run by: `others_come_first_once_it_was_said`.

#![expect(unsafe_code, reason = "priorities are set by a call")]

use windows::Win32::System::Threading::{
    BELOW_NORMAL_PRIORITY_CLASS, GetCurrentProcess, SetPriorityClass,
};

use crate::calls;
use crate::win32_error::Win32Error;

/// Lets others go first: guests, and what serves them, have normal priority.
///
/// # Errors
/// If Windows does not allow it.
pub fn let_others_go_first() -> Result<(), Win32Error> {
    calls::count("priority.let_others_go_first");
    // SAFETY: the handle is that of this process, which needs no closing.
    unsafe { SetPriorityClass(GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS) }
        .map_err(|error| Win32Error::new("set the priority of this process", &error))
}

#[cfg(test)]
mod tests {
    use windows::Win32::System::Threading::GetPriorityClass;

    use super::*;

    #[test]
    fn others_come_first_once_it_was_said() {
        let_others_go_first().expect("it can be set");
        // SAFETY: as above.
        let class = unsafe { GetPriorityClass(GetCurrentProcess()) };
        assert_eq!(class, BELOW_NORMAL_PRIORITY_CLASS.0);
    }
}
