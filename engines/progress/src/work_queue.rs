//! Work that brings more work, handed out to many workers.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::crew::side_by_side;

/// What is still to be done, and what of it comes next.
pub trait Backlog {
    /// A piece of work.
    type Work;

    /// Takes the next piece out; `None` if there is none at the moment.
    fn take(&mut self) -> Option<Self::Work>;
}

/// Hands out a backlog to many workers.
#[derive(Debug, Default)]
pub struct WorkQueue<B> {
    state: Mutex<State<B>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State<B> {
    backlog: B,
    /// Workers that may still bring more work.
    busy: usize,
    waiting: usize,
    is_over: bool,
}

impl<B: Backlog> WorkQueue<B> {
    /// Lets so many workers, each with what `begin` gave it, do the work and what it brings, until
    /// all is done.
    ///
    /// # Errors
    /// The first failure; then no worker takes another piece.
    pub fn work_off<S, E: Send>(
        &self,
        workers: usize,
        begin: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, B::Work) -> Result<(), E> + Sync,
    ) -> Result<(), E>
    where
        B: Send,
    {
        side_by_side(workers, begin, |kept| {
            let Some(piece) = self.next() else {
                return Ok(ControlFlow::Break(()));
            };
            let done = work(kept, piece);
            self.change(|state| {
                state.busy -= 1;
                state.is_over |= done.is_err();
            });
            done.map(|()| ControlFlow::Continue(()))
        })
    }

    /// Adds to the backlog.
    pub fn add(&self, more: impl FnOnce(&mut B)) {
        self.change(|state| more(&mut state.backlog));
    }

    /// Returns the next piece of work, waiting for it while others may bring some; `None` when
    /// all is done or something failed.
    fn next(&self) -> Option<B::Work> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(work) = state.backlog.take() {
                state.busy += 1;
                return Some(work);
            }
            if state.busy == 0 {
                return None;
            }
            state.waiting += 1;
            state = self
                .changed
                .wait(state)
                .expect("no worker panics while it holds the queue");
            state.waiting -= 1;
        }
    }

    /// Changes the state and tells those who wait, if anybody does.
    fn change(&self, change: impl FnOnce(&mut State<B>)) {
        let mut state = self.lock();
        change(&mut state);
        let somebody_waits = state.waiting > 0;
        drop(state);
        if somebody_waits {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state
            .lock()
            .expect("no worker panics while it holds the queue")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Numbers(Vec<u32>);

    impl Backlog for Numbers {
        type Work = u32;

        fn take(&mut self) -> Option<u32> {
            self.0.pop()
        }
    }

    #[test]
    fn workers_wait_for_the_work_that_others_bring() {
        let queue = WorkQueue::<Numbers>::default();
        let pieces = AtomicU32::new(0);
        queue.add(|numbers| numbers.0.push(10));
        let split = |_: &mut (), number: u32| {
            pieces.fetch_add(1, Ordering::Relaxed);
            queue.add(|numbers| {
                let below = number.checked_sub(1);
                numbers.0.extend(below.into_iter().flat_map(|it| [it, it]));
            });
            Ok::<_, ()>(())
        };
        queue.work_off(3, || (), split).unwrap();
        assert_eq!(pieces.into_inner(), (1 << 11) - 1);
    }

    #[test]
    fn the_first_failure_ends_the_work_of_all() {
        let queue = WorkQueue::<Numbers>::default();
        queue.add(|numbers| numbers.0.extend(0..1000));
        let done = AtomicU32::new(0);
        let fail = |_: &mut (), number: u32| {
            done.fetch_add(1, Ordering::Relaxed);
            Err(number)
        };
        assert!(queue.work_off(3, || (), fail).unwrap_err() >= 997);
        assert!(done.into_inner() <= 3);
    }
}
