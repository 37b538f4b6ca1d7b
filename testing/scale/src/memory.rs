//! How much anonymous memory this process takes, and how much room a folder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use time_and_chance::{SharedClock, StopSignal};

/// Watches this process's anonymous memory (`RssAnon`), a hundred times a second.
#[derive(Debug)]
pub struct AnonymousMemory {
    peak_bytes: Arc<AtomicU64>,
    stop: StopSignal,
    watcher: Option<JoinHandle<()>>,
}

impl AnonymousMemory {
    /// Begins to watch.
    pub fn watch(clock: SharedClock) -> Self {
        let peak_bytes = Arc::<AtomicU64>::default();
        let stop = StopSignal::new();
        let (peak, stopped) = (Arc::clone(&peak_bytes), stop.clone());
        let watcher = std::thread::spawn(move || {
            loop {
                peak.fetch_max(now_bytes().unwrap_or(0), Ordering::Relaxed);
                if clock.sleep(Duration::from_millis(10), &stopped).is_err() {
                    return;
                }
            }
        });
        Self {
            peak_bytes,
            stop,
            watcher: Some(watcher),
        }
    }

    /// Returns the highest amount seen since the last call; `None` where the system does not tell.
    pub fn take_peak_bytes(&self) -> Option<u64> {
        let now = now_bytes()?;
        Some(self.peak_bytes.swap(now, Ordering::Relaxed).max(now))
    }
}

impl Drop for AnonymousMemory {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(watcher) = self.watcher.take() {
            // It holds nothing that a panic could have spoilt.
            let _ = watcher.join();
        }
    }
}

fn now_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Returns how many bytes the files in a folder and below have.
pub fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => folder_bytes(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
