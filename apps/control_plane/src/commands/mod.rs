//! What the program can be told to do, a file each.

pub(crate) mod serve;
pub(crate) mod user;

use std::path::PathBuf;

use anyhow::Context as _;
use control_plane::store::Store;

/// Where the server keeps what it knows.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The folder of the database (SQLite), of the key that seals secrets, and of a certificate of our own making.
    #[arg(long, value_name = "DIR", env = "E3_DATA")]
    pub(crate) data: PathBuf,
    /// A PostgreSQL database in place of SQLite: postgres://USER:PASSWORD@HOST/NAME. Several servers may share one.
    #[arg(
        long,
        value_name = "URL",
        env = "E3_DATABASE_URL",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,
}

impl Place {
    /// Opens the database.
    pub(crate) async fn store(&self) -> anyhow::Result<Store> {
        Ok(match &self.database {
            Some(url) => Store::at(url).await?,
            None => Store::in_folder(&self.data).await?,
        })
    }

    /// Makes the folder, if there is none.
    pub(crate) fn make_folder(&self) -> anyhow::Result<()> {
        let doing = || {
            format!(
                "making the data folder {}, which is to belong to the user who runs this program",
                self.data.display()
            )
        };
        local_file::create_private_folders(&self.data).with_context(doing)?;
        // One that somebody else made may be open to others, and the database in it would be.
        #[cfg(unix)]
        std::fs::set_permissions(
            &self.data,
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .with_context(doing)?;
        Ok(())
    }
}
