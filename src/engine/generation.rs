//! A running generation, as an iterator over its tokens.

use std::sync::mpsc::Receiver;

use super::emitter::Emitter;
use super::options::{FinishReason, Generated};
use super::request::{Event, Outcome};
use super::session::Session;
use crate::error::{Error, Result};

/// A running generation: an iterator over its tokens, ended by `None`, or by one error and then `None`.
///
/// It runs ahead of its reader by up to 64 tokens, then waits, and holds up nobody else. Dropping it stops it, within
/// the step that is running; the context then ends with the last token that was read.
pub struct Generation<'s> {
    session: &'s mut Session,
    events: Receiver<Event>,
    /// Makes text of tokens, if the scheduler does not have to look for stop strings in it.
    emitter: Option<Emitter>,
    finish_reason: Option<FinishReason>,
    /// The error that ended it, once it was read.
    error: Option<Error>,
    ended: bool,
}

impl<'s> Generation<'s> {
    pub(super) fn new(session: &'s mut Session, events: Receiver<Event>, emitter: Option<Emitter>) -> Self {
        Self { session, events, emitter, finish_reason: None, error: None, ended: false }
    }

    /// Why it ended; `None` while it runs, and after an error that is neither [`Error::Cancelled`] nor
    /// [`Error::Deadline`].
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason.clone()
    }

    /// Reads all that is left, and tells why it ended.
    ///
    /// # Errors
    /// The error that ended it, [`Error::Cancelled`] and [`Error::Deadline`] among them, also where it was read before.
    pub fn finish(mut self) -> Result<FinishReason> {
        for generated in &mut self {
            generated?;
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => self.finish_reason.clone().ok_or(Error::ShutDown),
        }
    }

    /// Reads all that is left as one string, and tells why it ended.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish), and [`Error::Text`] without a tokenizer.
    pub fn into_text(mut self) -> Result<(String, FinishReason)> {
        let mut text = String::new();
        for generated in &mut self {
            let piece = generated?.text;
            text += &piece.ok_or_else(|| Error::Text("this engine has no tokenizer to make text with".into()))?;
        }
        Ok((text, self.finish()?))
    }

    fn receive(&mut self) -> Result<Option<Generated>> {
        match self.events.recv() {
            Ok(Event::Token(mut generated, end)) => {
                self.session.note_read();
                if let Some(emitter) = &mut self.emitter {
                    generated.text = Some(emitter.emit(generated.token, end.as_ref(), false)?.text);
                }
                self.finish_reason = end;
                Ok(Some(generated))
            }
            Ok(Event::End(outcome)) => self.close(*outcome).map(|()| None),
            Err(_) => {
                self.ended = true;
                Err(Error::ShutDown)
            }
        }
    }

    fn close(&mut self, mut outcome: Outcome) -> Result<()> {
        self.ended = true;
        self.session.settle(&mut outcome);
        match outcome.result {
            Ok(_) => Ok(()),
            Err(error) => {
                self.finish_reason = match error {
                    Error::Cancelled => Some(FinishReason::Cancelled),
                    Error::Deadline => Some(FinishReason::Deadline),
                    _ => None,
                };
                Err(error)
            }
        }
    }

    /// Stops it, and takes the context back without what was not read.
    fn stop(&mut self) {
        if self.finish_reason.is_none() {
            self.session.canceller().cancel();
        }
        let mut n_unread = 0;
        while !self.ended {
            match self.events.recv() {
                Ok(Event::Token(..)) => n_unread += 1,
                Ok(Event::End(outcome)) => {
                    // Stopping is what was asked for; other errors come again with the next request.
                    let _ = self.close(*outcome);
                    let read_len = self.session.len() - n_unread;
                    self.session.rewind(read_len).expect("it is no longer than the context");
                }
                Err(_) => self.ended = true,
            }
        }
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Generated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let received = self.receive();
        if let Err(error) = &received {
            self.error = Some(error.clone());
            self.stop();
        }
        received.transpose()
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
