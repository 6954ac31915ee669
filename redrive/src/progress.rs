//! A sign of life for work that takes longer than a moment: a line that changes on a terminal, a line now and
//! then elsewhere. It goes to standard error.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is done sooner needs no sign of life.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the line on a terminal changes.
const TURN: Duration = Duration::from_millis(200);
/// How often there is a line when nobody looks at a terminal.
const REMINDER: Duration = Duration::from_secs(20);

/// The sign of life, until it is dropped.
pub(crate) struct Progress {
    text: Arc<Mutex<String>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let (end, ended) = mpsc::channel::<()>();
        let shown = Arc::clone(&text);
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let terminal = io::stderr().is_terminal();
            let mut rest = PATIENCE;
            while ended.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                // Held while writing, so that nothing else is written in the middle.
                let text = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let seconds = start.elapsed().as_secs();
                if terminal {
                    let _ = write!(io::stderr(), "\r{text} ({seconds} s)\x1b[K");
                    rest = TURN;
                } else {
                    let _ = writeln!(io::stderr(), "{text} (after {seconds} s)");
                    rest = REMINDER;
                }
            }
            if terminal {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        Self { text, end: Some(end), thread: Some(thread) }
    }

    /// Changes what it says.
    pub(crate) fn show(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Prints something else.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        let _held = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        print();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself now, and has nothing to tell.
            let _ = thread.join();
        }
    }
}
