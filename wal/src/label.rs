//! Whose log it is, as far as somebody gave it a name.

use crate::error::OpenError;
use crate::format::Label;
use crate::fs::Fs;
use crate::survey::Survey;

impl<F: Fs> Survey<'_, F> {
    /// Refuses a log that is called otherwise; one without a label is anybody's. Also where the log is damaged: a repair
    /// must not touch what is another's.
    pub(crate) fn check_label(&self, wanted: Option<Label>) -> Result<(), OpenError> {
        let Some(wanted) = wanted else { return Ok(()) };
        let log_id = self.log_id()?;
        for &number in self.segments.iter().rev() {
            let segment = match self.find(number) {
                Ok(segment) => segment,
                Err(OpenError::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            };
            let found = segment.header.label;
            if segment.header.log_id == log_id && found != Label::default() {
                let other = OpenError::AnotherLog { path: segment.path, found, wanted };
                return if found == wanted { Ok(()) } else { Err(other) };
            }
        }
        Ok(())
    }
}
