//! Two points of one VM, side by side.

use std::fmt::Write as _;
use std::sync::Arc;

use disk::ByteRange;
use image::{ImageDifference, StoredImage, differing_ranges};
use point::{
    ChangedField, DiskDescriptor, DiskPair, OpenPoint, Point, changed_configuration, disk_pairs,
    vm_fields,
};
use repo::Repository;
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// So many ranges of a disk are shown to people; documents have more.
const LINES_MAX: usize = 20;
/// So many ranges of a disk stand in a document.
const RANGES_MAX: usize = 100_000;

/// Compares.
pub(super) fn compare(
    world: &World,
    repo: &Arc<Repository>,
    before: Point<'_>,
    after: Point<'_>,
    stat: bool,
) -> Result<Answer, Failure> {
    let (old, new) = (before.open(repo)?, after.open(repo)?);
    let settings = vm_fields(old.descriptor(), new.descriptor());
    let configuration = changed_configuration(&old, &new);
    let mut text = String::new();
    for field in &settings {
        let _ = writeln!(text, "vm      {}", field_line(field));
    }
    for file in &configuration {
        let bytes = |bytes: Option<u64>| bytes.map_or("absent".to_owned(), amounts::bytes);
        let (was, is) = (bytes(file.before_bytes), bytes(file.after_bytes));
        let _ = writeln!(text, "config  {}: {was} -> {is}", file.name);
    }
    let mut disks = Vec::new();
    for pair in disk_pairs(old.descriptor(), new.descriptor()) {
        let disk = DiskComparison::of(world, repo, (&old, &new), pair)?;
        disk.describe(&mut text, stat);
        disks.push(disk);
    }
    let same =
        settings.is_empty() && configuration.is_empty() && disks.iter().all(|it| it.is_same());
    if same {
        text = "nothing differs".to_owned();
    }
    let configuration: Vec<Value> = configuration
        .iter()
        .map(|file| json!({ "name": file.name, "before_bytes": file.before_bytes, "after_bytes": file.after_bytes }))
        .collect();
    let document = json!({
        "before": before.id(),
        "after": after.id(),
        "same": same,
        "settings": settings.iter().map(field_document).collect::<Vec<_>>(),
        "configuration": configuration,
        "disks": disks.iter().map(|disk| disk.document(stat)).collect::<Vec<_>>(),
    });
    Ok(Answer::new(text, document))
}

/// A disk and in what it differs.
struct DiskComparison<'d> {
    pair: DiskPair<'d>,
    fields: Vec<ChangedField>,
    difference: ImageDifference,
    ranges: Vec<ByteRange>,
    range_count: usize,
}

impl<'d> DiskComparison<'d> {
    fn of(
        world: &World,
        repo: &Arc<Repository>,
        (old, new): (&OpenPoint, &OpenPoint),
        pair: DiskPair<'d>,
    ) -> Result<Self, Failure> {
        let mut comparison = Self {
            fields: pair.fields(),
            difference: ImageDifference::default(),
            ranges: Vec::new(),
            range_count: 0,
            pair,
        };
        if let (Some(before), Some(after)) = (comparison.pair.before, comparison.pair.after) {
            let images = (stored(old, before)?, stored(new, after)?);
            let (ranges, count) = (&mut comparison.ranges, &mut comparison.range_count);
            let mut each = |range| {
                *count += 1;
                if ranges.len() < RANGES_MAX {
                    ranges.push(range);
                }
            };
            comparison.difference =
                differing_ranges(repo, &images.0, &images.1, world.stop(), &mut each)?;
        }
        Ok(comparison)
    }

    fn is_same(&self) -> bool {
        let both = self.pair.before.is_some() && self.pair.after.is_some();
        both && self.fields.is_empty() && self.range_count == 0
    }

    fn describe(&self, text: &mut String, stat: bool) {
        let Some(disk) = self.pair.after.or(self.pair.before) else {
            return;
        };
        let head = format!("disk {}  {}", disk.number, disk.original_path);
        let _ = match (self.pair.before, self.pair.after) {
            (None, _) => writeln!(text, "{head}: only in the later point"),
            (_, None) => writeln!(text, "{head}: only in the earlier point"),
            _ if self.is_same() => writeln!(text, "{head}: the same"),
            _ => writeln!(
                text,
                "{head}: {} differ, in {} chunks and {} ranges",
                amounts::bytes(self.difference.bytes),
                self.difference.chunks,
                self.range_count
            ),
        };
        for field in &self.fields {
            let _ = writeln!(text, "    {}", field_line(field));
        }
        let shown = if stat { 0 } else { LINES_MAX };
        for range in self.ranges.iter().take(shown) {
            let bytes = amounts::bytes(range.bytes());
            let _ = writeln!(text, "    {bytes} at {}", range.start());
        }
        if !stat && self.range_count > LINES_MAX {
            let more = self.range_count - LINES_MAX;
            let _ = writeln!(text, "    … and {more} more; --json has them");
        }
    }

    fn document(&self, stat: bool) -> Value {
        let number = |disk: Option<&DiskDescriptor>| disk.map(|disk| disk.number);
        let mut document = json!({
            "virtual_disk_id": self.pair.virtual_disk_id,
            "before_number": number(self.pair.before),
            "after_number": number(self.pair.after),
            "settings": self.fields.iter().map(field_document).collect::<Vec<_>>(),
            "changed_bytes": self.difference.bytes,
            "changed_chunks": self.difference.chunks,
            "changed_ranges": self.range_count,
        });
        if !stat {
            let ranges = self.ranges.iter();
            document["ranges"] = ranges
                .map(|range| json!({ "offset": range.start(), "bytes": range.bytes() }))
                .collect();
            document["ranges_complete"] = json!(self.range_count == self.ranges.len());
        }
        document
    }
}

fn stored(point: &OpenPoint, disk: &DiskDescriptor) -> Result<StoredImage, Failure> {
    let object = point.disk_object(disk).ok_or_else(|| {
        Failure::new(
            FailureKind::Damaged,
            format!(
                "failed to compare disk {}: the point lacks its file {}",
                disk.number, disk.file
            ),
        )
    })?;
    Ok(StoredImage {
        object,
        virtual_bytes: disk.virtual_bytes,
        logical_sector_bytes: disk.logical_sector_bytes,
        physical_sector_bytes: disk.physical_sector_bytes,
        chunk_bytes: disk.chunk_bytes,
    })
}

fn field_line(field: &ChangedField) -> String {
    let value =
        |value: &Option<Value>| value.as_ref().map_or("absent".to_owned(), Value::to_string);
    format!(
        "{}: {} -> {}",
        field.name,
        value(&field.before),
        value(&field.after)
    )
}

fn field_document(field: &ChangedField) -> Value {
    json!({ "name": field.name, "before": field.before, "after": field.after })
}
