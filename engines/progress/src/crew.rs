//! Workers that do the same work side by side until there is no more or one of them fails.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// Runs `step` on `workers` threads, each again and again with what `begin` gave it, until steps
/// say that nothing is left.
///
/// # Errors
/// The first failure; then no worker begins another step.
pub fn side_by_side<S, E: Send>(
    workers: usize,
    begin: impl Fn() -> S + Sync,
    step: impl Fn(&mut S) -> Result<ControlFlow<()>, E> + Sync,
) -> Result<(), E> {
    let failure: Mutex<Option<E>> = Mutex::new(None);
    // A worker that panics ends the scope with its panic; what others find in here stays true.
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                let mut kept = begin();
                while failed().is_none() {
                    match step(&mut kept) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => return,
                        Err(error) => {
                            failed().get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn all_work_is_done_once() {
        let (next, sum) = (AtomicU32::new(0), AtomicU32::new(0));
        let step = |_: &mut ()| match next.fetch_add(1, Ordering::Relaxed) {
            number if number < 1000 => {
                sum.fetch_add(number, Ordering::Relaxed);
                Ok::<_, ()>(ControlFlow::Continue(()))
            }
            _ => Ok(ControlFlow::Break(())),
        };
        side_by_side(4, || (), step).unwrap();
        assert_eq!(sum.into_inner(), 999 * 1000 / 2);
    }

    #[test]
    fn the_first_failure_is_told_and_no_worker_goes_on() {
        let steps = AtomicU32::new(0);
        let step = |_: &mut ()| Err::<ControlFlow<()>, _>(steps.fetch_add(1, Ordering::Relaxed));
        assert!(side_by_side(3, || (), step).unwrap_err() < 3);
        assert!(steps.into_inner() <= 3);
    }

    #[test]
    fn no_workers_are_one() {
        let begun = AtomicU32::new(0);
        let begin = || begun.fetch_add(1, Ordering::Relaxed);
        side_by_side(0, begin, |_| Ok::<_, ()>(ControlFlow::Break(()))).unwrap();
        assert_eq!(begun.into_inner(), 1);
    }
}
