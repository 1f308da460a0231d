//! The LLB graph of everything a run solves, and the definitions that ask for a part of it.
//!
//! Operations keep the very bytes BuildKit sent: a node's identity is their SHA-256, so they are never
//! encoded again. Format: `solver/pb/ops.proto` of BuildKit.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};
use bollard_buildkit_proto::pb;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::key::{self, Key};
use super::vertex::{self, is_internal};
use crate::buildkit::session::Selection;
use crate::digest;
use crate::redact::Redactor;

/// One result: an output of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    /// Index of the operation in the [`Graph`].
    operation: usize,
    /// Which of its outputs.
    output: i64,
}

/// What an operation does, as far as warming cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Runs a command.
    Exec,
    /// Copies, makes or removes files.
    File,
    /// An image, pulled from a registry.
    Image,
    /// A directory of ours: it has no result of its own to keep.
    Local,
    /// Git, http(s) or anything else that is fetched.
    Source,
    /// Merge, diff, nested builds and whatever later BuildKits add.
    Other,
}

impl Kind {
    /// Whether a Dockerfile line made an operation of this name: not a directory of ours and nothing internal.
    pub(crate) fn is_step(self, name: &str) -> bool {
        self != Kind::Local && !is_internal(name)
    }
}

/// One operation: a vertex of the graph.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// `sha256:…` of its bytes; the vertex digest in the status stream.
    pub(crate) digest: String,
    /// What it does.
    pub(crate) kind: Kind,
    /// As BuildKit shows it.
    pub(crate) name: String,
    /// Whether every build runs it anew (`--no-cache`), itself or something it is made from.
    pub(crate) always_runs: bool,
    inputs: Vec<Node>,
    primary: Option<usize>,
    bytes: Vec<u8>,
    metadata: Option<pb::OpMetadata>,
}

impl Operation {
    /// Whether a Dockerfile line made it.
    pub(crate) fn is_step(&self) -> bool {
        self.kind.is_step(&self.name)
    }

    /// Whether executing it runs or writes something, rather than fetching it.
    pub(crate) fn is_work(&self) -> bool {
        match self.kind {
            Kind::Exec | Kind::Other => true,
            // BuildKit imports nothing that has no inputs. It writes a few bytes: a WORKDIR on scratch, a heredoc.
            Kind::File => !self.inputs.is_empty(),
            Kind::Image | Kind::Local | Kind::Source => false,
        }
    }

    /// Whether executing it is a step's work, also one that BuildKit never imports.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.kind, Kind::Exec | Kind::File | Kind::Other)
    }

    /// What makes its cache key, apart from its inputs.
    pub(crate) fn key(&self) -> Key {
        self.decoded().as_ref().map(Key::of).unwrap_or_default()
    }

    /// The directory of ours that it is, by the name BuildKit asks for, and which files of it are wanted.
    pub(crate) fn directory(&self) -> Option<(String, Selection)> {
        key::directory(&self.decoded()?)
    }

    /// The address that every build asks for it, also one that has it.
    pub(crate) fn asked_every_time(&self) -> Option<String> {
        key::asked_every_time(&self.decoded()?)
    }

    /// None never comes: it was decoded before.
    fn decoded(&self) -> Option<pb::Op> {
        pb::Op::decode(self.bytes.as_slice()).ok()
    }

    /// Whether it is a directory of ours.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == Kind::Local
    }

    /// The stage, as its name tells.
    pub(crate) fn stage(&self) -> Option<&str> {
        vertex::stage(&self.name)
    }
}

/// Everything that one target is made of, on all its platforms; what they share is kept once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    operations: Vec<Operation>,
    by_digest: HashMap<String, usize>,
    nodes: Vec<Node>,
    known: HashSet<Node>,
    ends: Vec<Node>,
    redactor: Redactor,
}

impl Graph {
    /// Takes in the definition of one result. An empty definition (a `scratch` result) adds nothing.
    ///
    /// # Errors
    /// When the definition is not a well-formed LLB graph.
    pub(crate) fn add(&mut self, definition: &pb::Definition) -> anyhow::Result<()> {
        let Some((terminal, operations)) = definition.def.split_last() else { return Ok(()) };
        let mut decoded = HashMap::new();
        for bytes in operations {
            let op = pb::Op::decode(bytes.as_slice()).context("decoding an LLB operation")?;
            decoded.insert(digest::sha256(bytes), (bytes, op));
        }
        let terminal = pb::Op::decode(terminal.as_slice()).context("decoding the LLB result")?;
        for input in &terminal.inputs {
            let operation = self.take_in(&input.digest, &decoded, definition)?;
            let end = Node { operation, output: input.index };
            self.note(end.clone());
            if !self.ends.contains(&end) {
                self.ends.push(end);
            }
        }
        Ok(())
    }

    /// Has the names of operations say nothing that `secrets` hides, nor of secrets that are in variables of the operations.
    /// The Dockerfile frontend writes their values into names.
    pub(crate) fn redact(&mut self, secrets: &Redactor) {
        let keys: Vec<Key> = self.operations.iter().map(Operation::key).collect();
        let fields = keys.iter().flat_map(|key| &key.fields);
        self.redactor =
            secrets.and(fields.filter_map(|(name, value)| Some((name.strip_prefix("env ")?, value.as_str()))));
        for operation in &mut self.operations {
            operation.name = self.redactor.text(&operation.name);
        }
    }

    /// What is not to be told of the operations.
    pub(crate) fn secrets(&self) -> &Redactor {
        &self.redactor
    }

    /// Takes in an operation after everything it is made from. Iterative: graphs are deep, stacks are not.
    fn take_in(
        &mut self,
        root: &str,
        decoded: &HashMap<String, (&Vec<u8>, pb::Op)>,
        definition: &pb::Definition,
    ) -> anyhow::Result<usize> {
        let mut pending = vec![(root.to_owned(), false)];
        let mut entered = HashSet::new();
        while let Some((digest, inputs_done)) = pending.pop() {
            let (bytes, op) = decoded.get(&digest).with_context(|| format!("the definition lacks {digest}"))?;
            if inputs_done {
                self.insert(&digest, bytes, op, definition.metadata.get(&digest))?;
            } else if entered.insert(digest.clone()) {
                pending.push((digest, true));
                pending.extend(op.inputs.iter().rev().map(|input| (input.digest.clone(), false)));
            }
        }
        self.by_digest.get(root).copied().with_context(|| format!("the definition lacks {root}"))
    }

    fn insert(
        &mut self,
        digest: &str,
        bytes: &[u8],
        op: &pb::Op,
        metadata: Option<&pb::OpMetadata>,
    ) -> anyhow::Result<()> {
        if self.by_digest.contains_key(digest) {
            return Ok(());
        }
        let mut inputs = Vec::with_capacity(op.inputs.len());
        for input in &op.inputs {
            let Some(&operation) = self.by_digest.get(&input.digest) else {
                bail!("the definition has a cycle at {}", input.digest);
            };
            let node = Node { operation, output: input.index };
            self.note(node.clone());
            inputs.push(node);
        }
        let ignored = metadata.is_some_and(|metadata| metadata.ignore_cache);
        let identifier = match &op.op {
            Some(pb::op::Op::Source(source)) => Some(source.identifier.clone()),
            _ => None,
        };
        let name = metadata
            .and_then(|metadata| metadata.description.get("llb.customname").cloned())
            .or_else(|| identifier.clone())
            .unwrap_or_else(|| plain_name(op));
        self.by_digest.insert(digest.to_owned(), self.operations.len());
        self.operations.push(Operation {
            digest: digest.to_owned(),
            kind: kind_of(op),
            name,
            always_runs: ignored || inputs.iter().any(|input| self.operations[input.operation].always_runs),
            primary: primary_input(op).filter(|index| *index < inputs.len()),
            inputs,
            bytes: bytes.to_vec(),
            // An empty message in a map goes over the wire as an absent one, and BuildKit makes a null pointer of that.
            metadata: metadata.filter(|metadata| **metadata != pb::OpMetadata::default()).cloned(),
        });
        Ok(())
    }

    fn note(&mut self, node: Node) {
        if self.known.insert(node.clone()) {
            self.nodes.push(node);
        }
    }

    /// The operations, each after those it is made from.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The results of the definitions themselves: one per platform.
    pub(crate) fn ends(&self) -> &[Node] {
        &self.ends
    }

    /// The results that a node's operation is made from.
    pub(crate) fn inputs(&self, node: &Node) -> &[Node] {
        &self.operations[node.operation].inputs
    }

    /// The operations that an operation is made from, as often as it names them.
    pub(crate) fn made_from<'g>(&'g self, operation: &'g Operation) -> impl Iterator<Item = &'g Operation> {
        operation.inputs.iter().map(|input| &self.operations[input.operation])
    }

    /// A node's operation and everything that it is made from.
    pub(crate) fn everything_below(&self, node: &Node) -> impl Iterator<Item = &Operation> {
        self.below(node.operation).into_iter().map(|index| &self.operations[index])
    }

    /// An operation and everything that it is made from, in their order.
    fn below(&self, operation: usize) -> Vec<usize> {
        let mut wanted = HashSet::new();
        let mut pending = vec![operation];
        while let Some(index) = pending.pop() {
            if wanted.insert(index) {
                pending.extend(self.operations[index].inputs.iter().map(|input| input.operation));
            }
        }
        let mut wanted: Vec<usize> = wanted.into_iter().collect();
        wanted.sort_unstable();
        wanted
    }

    /// The operation a node is an output of.
    pub(crate) fn operation(&self, node: &Node) -> &Operation {
        &self.operations[node.operation]
    }

    /// Every result that can be kept: the tips of chains, the images at their lower ends, and what lies between. Whoever
    /// opens a tip opens its whole chain, and different chains can be opened at the same time.
    pub(crate) fn results(&self) -> (Vec<Node>, Vec<Node>, Vec<Node>) {
        let parents: HashSet<&Node> = self
            .operations
            .iter()
            .filter(|operation| !operation.always_runs)
            .filter_map(|operation| operation.primary.map(|index| &operation.inputs[index]))
            .collect();
        let keepable = self.nodes.iter().filter(|node| {
            let operation = self.operation(node);
            operation.kind != Kind::Local && !operation.always_runs
        });
        let (mut tips, rest): (Vec<Node>, Vec<Node>) = keepable.cloned().partition(|node| !parents.contains(node));
        // The longest chains first, so that no long one is left alone at the end.
        tips.sort_by_cached_key(|tip| std::cmp::Reverse(self.depth(tip)));
        let (images, middles) = rest.into_iter().partition(|node| self.operation(node).kind == Kind::Image);
        (tips, images, middles)
    }

    /// The operations that are layered directly on an output of this one.
    pub(crate) fn layered_on<'g>(&'g self, digest: &'g str) -> impl Iterator<Item = &'g Operation> {
        let base = |operation: &Operation| operation.primary.map(|index| operation.inputs[index].operation);
        self.operations
            .iter()
            .filter(move |operation| base(operation).is_some_and(|base| self.operations[base].digest == digest))
    }

    /// A result that can be had without running anything: a directory of ours, or an image.
    pub(crate) fn without_work(&self) -> Option<Node> {
        let of = |kind| self.nodes.iter().find(move |node| self.operation(node).kind == kind).cloned();
        of(Kind::Local).or_else(|| of(Kind::Image))
    }

    fn depth(&self, node: &Node) -> usize {
        let mut depth = 0;
        let mut operation = self.operation(node);
        while let Some(index) = operation.primary {
            operation = self.operation(&operation.inputs[index]);
            depth += 1;
        }
        depth
    }

    /// The definition that asks for one result alone.
    pub(crate) fn definition(&self, node: &Node) -> pb::Definition {
        let mut definition = pb::Definition::default();
        for operation in self.everything_below(node) {
            definition.def.push(operation.bytes.clone());
            if let Some(metadata) = &operation.metadata {
                definition.metadata.insert(operation.digest.clone(), metadata.clone());
            }
        }
        let input = pb::Input { digest: self.operation(node).digest.clone(), index: node.output };
        definition.def.push(pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec());
        definition
    }
}

/// The definition whose result is one image, as the gateway frontend asks for a `# syntax=` image.
pub(crate) fn frontend_image(reference: &str, platform: Option<pb::Platform>) -> pb::Definition {
    let attrs = [("image.recordtype".to_owned(), "frontend".to_owned())].into();
    let source = pb::SourceOp { identifier: format!("docker-image://{reference}"), attrs };
    let op = pb::Op { op: Some(pb::op::Op::Source(source)), platform, ..Default::default() }.encode_to_vec();
    let input = pb::Input { digest: digest::sha256(&op), index: 0 };
    let terminal = pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec();
    pb::Definition { def: vec![op, terminal], ..Default::default() }
}

fn kind_of(op: &pb::Op) -> Kind {
    match &op.op {
        Some(pb::op::Op::Exec(_)) => Kind::Exec,
        Some(pb::op::Op::File(_)) => Kind::File,
        Some(pb::op::Op::Source(source)) if source.identifier.starts_with("docker-image://") => Kind::Image,
        Some(pb::op::Op::Source(source)) if source.identifier.starts_with("local://") => Kind::Local,
        Some(pb::op::Op::Source(_)) => Kind::Source,
        _ => Kind::Other,
    }
}

fn plain_name(op: &pb::Op) -> String {
    match &op.op {
        Some(pb::op::Op::Exec(exec)) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        Some(pb::op::Op::File(_)) => "file operation".to_owned(),
        Some(pb::op::Op::Merge(_)) => "merge".to_owned(),
        Some(pb::op::Op::Diff(_)) => "diff".to_owned(),
        _ => "operation".to_owned(),
    }
}

/// Which input the result is layered on: the root mount of an exec, the base of a file operation, the
/// lowest layer of a merge. `-1` means scratch.
fn primary_input(op: &pb::Op) -> Option<usize> {
    let index = match &op.op {
        Some(pb::op::Op::Exec(exec)) => exec.mounts.iter().find(|mount| mount.dest == "/")?.input,
        Some(pb::op::Op::File(file)) => file.actions.first()?.input,
        Some(pb::op::Op::Merge(merge)) => merge.inputs.first()?.input,
        _ => return None,
    };
    usize::try_from(index).ok()
}
