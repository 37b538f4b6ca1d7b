//! That what measures the executable still works; how fast it is, no test says.

use std::path::Path;

use benches::options::{Options, Theme};

#[test]
fn every_theme_can_be_measured() {
    let options = Options::quick(Path::new(env!("CARGO_BIN_EXE_e3-backup-agent")));
    for theme in Theme::ALL {
        for table in benches::measure(&options, theme).unwrap() {
            let left_out = match theme {
                Theme::S3 => options.rclone.is_none(),
                Theme::Scale => options.scale.is_none(),
                _ => false,
            };
            assert_eq!(table.rows.is_empty(), left_out, "{table}");
            for row in &table.rows {
                assert_eq!(row.len(), table.columns.len(), "{table}");
            }
        }
    }
}
