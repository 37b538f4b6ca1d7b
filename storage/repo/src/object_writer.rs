//! Writing objects as Kopia does: a splitter cuts the stream, each segment becomes a content, and
//! a list names them where there are several (Kopia spec 6.2 to 6.4).
//!
//! So the same bytes get the same object id from us and from Kopia. Images have lists of their
//! own kind: see [`Writer::write_list`].

use kopia::content_id::{ContentId, prefix};
use kopia::indirect::{IndirectEntry, ListWriter};
use kopia::object_id::ObjectId;
use kopia::splitter::Splitter;

use crate::error::{RepoError, RepoErrorKind};
use crate::objects::{list_error, listed_by};
use crate::settings::format_error;
use crate::{Encoder, Repository, Writer, Written};

/// Cuts one stream into contents. Memory holds a segment, and an entry for each that is stored.
#[derive(Debug)]
pub struct ObjectWriter<'w> {
    writer: &'w Writer,
    encoder: &'w mut Encoder,
    prefix: Option<u8>,
    splitter: Splitter,
    /// The beginning of the current segment.
    segment: &'w mut Vec<u8>,
    segments: Vec<IndirectEntry>,
    /// Where the current segment begins.
    start: u64,
    packed_bytes: u64,
}

/// The contents that a stream became, in their order; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    /// Each with its place in the stream.
    pub entries: Vec<IndirectEntry>,
    /// How long the stream was.
    pub bytes: u64,
    /// What the new ones among them take in packs.
    pub packed_bytes: u64,
}

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenObject {
    /// Its id.
    pub object: ObjectId,
    /// The contents that hold its list; none if it is a single content.
    pub lists: Vec<ContentId>,
    /// What its list takes in packs if it was new.
    pub packed_bytes: u64,
}

impl<'w> ObjectWriter<'w> {
    /// Begins a stream whose contents get `prefix`. `scratch` is room to be used again for the
    /// next stream.
    pub fn begin(
        writer: &'w Writer,
        encoder: &'w mut Encoder,
        prefix: Option<u8>,
        splitter: Splitter,
        scratch: &'w mut Vec<u8>,
    ) -> Self {
        scratch.clear();
        Self {
            writer,
            encoder,
            prefix,
            splitter,
            segment: scratch,
            segments: Vec::new(),
            start: 0,
            packed_bytes: 0,
        }
    }

    /// Takes in the next bytes of the stream.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), RepoError> {
        while let Some(cut) = self.splitter.next_cut(bytes) {
            let (last, rest) = bytes.split_at(cut);
            if self.segment.is_empty() {
                self.store(last)?;
            } else {
                self.segment.extend_from_slice(last);
                self.store_segment()?;
            }
            bytes = rest;
        }
        self.segment.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns whether the next byte begins a segment.
    pub fn is_between_segments(&self) -> bool {
        self.segment.is_empty()
    }

    /// Takes in a whole segment whose content is known to be in the repository, or in what this
    /// writer stored: the caller knows that the splitter would cut here.
    ///
    /// # Panics
    /// If a segment is begun.
    pub fn take_over(&mut self, content: ContentId, bytes: u64) {
        assert!(
            self.is_between_segments(),
            "only a whole segment is taken over"
        );
        self.add(content, bytes);
    }

    /// Stores what is left as the last segment.
    pub fn finish(mut self) -> Result<Segments, RepoError> {
        if !self.segment.is_empty() || self.segments.is_empty() {
            self.store_segment()?;
        }
        Ok(Segments {
            entries: self.segments,
            bytes: self.start,
            packed_bytes: self.packed_bytes,
        })
    }

    fn store_segment(&mut self) -> Result<(), RepoError> {
        let segment = std::mem::take(self.segment);
        let stored = self.store(&segment);
        *self.segment = segment;
        self.segment.clear();
        stored
    }

    fn store(&mut self, segment: &[u8]) -> Result<(), RepoError> {
        let Written { id, packed_bytes } =
            self.writer
                .write_content(self.encoder, self.prefix, segment)?;
        self.packed_bytes += u64::from(packed_bytes);
        self.add(id, segment.len() as u64);
        Ok(())
    }

    fn add(&mut self, content: ContentId, bytes: u64) {
        self.segments.push(IndirectEntry {
            start: self.start,
            bytes,
            object: ObjectId::direct(content),
        });
        self.start += bytes;
    }
}

impl Segments {
    /// Adds what comes behind, which was cut by itself.
    pub fn append(&mut self, next: Self) {
        let start = self.bytes;
        self.entries
            .extend(next.entries.into_iter().map(|entry| IndirectEntry {
                start: start + entry.start,
                ..entry
            }));
        self.bytes += next.bytes;
        self.packed_bytes += next.packed_bytes;
    }

    /// Returns the contents.
    pub fn contents(&self) -> impl Iterator<Item = ContentId> {
        self.entries.iter().map(|entry| entry.object.content)
    }
}

impl Repository {
    /// Returns the splitter that cuts objects where no policy says otherwise, lists and
    /// directories always.
    pub fn splitter(&self) -> Result<Splitter, RepoError> {
        self.format().splitter().map_err(format_error)
    }
}

impl Writer {
    /// Makes one object of the contents of a stream: the content itself if it is the only one,
    /// or else a list, which is cut by `list_splitter`.
    pub fn write_segments(
        &self,
        encoder: &mut Encoder,
        prefix: Option<u8>,
        segments: &Segments,
        list_splitter: &Splitter,
    ) -> Result<WrittenObject, RepoError> {
        match &segments.entries[..] {
            [] => Err(RepoError::new(
                RepoErrorKind::Invalid,
                "write an object without contents",
            )),
            [only] => Ok(WrittenObject {
                object: only.object,
                lists: Vec::new(),
                packed_bytes: 0,
            }),
            several => self.write_segment_list(encoder, prefix, several, list_splitter),
        }
    }

    fn write_segment_list(
        &self,
        encoder: &mut Encoder,
        prefix: Option<u8>,
        entries: &[IndirectEntry],
        list_splitter: &Splitter,
    ) -> Result<WrittenObject, RepoError> {
        // Lists are metadata, whatever they list (Kopia spec 6.4).
        let list_prefix = Some(prefix.unwrap_or(prefix::INDIRECT));
        let mut scratch = Vec::new();
        let mut stream = ObjectWriter::begin(
            self,
            encoder,
            list_prefix,
            list_splitter.clone(),
            &mut scratch,
        );
        let mut text = Vec::new();
        let mut list = ListWriter::begin(&mut text);
        for entry in entries {
            list.entry(&mut text, entry).map_err(list_error)?;
            stream.write(&text)?;
            text.clear();
        }
        list.end(&mut text).map_err(list_error)?;
        stream.write(&text)?;
        let pieces = stream.finish()?;
        let list = self.write_segments(encoder, list_prefix, &pieces, list_splitter)?;
        Ok(WrittenObject {
            object: listed_by(list.object)?,
            lists: pieces.contents().chain(list.lists).collect(),
            packed_bytes: pieces.packed_bytes + list.packed_bytes,
        })
    }
}
