//! How long the S3 store waits, how often it repeats a request, how many it makes at a time.

use std::time::Duration;

/// Limits of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Limits {
    /// Requests at a time.
    pub requests_max: usize,
    /// How long a connection may take.
    pub connect_max: Duration,
    /// How long the server may be silent: until it answers, and between pieces of its answer.
    pub answer_max: Duration,
    /// The slowest line on which a blob still gets through: sending may take as much longer.
    pub upload_bytes_per_second_min: u64,
    /// How often a request is repeated before the failure is handed up; waits double, with
    /// jitter. Longer outages are for [`Retrying`](crate::Retrying).
    pub retries_max: usize,
    /// The bound of the first wait before a repetition.
    pub first_wait: Duration,
    /// No repetition begins later than this after the first attempt.
    pub retry_total_max: Duration,
    /// How much longer a request may take, repetitions included, once the work was told to stop.
    pub after_stop_max: Duration,
}

impl Default for S3Limits {
    fn default() -> Self {
        Self {
            requests_max: 32,
            connect_max: Duration::from_secs(10),
            answer_max: Duration::from_secs(60),
            upload_bytes_per_second_min: 16 * 1024,
            retries_max: 6,
            first_wait: Duration::from_millis(200),
            retry_total_max: Duration::from_secs(60),
            after_stop_max: Duration::from_secs(5),
        }
    }
}
