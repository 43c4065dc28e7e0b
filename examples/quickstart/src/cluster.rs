//! The demonstration's folder and the processes that run in it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{aegisctl::Aegisctl, artifacts::Artifacts, process::Process};

/// One controller, one worker. The processes are dropped before their folder.
pub struct Cluster {
    pub artifacts: Artifacts,
    pub worker: Option<Process>,
    pub controller: Option<Process>,
    dir: TempDir,
}

impl Cluster {
    /// An empty folder; nothing runs.
    pub fn new(artifacts: Artifacts) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("aegis-quickstart-")
            .tempdir()
            .context("can't make a temporary folder")?;
        Ok(Self {
            artifacts,
            worker: None,
            controller: None,
            dir,
        })
    }

    /// The folder, removed at the end.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The same path, as text for an argument.
    pub fn argument(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes the folder that the worker loads plugins from: nobody but its
    /// owner may write to it, or the worker refuses what is in it.
    pub fn install_plugin(&self) -> anyhow::Result<()> {
        let dir = self.path("plugins");
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&dir)
            .context("can't make the plugin folder")?;
        let from = self.artifacts.plugin();
        let to = dir.join(from.file_name().context("the plugin has no name")?);
        fs::copy(&from, &to).with_context(|| format!("can't copy {}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
            .context("can't set the plugin's permissions")
    }

    /// Where the controller listens, once it does.
    pub fn endpoint(&self) -> Option<String> {
        let text = fs::read_to_string(self.path("controller/endpoint")).ok()?;
        let endpoint = text.trim();
        let ready = !endpoint.is_empty() && self.path("controller/operator.token").exists();
        ready.then(|| endpoint.to_owned())
    }

    /// The operator's command line for this controller.
    pub fn aegisctl(&self, endpoint: String) -> Aegisctl {
        Aegisctl {
            program: self.artifacts.binary("aegisctl"),
            endpoint,
            token_file: self.path("controller/operator.token"),
        }
    }

    /// The processes that were started, by name.
    pub fn processes_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Process)> {
        let all = [
            ("aegis-worker", &mut self.worker),
            ("aegis-controller", &mut self.controller),
        ];
        all.into_iter()
            .filter_map(|(name, process)| Some((name, process.as_mut()?)))
    }

    /// Ends what runs, the worker first: it has to say good-bye.
    pub async fn end(&mut self) {
        for process in [&mut self.worker, &mut self.controller]
            .into_iter()
            .flatten()
        {
            process.stop().await;
        }
    }
}
