//! Released packages that a toolchain can run: the one in its image, and wheels. Each is laid out
//! once in the study's cache, from where artifacts take their files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use containers::{Cancel, ContainerSpec, Docker};
use study::Study;

use crate::content::{Content, give_to, take_over};
use crate::error::BuildError;
use crate::event::Event;
use crate::image::ReadyToolchain;
use crate::layout;
use crate::toolchain::{OverlayRecipe, Recipe};
use crate::wheel::Wheel;

/// Copies the package's folders out of the image: without bytecode, which may be older than the
/// files will be, and with links that lead out of the folders made absolute, since the image will
/// be there when the artifact is used.
const TAKE_OVER: &str = r#"
cd "$SITE"
for folder in $FOLDERS; do
    test -d "$folder" || { echo "$SITE has no folder $folder" >&2; exit 1; }
    mkdir -p "/out/site/$folder"
    cp -R -P "$folder/." "/out/site/$folder"
    find "$folder" -type l | while IFS= read -r link; do
        target=$(readlink -f "$link")
        case "$target" in
            "$SITE"/*) ;;
            *) ln -sfn "$target" "/out/site/$link" ;;
        esac
    done
done
find /out/site -name __pycache__ -type d -prune -exec rm -rf {} +
"#;

/// Lays out a wheel.
const UNPACK: &str = include_str!("unpack_wheel.py");

/// A released version, ordered by its numbers: 1.10 after 1.9.1, and 1.2 like 1.2.0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(Vec<u64>);

impl Version {
    /// Parses numbers between dots.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
        let mut numbers = numbers?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self(numbers))
    }

    /// The version that `tag` is made of by `pattern` (`v{version}`).
    pub(crate) fn of_tag(tag: &str, pattern: &str) -> Option<Self> {
        let (before, behind) = pattern.split_once("{version}")?;
        Self::parse(tag.strip_prefix(before)?.strip_suffix(behind)?)
    }
}

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Image,
    Wheel(Wheel),
}

/// A release that a toolchain can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub package: String,
    /// As the framework's tags count.
    pub number: String,
    /// The day it came out.
    pub date: String,
    pub origin: Origin,
}

impl Release {
    /// Package and number, for people.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.package, self.number)
    }
}

/// The releases that a toolchain can run, oldest first.
pub(crate) fn releases(recipe: &Recipe) -> Vec<Release> {
    let mut all: Vec<Release> = recipe
        .wheels
        .iter()
        .map(|wheel| Release {
            package: wheel.package().to_owned(),
            number: wheel.number.clone(),
            date: wheel.date.clone(),
            origin: Origin::Wheel(wheel.clone()),
        })
        .collect();
    if let (Some(held), Some(_)) = (&recipe.release, &recipe.overlay)
        && let (Some(number), Some(date)) = (&held.number, &held.date)
    {
        all.push(Release {
            package: held.package.clone(),
            number: number.clone(),
            date: date.clone(),
            origin: Origin::Image,
        });
    }
    all.sort_by_key(|release| Version::parse(&release.number));
    all
}

/// A release whose files lie in the study's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaidOut {
    pub release: Release,
    /// SHA-256 of the wheel, or over the files taken over from the image.
    pub sha256: String,
    /// The folder with `site/`.
    pub folder: PathBuf,
}

impl LaidOut {
    /// Reads one of its files; none if it has no such file.
    pub(crate) fn read(&self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        layout::read_below(&self.folder.join("site"), path)
    }
}

/// Lays releases out, each once.
pub(crate) struct Shelf<'a> {
    pub docker: &'a Docker,
    pub study: &'a Study,
    pub toolchain: &'a ReadyToolchain,
    pub cancel: &'a Cancel,
    pub progress: &'a (dyn Fn(Event) + Send + Sync),
    /// Take only what is there already: for plans.
    pub look_only: bool,
    known: BTreeMap<String, Option<LaidOut>>,
}

impl<'a> Shelf<'a> {
    pub(crate) fn new(
        docker: &'a Docker,
        study: &'a Study,
        toolchain: &'a ReadyToolchain,
        cancel: &'a Cancel,
        progress: &'a (dyn Fn(Event) + Send + Sync),
        look_only: bool,
    ) -> Self {
        Self { docker, study, toolchain, cancel, progress, look_only, known: BTreeMap::new() }
    }

    /// The release's files; none if they are not there yet and this is only a plan.
    pub(crate) async fn take(&mut self, release: &Release) -> Result<Option<LaidOut>, BuildError> {
        let key = self.key(release);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let folder = self.study.cache_dir().join("releases").join(&key);
        let laid_out = if folder.is_dir() {
            Some(folder)
        } else if self.look_only {
            None
        } else {
            self.lay_out(release, &folder).await?;
            Some(folder)
        };
        let found = match laid_out {
            None => None,
            Some(folder) => Some(LaidOut {
                release: release.clone(),
                sha256: match &release.origin {
                    Origin::Wheel(wheel) => wheel.sha256.clone(),
                    Origin::Image => read_digest(&folder)?,
                },
                folder,
            }),
        };
        self.known.insert(key, found.clone());
        Ok(found)
    }

    fn key(&self, release: &Release) -> String {
        match &release.origin {
            Origin::Wheel(wheel) => format!("wheel-{}", wheel.sha256),
            Origin::Image => {
                let id = &self.toolchain.image_id;
                format!("image-{}", id.strip_prefix("sha256:").unwrap_or(id))
            }
        }
    }

    async fn lay_out(&self, release: &Release, folder: &Path) -> Result<(), BuildError> {
        (self.progress)(Event::Release { name: release.name() });
        let all = self.study.cache_dir().join("releases");
        fs::create_dir_all(&all).map_err(BuildError::io(&all))?;
        let part = tempfile::Builder::new()
            .prefix(".part-")
            .tempdir_in(&all)
            .map_err(BuildError::io(&all))?;
        let site = part.path().join("site");
        fs::create_dir(&site).map_err(BuildError::io(&site))?;
        match &release.origin {
            Origin::Wheel(wheel) => {
                let fetched = tokio::select! {
                    fetched = wheel.fetch(self.study) => fetched?,
                    () = self.cancel.cancelled() => return Err(BuildError::Interrupted),
                };
                let spec = self.spec(&["python3", "-c", UNPACK, "/wheel", "/out/site"]);
                let spec = spec.read_only(&fetched, "/wheel");
                self.fill(part.path(), spec).await?;
            }
            Origin::Image => self.take_over_image(part.path()).await?,
        }
        take_over(part.path())?;
        let content = Content::of(&site)?;
        if content.files.is_empty() {
            return Err(BuildError::Request(format!("{} holds no files", release.name())));
        }
        let path = part.path().join("digest");
        study::files::write_whole(&path, content.digest.as_bytes())
            .map_err(BuildError::io(&path))?;
        fs::rename(part.path(), folder).map_err(BuildError::io(folder))?;
        study::files::sync_folder(&all).map_err(BuildError::io(&all))
    }

    /// Copies the package that the image holds.
    async fn take_over_image(&self, out: &Path) -> Result<(), BuildError> {
        let recipe = &self.toolchain.toolchain.recipe;
        let Some(OverlayRecipe { site, folders }) = &recipe.overlay else {
            return Err(BuildError::Request(format!("{} has no [overlay]", recipe.name)));
        };
        let mut names: Vec<&str> = folders.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let spec = self.spec(&["sh", "-eu", "-c", TAKE_OVER]);
        let spec = spec.env("SITE", site).env("FOLDERS", &names.join(" "));
        self.fill(out, spec).await
    }

    /// A container like those of builds.
    fn spec(&self, command: &[&str]) -> ContainerSpec {
        ContainerSpec::new(&self.toolchain.image_id, command, self.docker.sandbox_user())
            .label(containers::STUDY_LABEL, &layout::study_mark(self.study))
    }

    /// Lets a container fill the folder that it sees as `/out`.
    async fn fill(&self, out: &Path, spec: ContainerSpec) -> Result<(), BuildError> {
        give_to(out, self.docker.sandbox_user())?;
        let spec = spec.read_write(out, "/out");
        let mut said = Vec::new();
        let mut log = |_, bytes: &[u8]| {
            if said.len() < 1 << 16 {
                said.extend_from_slice(bytes);
            }
            Ok(())
        };
        let exit = self.docker.run(&spec, &mut log, self.cancel).await?;
        if exit.ended == containers::Ended::Cancelled {
            return Err(BuildError::Interrupted);
        }
        if !exit.success() {
            let said = String::from_utf8_lossy(&said);
            return Err(BuildError::Request(format!(
                "a released package cannot be laid out in the toolchain {}: {}",
                self.toolchain.toolchain.recipe.name,
                said.lines().last().unwrap_or("the copy failed")
            )));
        }
        Ok(())
    }
}

fn read_digest(folder: &Path) -> Result<String, BuildError> {
    let path = folder.join("digest");
    fs::read_to_string(&path).map_err(BuildError::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number() {
        let v = |text| Version::parse(text).unwrap();
        assert!(v("1.10") > v("1.9.1") && v("1.2") == v("1.2.0"));
        assert_eq!(Version::parse("1.0rc1"), None);
    }

    #[test]
    fn a_link_in_a_release_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site/p");
        fs::create_dir_all(&site).unwrap();
        fs::write(site.join("a.py"), "a").unwrap();
        std::os::unix::fs::symlink("/etc", site.join("out")).unwrap();
        let release = Release {
            package: "p".into(),
            number: "1".into(),
            date: "2020-01-01".into(),
            origin: Origin::Image,
        };
        let laid = LaidOut { release, sha256: String::new(), folder: folder.path().to_owned() };
        assert_eq!(laid.read("p/a.py").unwrap(), Some(b"a".to_vec()));
        assert_eq!(laid.read("p/b.py").unwrap(), None);
        assert!(laid.read("p/out/hostname").is_err());
    }
}
