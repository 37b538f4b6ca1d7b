//! The foreign client, doing what stock Kopia does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use foreign_client::ForeignClient;
use second_reader::Snapshot;

use crate::other_client::OtherClient;

impl OtherClient for ForeignClient {
    fn list(&self) -> BTreeSet<String> {
        let snapshots = self.read().unwrap().snapshots();
        let complete = snapshots.into_iter().filter(|it| it.incomplete.is_empty());
        complete.map(|snapshot| snapshot.id).collect()
    }

    fn verify(&self) {
        let reader = self.read().unwrap();
        assert_eq!(reader.audit(), Vec::<String>::new());
        for snapshot in reader.snapshots() {
            for entry in reader.walk(&snapshot).unwrap() {
                reader.read_object(&entry.object_id).unwrap();
            }
        }
    }

    fn restore(&self, id: &str, to: &Path) {
        let reader = self.read().unwrap();
        let has_id = |snapshot: &Snapshot| snapshot.id == id;
        let snapshot = reader.snapshots().into_iter().find(has_id).unwrap();
        for entry in reader.walk(&snapshot).unwrap() {
            let path = to.join(&entry.path);
            match &*entry.kind {
                "d" => fs::create_dir_all(path).unwrap(),
                _ => fs::write(path, reader.read_object(&entry.object_id).unwrap()).unwrap(),
            }
        }
    }

    fn store(&self, folder: &Path) -> String {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            files.push((name, fs::read(entry.path()).unwrap()));
        }
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        self.add_snapshot(folder.to_str().unwrap(), &files).unwrap()
    }

    fn delete(&self, id: &str) {
        self.delete_snapshot(id).unwrap();
    }

    fn pin(&self, id: &str) -> String {
        self.pin_snapshot(id).unwrap()
    }

    fn maintain(&self) {
        self.full_maintenance().unwrap();
    }

    fn maintain_beside_others(&self) {
        // All of its maintenance is without margins, but for what any client may do at any time.
        self.advance_epoch().unwrap();
    }
}
