//! What the targets share.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The outcome of a future that has nothing to wait for.
///
/// # Panics
/// If it waits after all: then the target reaches more than it should.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits for something"),
    }
}
