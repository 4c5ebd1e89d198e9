//! The possible contents of a disk after a power cut, from the calls that were made before it.
//!
//! A file has its synced content, and a list of changes that were not synced: each of them may be on
//! the disk or not. The assumptions about disks and file systems are in `tests/README.md`, "Crashes".

mod content;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};

pub(crate) use content::Damage;
use content::{Change, Fate, materialise};

use crate::strace::Call;

/// A model of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Model {
    /// Only the guarantees of POSIX: a name is durable when its directory was synced.
    Posix,
    /// A journal in order, as ext4 and XFS have: syncing a file makes its name durable, and every
    /// change of names before that.
    Journal,
    /// As `Journal`, and `sync_file_range` makes data durable, which its manual denies.
    Lenient,
}

impl Model {
    pub(crate) const ALL: [Self; 3] = [Self::Posix, Self::Journal, Self::Lenient];
}

/// Files and directories by their path below the root; a directory has no content.
pub(crate) type Image = BTreeMap<String, Option<Vec<u8>>>;

/// Writes the files into an empty directory. Files of a missing directory are left out.
pub(crate) fn write_image(image: &Image, root: &Path) -> anyhow::Result<()> {
    for (name, content) in image {
        let path = root.join(name);
        match content {
            _ if !path.parent().is_some_and(Path::is_dir) => {}
            None => fs::create_dir(&path)?,
            Some(bytes) => fs::write(&path, bytes)?,
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Inode {
    directory: bool,
    /// Whether it was mapped for writing: the disk may have anything there.
    mapped: bool,
    base: Vec<u8>,
    changes: Vec<Change>,
}

/// A change of names.
#[derive(Debug)]
struct Naming {
    what: Name,
    inode: usize,
    ended: bool,
    durable: bool,
}

#[derive(Clone, Debug)]
enum Name {
    Created(String),
    Renamed { from: String, to: String },
    Removed(String),
}

impl Name {
    fn is_in(&self, directory: &str) -> bool {
        let parent =
            |path: &str| path.rsplit_once('/').map_or("", |(parent, _)| parent) == directory;
        match self {
            Self::Created(path) | Self::Removed(path) => parent(path),
            Self::Renamed { from, to } => parent(from) || parent(to),
        }
    }
}

#[derive(Debug)]
struct Open {
    inode: usize,
    offset: u64,
    append: bool,
}

/// The effect of a call when it returns.
#[derive(Debug)]
enum Effect {
    Changed { inode: usize, change: usize },
    Named(usize),
    Synced { inode: usize, changes: usize, names: Vec<usize> },
    Opened(i64, Rc<RefCell<Open>>),
}

/// The state of the files below a root, at some point of a trace.
#[derive(Debug)]
pub(crate) struct Disk {
    model: Model,
    root: String,
    inodes: Vec<Inode>,
    /// As the process sees it.
    names: BTreeMap<String, usize>,
    /// As it was at the start.
    first_names: BTreeMap<String, usize>,
    namings: Vec<Naming>,
    descriptors: HashMap<i64, Rc<RefCell<Open>>>,
    effects: HashMap<usize, Vec<Effect>>,
}

impl Disk {
    /// A disk with the image as its durable content.
    pub(crate) fn new(model: Model, root: &Path, image: &Image) -> anyhow::Result<Self> {
        let mut inodes = vec![Inode { directory: true, ..Inode::default() }];
        let mut names = BTreeMap::from([(String::new(), 0)]);
        for (name, content) in image {
            names.insert(name.clone(), inodes.len());
            inodes.push(Inode {
                directory: content.is_none(),
                base: content.clone().unwrap_or_default(),
                ..Inode::default()
            });
        }
        Ok(Self {
            model,
            root: root.to_str().context("a root")?.to_owned(),
            inodes,
            first_names: names.clone(),
            names,
            namings: Vec::new(),
            descriptors: HashMap::new(),
            effects: HashMap::new(),
        })
    }

    /// A possible content of the disk if the power is cut now.
    pub(crate) fn cut(&self, damage: Damage, random: &mut fastrand::Rng) -> Image {
        let mut names = self.first_names.clone();
        let volatile = self.namings.iter().filter(|naming| !naming.durable).count();
        let mut kept = match damage {
            Damage::Dropped => 0,
            Damage::Kept => volatile,
            _ => random.usize(..=volatile),
        };
        for naming in &self.namings {
            if !naming.durable {
                if kept == 0 {
                    continue;
                }
                kept -= 1;
            }
            match &naming.what {
                Name::Created(path) => drop(names.insert(path.clone(), naming.inode)),
                Name::Removed(path) => drop(names.remove(path)),
                Name::Renamed { from, to } => rename(&mut names, from, to),
            }
        }
        names.remove("");
        let mut image = Image::new();
        for (name, inode) in names {
            let inode = &self.inodes[inode];
            let content = match inode.directory {
                true => None,
                false => Some(materialise(&inode.base, &inode.changes, damage, random)),
            };
            // The kernel writes mapped pages at any time.
            let content = match (inode.mapped, random.u8(..3)) {
                (true, 0) => continue,
                (true, 1) => content.map(|bytes| bytes.iter().map(|_| random.u8(..)).collect()),
                _ => content,
            };
            image.insert(name, content);
        }
        image
    }

    /// How many changes are not durable.
    pub(crate) fn volatile(&self) -> usize {
        let changes = self.inodes.iter().flat_map(|inode| &inode.changes);
        changes.filter(|change| change.fate != Fate::Durable).count()
    }

    /// A call is made.
    pub(crate) fn begin(&mut self, index: usize, call: &Call) -> anyhow::Result<()> {
        let failed_sync = matches!(call.name.as_str(), "fsync" | "fdatasync" | "msync");
        if call.failed && !failed_sync {
            return Ok(());
        }
        let effects = self.begun(call).with_context(|| format!("{} in the trace", call.name))?;
        self.effects.insert(index, effects);
        Ok(())
    }

    fn begun(&mut self, call: &Call) -> anyhow::Result<Vec<Effect>> {
        match call.name.as_str() {
            "open" | "openat" | "openat2" | "creat" => self.open(call),
            "mkdir" | "mkdirat" => {
                let at = usize::from(call.name.ends_with("at"));
                let Some(path) = self.below_root(call, at)? else { return Ok(vec![]) };
                Ok(vec![self.create(path, true).1])
            }
            "rename" => self.rename(call, 0, 1),
            "renameat" => self.rename(call, 1, 3),
            "renameat2" => {
                // Where it succeeds it is a rename, whether or not it would replace.
                ensure!(matches!(call.argument(4)?, "0" | "RENAME_NOREPLACE"), "flags");
                self.rename(call, 1, 3)
            }
            "unlink" | "rmdir" => self.unlink(call, 0),
            "unlinkat" => self.unlink(call, 1),
            "close" => {
                if let Ok(descriptor) = call.descriptor(0) {
                    self.descriptors.remove(&descriptor.number);
                }
                Ok(vec![])
            }
            "io_uring_setup" | "io_submit" | "sync" | "syncfs" => bail!("not modelled"),
            "link" | "linkat" | "symlink" | "symlinkat" | "truncate" => bail!("not modelled"),
            "mmap" => {
                let shared = call.argument(3)?.contains("MAP_SHARED");
                let written = call.argument(2)?.contains("PROT_WRITE");
                if let Ok(descriptor) = call.descriptor(4)
                    && let Some(open) = self.descriptors.get(&descriptor.number)
                    && shared
                    && written
                {
                    let inode = open.borrow().inode;
                    self.inodes[inode].mapped = true;
                }
                Ok(vec![])
            }
            "msync" => Ok(vec![]),
            _ => {
                let Ok(descriptor) = call.descriptor(0) else { return Ok(vec![]) };
                let open = self.descriptors.get(&descriptor.number);
                let Some(open) = open.map(Rc::clone) else { return Ok(vec![]) };
                self.on_descriptor(call, &open)
            }
        }
    }

    /// A call on a file below the root.
    fn on_descriptor(
        &mut self,
        call: &Call,
        open: &Rc<RefCell<Open>>,
    ) -> anyhow::Result<Vec<Effect>> {
        let inode = open.borrow().inode;
        let returned = || call.result.map(usize::try_from).transpose();
        Ok(match call.name.as_str() {
            "read" => {
                open.borrow_mut().offset += u64::try_from(call.result.unwrap_or(0))?;
                vec![]
            }
            "pread64" | "readv" => vec![],
            "lseek" => {
                open.borrow_mut().offset = u64::try_from(call.result.unwrap_or(0))?;
                vec![]
            }
            "write" => {
                let mut bytes = call.bytes(1)?;
                bytes.truncate(returned()?.unwrap_or(bytes.len()));
                let mut open = open.borrow_mut();
                if open.append {
                    let content = &self.inodes[inode];
                    open.offset = content::length(&content.base, &content.changes);
                }
                let at = open.offset;
                open.offset += bytes.len() as u64;
                vec![self.change(inode, content::What::Write { at, bytes })]
            }
            "pwrite64" => {
                let mut bytes = call.bytes(1)?;
                bytes.truncate(returned()?.unwrap_or(bytes.len()));
                let at = call.number(3)?;
                vec![self.change(inode, content::What::Write { at, bytes })]
            }
            "ftruncate" => vec![self.change(inode, content::What::Resize(call.number(1)?))],
            "fallocate" => match call.argument(1)? {
                "0" => {
                    let to = call.number(2)? + call.number(3)?;
                    vec![self.change(inode, content::What::Grow(to))]
                }
                "FALLOC_FL_KEEP_SIZE" => vec![],
                mode => bail!("mode {mode} is not modelled"),
            },
            "fsync" | "fdatasync" => vec![self.sync(inode)],
            "sync_file_range" => match self.model {
                Model::Lenient => vec![self.sync(inode)],
                Model::Posix | Model::Journal => vec![],
            },
            "dup" | "dup2" | "dup3" => match call.result {
                Some(number) => vec![Effect::Opened(number, Rc::clone(open))],
                None => vec![],
            },
            "fcntl" => match call.result {
                Some(number) if call.argument(1)?.starts_with("F_DUPFD") => {
                    vec![Effect::Opened(number, Rc::clone(open))]
                }
                _ => vec![],
            },
            other => bail!("{other} on a file of the store is not modelled"),
        })
    }

    /// The call returns.
    pub(crate) fn end(&mut self, index: usize, call: &Call) {
        for effect in self.effects.remove(&index).unwrap_or_default() {
            match effect {
                Effect::Changed { inode, change } => {
                    self.inodes[inode].changes[change].ended = true;
                }
                Effect::Named(naming) => self.namings[naming].ended = true,
                Effect::Opened(number, open) => drop(self.descriptors.insert(number, open)),
                Effect::Synced { inode, changes, names } => {
                    // After a failed sync the kernel marks the pages as clean. They may never be
                    // written, and no later sync reports it.
                    let fate = if call.failed { Fate::Doomed } else { Fate::Durable };
                    let all = self.inodes[inode].changes.iter_mut().take(changes);
                    let waiting = all.filter(|change| change.fate == Fate::Pending && change.ended);
                    waiting.for_each(|change| change.fate = fate);
                    self.fold(inode);
                    for name in names.into_iter().filter(|_| !call.failed) {
                        self.namings[name].durable = true;
                    }
                }
            }
        }
    }

    /// Merges durable changes into the base, unless an earlier one is not durable: then the order matters.
    fn fold(&mut self, inode: usize) {
        let calls_may_refer_to_it = self.effects.values().flatten().any(|effect| {
            matches!(effect, Effect::Changed { inode: of, .. } | Effect::Synced { inode: of, .. }
                if *of == inode)
        });
        let Inode { base, changes, .. } = &mut self.inodes[inode];
        if !calls_may_refer_to_it && changes.iter().all(|change| change.fate == Fate::Durable) {
            changes.drain(..).for_each(|change| change.what.apply(base));
        }
    }

    fn change(&mut self, inode: usize, what: content::What) -> Effect {
        let changes = &mut self.inodes[inode].changes;
        changes.push(Change { what, ended: false, fate: Fate::Pending });
        Effect::Changed { inode, change: changes.len() - 1 }
    }

    fn sync(&mut self, inode: usize) -> Effect {
        let path = self.names.iter().find(|(_, of)| **of == inode).map(|(path, _)| path.clone());
        let own = |naming: &Naming| match (&path, self.inodes[inode].directory) {
            (Some(path), true) => naming.what.is_in(path),
            (None, true) => false,
            (_, false) => naming.inode == inode && self.model != Model::Posix,
        };
        let ended: Vec<_> =
            self.namings.iter().enumerate().filter(|(_, naming)| naming.ended).collect();
        let names = match self.model {
            Model::Posix => {
                ended.iter().filter(|(_, naming)| own(naming)).map(|(index, _)| *index).collect()
            }
            Model::Journal | Model::Lenient => {
                let last = ended.iter().rev().find(|(_, naming)| own(naming));
                let last = last.map(|(index, _)| *index);
                let names = ended.iter().map(|(index, _)| *index);
                names.filter(|index| last.is_some_and(|last| *index <= last)).collect()
            }
        };
        Effect::Synced { inode, changes: self.inodes[inode].changes.len(), names }
    }

    fn open(&mut self, call: &Call) -> anyhow::Result<Vec<Effect>> {
        let at = usize::from(call.name.starts_with("openat"));
        let Some(path) = self.below_root(call, at)? else { return Ok(vec![]) };
        let flags = call.argument(at + 1).unwrap_or_default();
        let mut effects = Vec::new();
        let inode = match self.names.get(&path) {
            Some(inode) => *inode,
            None => {
                ensure!(flags.contains("O_CREAT") || call.name == "creat", "{path} appears");
                let (inode, effect) = self.create(path, false);
                effects.push(effect);
                inode
            }
        };
        if flags.contains("O_TRUNC") {
            effects.push(self.change(inode, content::What::Resize(0)));
        }
        if let Some(number) = call.result {
            let open = Open { inode, offset: 0, append: flags.contains("O_APPEND") };
            effects.push(Effect::Opened(number, Rc::new(RefCell::new(open))));
        }
        Ok(effects)
    }

    fn create(&mut self, path: String, directory: bool) -> (usize, Effect) {
        let inode = self.inodes.len();
        self.inodes.push(Inode { directory, ..Inode::default() });
        self.names.insert(path.clone(), inode);
        (inode, self.naming(Name::Created(path), inode))
    }

    fn rename(&mut self, call: &Call, from: usize, to: usize) -> anyhow::Result<Vec<Effect>> {
        let (from, to) = (self.below_root(call, from)?, self.below_root(call, to)?);
        let (from, to) = match (from, to) {
            (None, None) => return Ok(vec![]),
            (Some(from), Some(to)) => (from, to),
            _ => bail!("a rename into or out of the root is not modelled"),
        };
        let inode = *self.names.get(&from).with_context(|| format!("{from} is unknown"))?;
        rename(&mut self.names, &from, &to);
        Ok(vec![self.naming(Name::Renamed { from, to }, inode)])
    }

    fn unlink(&mut self, call: &Call, path: usize) -> anyhow::Result<Vec<Effect>> {
        let Some(path) = self.below_root(call, path)? else { return Ok(vec![]) };
        let inode = self.names.remove(&path).with_context(|| format!("{path} is unknown"))?;
        Ok(vec![self.naming(Name::Removed(path), inode)])
    }

    fn naming(&mut self, what: Name, inode: usize) -> Effect {
        self.namings.push(Naming { what, inode, ended: false, durable: false });
        Effect::Named(self.namings.len() - 1)
    }

    /// The path in the argument, below the root; a directory's descriptor may stand before it.
    fn below_root(&self, call: &Call, argument: usize) -> anyhow::Result<Option<String>> {
        let path = call.path(argument)?;
        let path = match path.starts_with('/') {
            true => path,
            false => {
                let before = argument.checked_sub(1).map(|before| call.argument(before));
                let directory = before.transpose()?.and_then(|text| text.split_once('<'));
                let Some((_, directory)) = directory else { return Ok(None) };
                let directory = directory.trim_end_matches('>');
                let quoted = format!("\"{directory}\"");
                let directory = crate::strace::quoted(&quoted).context("a directory")?;
                format!("{}/{path}", String::from_utf8(directory)?)
            }
        };
        let path = path.trim_end_matches('/');
        Ok(match path.strip_prefix(&self.root) {
            Some("") => Some(String::new()),
            Some(below) => below.strip_prefix('/').map(str::to_owned),
            None => None,
        })
    }
}

/// Renames a file, or a directory and its content, if it exists.
fn rename(names: &mut BTreeMap<String, usize>, from: &str, to: &str) {
    let is_moved = |name: &str| {
        name.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let moved: Vec<_> = names.keys().filter(|name| is_moved(name)).cloned().collect();
    for name in moved {
        if let Some(inode) = names.remove(&name) {
            let rest = name.strip_prefix(from).unwrap_or_default();
            names.insert(format!("{to}{rest}"), inode);
        }
    }
}

#[cfg(test)]
mod tests;
