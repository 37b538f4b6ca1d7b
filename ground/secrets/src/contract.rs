//! What every [`SecretStore`] does: ordinary code that each implementation's tests run.

use crate::port::SecretStore;
use crate::secret::Secret;

/// Checks a store that holds nothing yet; `reopen` returns one on the same place.
///
/// # Panics
/// If the store does not do what the port says.
pub fn check(reopen: &dyn Fn() -> Box<dyn SecretStore>) {
    let store = reopen();
    let read = |name: &str| reopen().read(name).expect("secrets can be read");
    let (first, second) = (
        Secret::new(b"first".to_vec()),
        Secret::new(vec![0, 255, 10]),
    );

    assert_eq!(read("a-1"), None, "nothing is there before it is kept");
    assert!(
        !store.forget("a-1").expect("nothing can be forgotten"),
        "nothing was there to forget"
    );

    store.keep("a-1", &first).expect("a secret is kept");
    store.keep("a-2", &second).expect("another is kept beside");
    assert_eq!(read("a-1"), Some(first), "a secret comes back");
    assert_eq!(read("a-2"), Some(second.clone()), "of any bytes");

    store.keep("a-1", &second).expect("a secret is replaced");
    assert_eq!(read("a-1"), Some(second.clone()), "the later one counts");

    assert!(store.forget("a-1").expect("a secret is forgotten"));
    assert_eq!(read("a-1"), None, "what is forgotten is gone");
    assert_eq!(read("a-2"), Some(second), "the others stay");
    assert!(!store.place("a-2").is_empty(), "people learn where it is");
}
