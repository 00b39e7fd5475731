//! Which strategy makes a bug's two artifacts, and on which release: the cheapest that is right.

use git2::Repository;
use study::{Bug, CommitId, Strategy};

use crate::error::BuildError;
use crate::overlay::{self, Refusal, released_path};
use crate::release::{LaidOut, Release, Shelf, Version, releases};
use crate::toolchain::Recipe;

/// How a bug's pair is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chosen {
    pub way: Way,
    /// Why, for people.
    pub reason: String,
}

/// The ways to make a pair.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Way {
    /// Both commits are compiled.
    Source,
    /// The release, and the release without the fix.
    Overlay { base: Base, files: Vec<(String, String)> },
    /// Nothing of the fix is in the package: both sides are the release.
    Same(Base),
    /// The last release before the fix and the first that has it.
    Releases(Base, Base),
    /// It cannot be made; the base is there if only the side without the fix cannot.
    Refused(Option<Base>),
}

/// A release as a base: laid out, or only named in a plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Base {
    Ready(LaidOut),
    Planned(Release),
}

impl Base {
    pub(crate) fn release(&self) -> &Release {
        match self {
            Self::Ready(laid_out) => &laid_out.release,
            Self::Planned(release) => release,
        }
    }
}

/// What choosing needs beside the bug.
pub(crate) struct Chooser<'a> {
    pub shelf: Shelf<'a>,
    pub strategy: Strategy,
    pub repository: Option<Repository>,
    /// How tags are made of versions.
    pub tag_pattern: &'a str,
}

impl<'a> Chooser<'a> {
    /// Chooses for one bug with its two commits.
    ///
    /// # Errors
    /// If a release cannot be had, or the history is needed and not at hand. That a bug cannot be
    /// made is a [`Way::Refused`].
    pub(crate) async fn choose(
        &mut self,
        bug: &Bug,
        commits: (&CommitId, &CommitId),
    ) -> Result<Chosen, BuildError> {
        match self.strategy {
            Strategy::Source => Ok(chosen(Way::Source, "study.toml says `source`")),
            Strategy::Release => self.two_releases(bug).await,
            Strategy::Overlay => self.overlay(bug, commits).await,
            Strategy::Auto => self.cheapest(bug, commits).await,
            Strategy::Fault => Err(BuildError::Request(format!(
                "{}: build.strategy in study.toml is `fault`, which is for planted faults and \
                 needs no setting; expected one of: auto, source, overlay, release",
                bug.id
            ))),
        }
    }

    async fn cheapest(
        &mut self,
        bug: &Bug,
        commits: (&CommitId, &CommitId),
    ) -> Result<Chosen, BuildError> {
        let overlay = self.overlay(bug, commits).await?;
        let compiles = !self.recipe().steps.is_empty();
        match overlay.way {
            Way::Refused(_) if compiles => {
                Ok(chosen(Way::Source, format!("no overlay, since {}", overlay.reason)))
            }
            Way::Refused(base) => Ok(chosen(
                Way::Refused(base),
                format!("{}, and the toolchain does not compile", overlay.reason),
            )),
            _ => Ok(overlay),
        }
    }

    async fn overlay(
        &mut self,
        bug: &Bug,
        commits: (&CommitId, &CommitId),
    ) -> Result<Chosen, BuildError> {
        let recipe = self.recipe();
        if !(bug.python_only || bug.not_in_artifact) {
            let kinds: Vec<&str> = bug
                .scope
                .iter()
                .map(String::as_str)
                .filter(|kind| !matches!(*kind, "test" | "docs" | "ci" | "tooling"))
                .collect();
            let reason = format!("its fix is not in Python files alone ({})", kinds.join(", "));
            return Ok(chosen(Way::Refused(None), reason));
        }
        let Some(folders) = recipe.overlay.as_ref().map(|overlay| overlay.folders.clone()) else {
            let reason = format!("the toolchain {} has no [overlay]", recipe.name);
            return Ok(chosen(Way::Refused(None), reason));
        };
        let candidates = self.after(bug);
        let Some(first) = candidates.first() else {
            let has: Vec<String> = releases(recipe).into_iter().map(|r| r.number).collect();
            let reason = format!(
                "no release that {} can run came out after the fix ({}; it can run: {})",
                recipe.name,
                day(bug).unwrap_or("no date"),
                if has.is_empty() { "none".to_owned() } else { has.join(", ") }
            );
            return Ok(chosen(Way::Refused(None), reason));
        };
        let files: Vec<(String, String)> = bug
            .files
            .iter()
            .filter(|file| file.kind == "python")
            .filter_map(|file| Some((file.path.clone(), released_path(&folders, &file.path)?)))
            .collect();
        if files.is_empty() {
            let base = self.base(first).await?;
            let reason = format!("{} holds none of the files that the fix changed", first.name());
            return Ok(chosen(Way::Same(base), reason));
        }
        self.earliest(candidates, commits, files).await
    }

    /// The earliest release that holds the fix, if the fix can be taken back in it.
    async fn earliest(
        &mut self,
        candidates: Vec<Release>,
        commits: (&CommitId, &CommitId),
        files: Vec<(String, String)>,
    ) -> Result<Chosen, BuildError> {
        let mut passed: Vec<String> = Vec::new();
        for release in candidates {
            let base = self.base(&release).await?;
            let Base::Ready(laid_out) = &base else {
                let reason = format!("{} is not fetched yet, so not checked", release.name());
                return Ok(chosen(Way::Overlay { base, files }, reason));
            };
            let Some(repository) = &self.repository else {
                return Err(BuildError::Request("an overlay needs a clone".to_owned()));
            };
            let read = |path: &str| laid_out.read(path);
            match overlay::take_back(repository, commits, &files, &read) {
                Ok(_) => {
                    passed
                        .insert(0, format!("{} is the earliest that has the fix", release.name()));
                    return Ok(chosen(Way::Overlay { base, files }, passed.join("; ")));
                }
                Err(Refusal::Absent { file, what }) => {
                    passed.push(format!("{}: {file}: {what}", release.name()));
                }
                Err(refusal @ Refusal::Conflict { .. }) => {
                    passed.push(format!("{}: {refusal}", release.name()));
                    return Ok(chosen(Way::Refused(Some(base)), passed.join("; ")));
                }
                Err(refusal) => return Err(BuildError::Request(refusal.to_string())),
            }
        }
        let reason = format!("no release has its fix: {}", passed.join("; "));
        Ok(chosen(Way::Refused(None), reason))
    }

    /// The last release before the fix and the first that its notes or its date say has it.
    async fn two_releases(&mut self, bug: &Bug) -> Result<Chosen, BuildError> {
        let all = releases(self.recipe());
        let noted = Version::of_tag(&bug.release, self.tag_pattern);
        let after = self.after(bug).into_iter().find(|release| {
            noted
                .as_ref()
                .is_none_or(|noted| Version::parse(&release.number).as_ref() >= Some(noted))
        });
        let before = after.as_ref().and_then(|after| {
            let came = |release: &&Release| {
                day(bug).is_some_and(|day| release.date.as_str() < day)
                    && Version::parse(&release.number) < Version::parse(&after.number)
            };
            all.iter().rfind(came)
        });
        let (Some(after), Some(before)) = (&after, before) else {
            let has: Vec<&str> = all.iter().map(|release| release.number.as_str()).collect();
            let reason = format!(
                "two releases are needed, one before the fix ({}) and one from {} on; {} can run: {}",
                day(bug).unwrap_or("no date"),
                bug.release,
                self.recipe().name,
                if has.is_empty() { "none".to_owned() } else { has.join(", ") }
            );
            return Ok(chosen(Way::Refused(None), reason));
        };
        let reason = format!("the fix came between {} and {}", before.number, after.number);
        let pair = (self.base(before).await?, self.base(after).await?);
        Ok(chosen(Way::Releases(pair.0, pair.1), reason))
    }

    fn recipe(&self) -> &'a Recipe {
        &self.shelf.toolchain.toolchain.recipe
    }

    /// The releases that came out on the day of the fix or later, oldest first.
    fn after(&self, bug: &Bug) -> Vec<Release> {
        let mut all = releases(self.recipe());
        all.retain(|release| day(bug).is_some_and(|day| release.date.as_str() >= day));
        all
    }

    async fn base(&mut self, release: &Release) -> Result<Base, BuildError> {
        Ok(match self.shelf.take(release).await? {
            Some(laid_out) => Base::Ready(laid_out),
            None => Base::Planned(release.clone()),
        })
    }
}

fn chosen(way: Way, reason: impl Into<String>) -> Chosen {
    Chosen { way, reason: reason.into() }
}

/// The day on which the fix was committed.
fn day(bug: &Bug) -> Option<&str> {
    bug.fixed_at.as_deref()?.get(..10)
}
