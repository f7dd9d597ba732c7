//! Reading an outbox: run after run, from files as long as it has some, then from memory.

use super::backlog::{Entry, Page};
use super::spill::{SpillReader, SpilledNames, spill_dir};
use super::store::{Core, Damage};
use super::streams::lock;
use crate::commit::{Sequence, StreamId};
use crate::error::StoreError;

impl Core {
    /// Messages behind `after` and behind the mark, without gaps.
    pub(crate) fn outbox(
        &self,
        id: StreamId,
        after: Sequence,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut page = Page::new(max_entries, max_bytes);
        let Some(stream) = self.state.streams.find(id) else {
            return Ok(page.entries);
        };
        let dir = spill_dir(&self.options.cell_dir());
        let mut after = after;
        loop {
            // Not with the stream's lock: whoever queues a message must not wait for the disk.
            let (file, cursor) = {
                let stream = lock(&stream);
                let consumed = stream.mark.consumed;
                if page.is_full() || !page.entries.is_empty() && consumed > after {
                    return Ok(page.entries);
                }
                after = after.max(consumed);
                let Some(file) = stream.backlog.file_behind(after) else {
                    stream.backlog.read(after, &mut page);
                    return Ok(page.entries);
                };
                (file, stream.cursor.clone())
            };
            let had = page.entries.len();
            match cursor.read(self.disk.as_ref(), &dir, file, after, &mut page) {
                Ok(()) if page.entries.len() > had => after = page.last().unwrap_or(after),
                Ok(()) => return Ok(page.entries),
                // The receiver has passed it meanwhile, and the file may be gone.
                Err(_) if lock(&stream).mark.consumed >= file.last => {}
                Err(error) => {
                    if let StoreError::Damaged { .. } = &error {
                        self.doubt(Damage::Spilled(error.clone()));
                    } else {
                        tracing::warn!(%error, "spilled messages cannot be read");
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The names of a stream's messages on disk, from the feet of the files of which nothing has
    /// been consumed.
    pub(crate) fn spilled_names(&self, id: StreamId) -> Result<Option<SpilledNames>, StoreError> {
        let Some(stream) = self.state.streams.find(id) else {
            return Ok(None);
        };
        let files: Vec<_> = {
            let stream = lock(&stream);
            let consumed = stream.mark.consumed;
            let files = stream.backlog.files();
            files.filter(|file| file.first > consumed).collect()
        };
        let (Some(first), Some(last)) = (files.first(), files.last()) else {
            return Ok(None);
        };
        let mut found = SpilledNames {
            first: first.first,
            last: last.last,
            names: Vec::new(),
        };
        let dir = spill_dir(&self.options.cell_dir());
        for file in files {
            let reader = SpillReader::open(self.disk.as_ref(), &dir, file)?;
            let Some(names) = reader.names() else {
                return Ok(None);
            };
            found.names.extend(names);
        }
        Ok(Some(found))
    }
}
