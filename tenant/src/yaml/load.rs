//! From the parser's events to a [`Node`]: anchors, aliases, merges, duplicate keys, budgets.
//! Invariant: every cost is counted before it is paid, and a tree's height includes what its aliases name,
//! so that neither building nor walking nor dropping a tree can exhaust memory or the stack.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::error::excerpt;
use super::{Budget, Entry, Error, Node, Position, Problem, Value};

/// Mappings up to this size look for duplicates by comparing; larger ones keep an index.
const LINEAR: usize = 16;

pub(super) fn load(text: &str, budget: &Budget) -> Result<Node, Error> {
    let mut loader =
        Loader { budget, open: Vec::new(), anchors: HashMap::default(), root: None, spent: Spent::default() };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|e| Error::new(place(e.marker()), Problem::Syntax { message: e.info().to_owned() }))?;
        let at = place(&span.start);
        match event {
            Event::DocumentStart(_) => documents += 1,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            // Nothing after a second `---` is as good as no second document.
            Event::Scalar(text, ScalarStyle::Plain, 0, None) if documents > 1 && text.is_empty() => {}
            _ if documents > 1 => return Err(Error::new(at, Problem::SeveralDocuments)),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = scalar_is_plain(style == ScalarStyle::Plain, tag.as_deref(), at)?;
                loader.scalar(&text, plain, anchor, at)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", at)?;
                loader.open(Content::Sequence(Vec::new()), anchor, at)?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", at)?;
                loader.open(Content::Mapping(Building::default()), anchor, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => loader.close()?,
            Event::Alias(anchor) => loader.alias(anchor, at)?,
        }
    }
    Ok(loader.root.unwrap_or_else(|| null(Position { line: 1, column: 1 })))
}

/// What a finished node costs whoever walks it.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// What the document has cost so far.
#[derive(Default)]
struct Spent {
    nodes: usize,
    alias_nodes: usize,
    alias_bytes: usize,
}

struct Loader<'b> {
    budget: &'b Budget,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, Weight), RandomState>,
    root: Option<Node>,
    spent: Spent,
}

/// A mapping or a sequence whose end has not been seen.
struct Open {
    position: Position,
    anchor: usize,
    weight: Weight,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(Building),
}

#[derive(Default)]
struct Building {
    entries: Vec<Entry>,
    /// The places of the keys, once there are more than [`LINEAR`].
    index: HashMap<Arc<str>, Position, RandomState>,
    merges: Vec<Node>,
    merged_at: Option<Position>,
    key: Option<Key>,
}

struct Key {
    text: Arc<str>,
    position: Position,
    merge: bool,
}

impl Loader<'_> {
    fn scalar(&mut self, text: &str, plain: bool, anchor: usize, position: Position) -> Result<(), Error> {
        self.count_node(position)?;
        let node = Node { position, value: Value::Scalar { text: text.into(), plain } };
        self.finish(node, Weight { nodes: 1, bytes: text.len(), height: 0 }, anchor)
    }

    fn open(&mut self, content: Content, anchor: usize, position: Position) -> Result<(), Error> {
        self.count_node(position)?;
        if self.open.len() >= self.budget.depth {
            return Err(Error::new(position, Problem::TooDeep { limit: self.budget.depth }));
        }
        if self.open.last().is_some_and(Open::awaits_key) {
            let found = if matches!(content, Content::Mapping(_)) { "a mapping" } else { "a sequence" };
            return Err(Error::new(position, Problem::ComplexKey { found }));
        }
        let weight = Weight { nodes: 1, bytes: 0, height: 1 };
        self.open.push(Open { position, anchor, weight, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(Open { position, anchor, weight, content }) = self.open.pop() else {
            return Ok(()); // the parser's events are balanced
        };
        let value = match content {
            Content::Sequence(items) => Value::Sequence(items.into()),
            Content::Mapping(building) => Value::Mapping(building.finish()?),
        };
        self.finish(Node { position, value }, weight, anchor)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), Error> {
        // The parser refuses names it has not seen: an anchor without a node is one that is still open.
        let Some((node, weight)) = self.anchors.get(&anchor).cloned() else {
            return Err(Error::new(position, Problem::Recursion));
        };
        let Budget { depth, alias_nodes, alias_bytes, .. } = *self.budget;
        self.count_node(position)?;
        self.spent.alias_nodes = self.spent.alias_nodes.saturating_add(weight.nodes);
        self.spent.alias_bytes = self.spent.alias_bytes.saturating_add(weight.bytes);
        if self.spent.alias_nodes > alias_nodes {
            return Err(Error::new(position, Problem::TooMuchRepeated { limit: alias_nodes, unit: "nodes" }));
        }
        if self.spent.alias_bytes > alias_bytes {
            return Err(Error::new(position, Problem::TooMuchRepeated { limit: alias_bytes, unit: "bytes" }));
        }
        if self.open.len().saturating_add(weight.height) > depth {
            return Err(Error::new(position, Problem::TooDeep { limit: depth }));
        }
        self.place(node, weight)
    }

    fn finish(&mut self, node: Node, weight: Weight, anchor: usize) -> Result<(), Error> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        self.place(node, weight)
    }

    /// Puts a finished node where it belongs: into the collection that is open, or at the root.
    fn place(&mut self, node: Node, weight: Weight) -> Result<(), Error> {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight.nodes = parent.weight.nodes.saturating_add(weight.nodes);
        parent.weight.bytes = parent.weight.bytes.saturating_add(weight.bytes);
        parent.weight.height = parent.weight.height.max(weight.height + 1);
        match &mut parent.content {
            Content::Sequence(items) => {
                items.push(node);
                Ok(())
            }
            Content::Mapping(building) => building.place(node),
        }
    }

    fn count_node(&mut self, position: Position) -> Result<(), Error> {
        self.spent.nodes += 1;
        match self.spent.nodes > self.budget.nodes {
            true => Err(Error::new(position, Problem::TooManyNodes { limit: self.budget.nodes })),
            false => Ok(()),
        }
    }
}

impl Open {
    fn awaits_key(&self) -> bool {
        matches!(&self.content, Content::Mapping(building) if building.key.is_none())
    }
}

impl Building {
    fn place(&mut self, node: Node) -> Result<(), Error> {
        let Some(Key { text, position, merge }) = self.key.take() else {
            self.key = Some(key(node)?);
            return Ok(());
        };
        let first = if merge { self.merged_at } else { self.find(&text) };
        if let Some(first) = first {
            let key = excerpt(&text).into_owned();
            return Err(Error::new(position, Problem::DuplicateKey { key, first }));
        }
        if merge {
            self.merged_at = Some(position);
            self.merges = merge_sources(&node)?;
        } else {
            self.insert(Entry { key: text, position, value: node });
        }
        Ok(())
    }

    /// The entries, those written here first: they win over merged ones, and an earlier merge over a later.
    fn finish(mut self) -> Result<Arc<[Entry]>, Error> {
        for source in std::mem::take(&mut self.merges) {
            if let Value::Mapping(entries) = source.value {
                for entry in entries.iter() {
                    if self.find(&entry.key).is_none() {
                        self.insert(entry.clone());
                    }
                }
            }
        }
        Ok(self.entries.into())
    }

    fn find(&self, key: &str) -> Option<Position> {
        match self.entries.len() <= LINEAR {
            true => self.entries.iter().find(|entry| &*entry.key == key).map(Entry::position),
            false => self.index.get(key).copied(),
        }
    }

    fn insert(&mut self, entry: Entry) {
        if self.entries.len() == LINEAR {
            self.index = self.entries.iter().map(|e| (Arc::clone(&e.key), e.position)).collect();
        }
        if self.entries.len() >= LINEAR {
            self.index.insert(Arc::clone(&entry.key), entry.position);
        }
        self.entries.push(entry);
    }
}

fn key(node: Node) -> Result<Key, Error> {
    let found = match node.value {
        Value::Scalar { text, plain } => {
            let merge = plain && &*text == "<<";
            return Ok(Key { text, position: node.position, merge });
        }
        Value::Sequence(_) => "a sequence",
        Value::Mapping(_) => "a mapping",
    };
    Err(Error::new(node.position, Problem::ComplexKey { found }))
}

fn merge_sources(node: &Node) -> Result<Vec<Node>, Error> {
    const EXPECTED: &str = "a mapping or a sequence of mappings to merge";
    match &node.value {
        Value::Mapping(_) => Ok(vec![node.clone()]),
        Value::Sequence(items) => {
            let stranger = items.iter().find(|item| !matches!(item.value, Value::Mapping(_)));
            stranger.map_or_else(|| Ok(items.to_vec()), |item| Err(item.expected(EXPECTED)))
        }
        Value::Scalar { .. } => Err(node.expected(EXPECTED)),
    }
}

/// `!!str 5` and `! 5` are strings like `"5"`; `!!int "5"` is a number like `5`.
fn scalar_is_plain(plain: bool, tag: Option<&Tag>, at: Position) -> Result<bool, Error> {
    match tag {
        None => Ok(plain),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => Ok(false),
            "int" | "float" | "bool" | "null" => Ok(true),
            _ => Err(unsupported(tag, at)),
        },
        Some(tag) => Err(unsupported(tag, at)),
    }
}

fn refuse_tag(tag: Option<&Tag>, allowed: &str, at: Position) -> Result<(), Error> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => Err(unsupported(tag, at)),
        _ => Ok(()),
    }
}

fn unsupported(tag: &Tag, at: Position) -> Error {
    Error::new(at, Problem::Tag { tag: excerpt(&tag.to_string()).into_owned() })
}

fn null(position: Position) -> Node {
    Node { position, value: Value::Scalar { text: "".into(), plain: true } }
}

fn place(marker: &Marker) -> Position {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: count(marker.line()), column: count(marker.col().saturating_add(1)) }
}
