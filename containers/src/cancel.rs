//! A flag that ends work in progress: set once, seen by everybody who holds a copy.

use std::sync::Arc;

use tokio::sync::watch;

/// A request to stop, shared by whoever asks and whoever works. Copies see the same flag.
#[derive(Debug, Clone)]
pub struct Cancel {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// A flag that nobody has set yet.
    #[must_use]
    pub fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(false)) }
    }

    /// Sets the flag. Setting it again changes nothing.
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.sender.borrow()
    }

    /// Returns as soon as the flag is set, at once if it is set already.
    pub async fn cancelled(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|set| *set).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_copy_sees_the_flag() {
        let cancel = Cancel::new();
        let copy = cancel.clone();
        assert!(!copy.is_cancelled());
        let waiter = tokio::spawn(async move { copy.cancelled().await });
        cancel.cancel();
        waiter.await.unwrap();
        assert!(cancel.is_cancelled());
        cancel.cancelled().await;
    }
}
