//! The prefix index: for each tenant a tree of page-sized runs of tokens, and the order in which its leaves may be
//! evicted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::spec::{PageId, TokenId};

/// A node's place in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

/// Where a table stands in its tenant's tree: at the node of its last full page, or at the root.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    pub(super) tenant: Arc<str>,
    pub(super) node: NodeId,
}

#[derive(Debug)]
struct Node {
    /// Tokens of the page's first slots; empty for a root.
    run: Vec<TokenId>,
    /// Meaningless for a root.
    page: PageId,
    /// A root is its own parent.
    parent: NodeId,
    /// In lexicographic order of their runs, none a prefix of another.
    children: Vec<NodeId>,
    /// When the last table let go of the page; `None` while one holds it.
    retired: Option<u64>,
    /// Whose tree it is, in the root alone.
    tenant: Option<Arc<str>>,
}

#[derive(Debug)]
struct Tenant {
    root: NodeId,
    n_tables: usize,
}

#[derive(Debug)]
pub(super) struct PrefixIndex {
    nodes: Vec<Node>,
    vacant: Vec<NodeId>,
    tenants: HashMap<Arc<str>, Tenant>,
    /// `[n_pages]` the node that a page belongs to.
    node_of: Vec<Option<NodeId>>,
    /// Retired leaves, the longest retired first.
    evictable: BTreeSet<(u64, NodeId)>,
    /// Counts retirements: the clock of `retired`.
    now: u64,
}

impl PrefixIndex {
    pub(super) fn new(n_pages: usize) -> Self {
        Self {
            nodes: Vec::new(),
            vacant: Vec::new(),
            tenants: HashMap::new(),
            node_of: vec![None; n_pages],
            evictable: BTreeSet::new(),
            now: 0,
        }
    }

    /// Counts one more table of `tenant`, and returns a cursor at the root of its tree.
    pub(super) fn open(&mut self, tenant: &str) -> Cursor {
        let tenant = match self.tenants.get_key_value(tenant) {
            Some((name, _)) => name.clone(),
            None => {
                let name: Arc<str> = tenant.into();
                let root = self.add(Node {
                    run: Vec::new(),
                    page: PageId(u32::MAX),
                    parent: NodeId(0),
                    children: Vec::new(),
                    retired: None,
                    tenant: Some(name.clone()),
                });
                self.nodes[root.0 as usize].parent = root;
                self.tenants.insert(name.clone(), Tenant { root, n_tables: 0 });
                name
            }
        };
        let node = self.tenants[&tenant].root;
        self.join(&tenant);
        Cursor { tenant, node }
    }

    /// Counts one more table of a tenant that has one.
    pub(super) fn join(&mut self, tenant: &Arc<str>) {
        self.tenants.get_mut(tenant).expect("a tenant with tables is known").n_tables += 1;
    }

    /// Counts one table less; a tenant without tables and pages is forgotten.
    pub(super) fn leave(&mut self, tenant: &Arc<str>) {
        self.tenants.get_mut(tenant).expect("a tenant with tables is known").n_tables -= 1;
        self.forget_if_unused(tenant);
    }

    pub(super) fn node_of(&self, page: PageId) -> Option<NodeId> {
        self.node_of[page.idx()]
    }

    pub(super) fn page(&self, node: NodeId) -> PageId {
        self.node(node).page
    }

    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.node(node).parent
    }

    pub(super) fn run(&self, node: NodeId) -> &[TokenId] {
        &self.node(node).run
    }

    /// Length of the run by which the index knows `page`, 0 if it does not.
    pub(super) fn run_len(&self, page: PageId) -> usize {
        self.node_of(page).map_or(0, |node| self.run(node).len())
    }

    /// The child of `parent` whose run has the longest common prefix with `run`, and the length of that, which is at
    /// least 1.
    pub(super) fn closest_child(&self, parent: NodeId, run: &[TokenId]) -> Option<(NodeId, usize)> {
        let children = &self.node(parent).children;
        let at = self.place_among(children, run);
        let neighbours = &children[at.saturating_sub(1)..(at + 1).min(children.len())];
        neighbours
            .iter()
            .map(|&child| (child, common_prefix(self.run(child), run)))
            .max_by_key(|&(_, n_common)| n_common)
            .filter(|&(_, n_common)| n_common > 0)
    }

    /// Adds a live page under `parent`.
    pub(super) fn insert(&mut self, parent: NodeId, page: PageId, run: &[TokenId]) -> NodeId {
        let node =
            self.add(Node { run: run.to_vec(), page, parent, children: Vec::new(), retired: None, tenant: None });
        let at = self.place_among(&self.node(parent).children, run);
        self.nodes[parent.0 as usize].children.insert(at, node);
        self.node_of[page.idx()] = Some(node);
        node
    }

    /// Lengthens a node's run to `run`.
    pub(super) fn grow(&mut self, node: NodeId, run: &[TokenId]) {
        let known = &mut self.nodes[node.0 as usize].run;
        debug_assert!(run.starts_with(known), "a run only grows");
        known.extend_from_slice(&run[known.len()..]);
    }

    /// Puts a live page with a longer run in a leaf's place, and returns the page that stood there.
    pub(super) fn replace(&mut self, leaf: NodeId, page: PageId, run: &[TokenId]) -> PageId {
        self.unlist(leaf);
        self.grow(leaf, run);
        let node = &mut self.nodes[leaf.0 as usize];
        node.retired = None;
        let old = std::mem::replace(&mut node.page, page);
        self.node_of[old.idx()] = None;
        self.node_of[page.idx()] = Some(leaf);
        old
    }

    /// Notes that no table holds `page` any more. False if the index does not know it.
    pub(super) fn retire(&mut self, page: PageId) -> bool {
        let Some(node) = self.node_of(page) else { return false };
        self.now += 1;
        self.nodes[node.0 as usize].retired = Some(self.now);
        self.list(node);
        true
    }

    /// Notes that a table holds `page` again.
    pub(super) fn revive(&mut self, page: PageId) {
        let node = self.node_of(page).expect("only the index knows a page that no table holds");
        self.unlist(node);
        self.nodes[node.0 as usize].retired = None;
    }

    /// Removes the leaf that has been retired longest, and returns its page.
    pub(super) fn evict(&mut self) -> Option<PageId> {
        let &(_, node) = self.evictable.first()?;
        Some(self.remove(node))
    }

    /// Some leaf below `node`.
    pub(super) fn last_leaf(&self, node: NodeId) -> Option<NodeId> {
        let mut leaf = *self.node(node).children.last()?;
        while let Some(&below) = self.node(leaf).children.last() {
            leaf = below;
        }
        Some(leaf)
    }

    /// Removes a leaf, and returns its page.
    pub(super) fn remove(&mut self, node: NodeId) -> PageId {
        debug_assert!(self.node(node).children.is_empty(), "leaves go before their parents");
        self.unlist(node);
        let (parent, page) = (self.parent(node), self.page(node));
        self.node_of[page.idx()] = None;
        let at = self.place_among(&self.node(parent).children, self.run(node));
        let removed = self.nodes[parent.0 as usize].children.remove(at);
        debug_assert_eq!(removed, node, "siblings are in order");
        self.vacant.push(node);
        self.list(parent);
        if let Some(tenant) = self.node(parent).tenant.clone() {
            self.forget_if_unused(&tenant);
        }
        page
    }

    /// Forgets a tenant without tables and pages.
    fn forget_if_unused(&mut self, tenant: &Arc<str>) {
        let &Tenant { root, n_tables } = &self.tenants[tenant];
        if n_tables == 0 && self.node(root).children.is_empty() {
            self.tenants.remove(tenant);
            self.vacant.push(root);
        }
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    fn add(&mut self, node: Node) -> NodeId {
        match self.vacant.pop() {
            Some(id) => {
                self.nodes[id.0 as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                NodeId(self.nodes.len() as u32 - 1)
            }
        }
    }

    fn place_among(&self, children: &[NodeId], run: &[TokenId]) -> usize {
        children.partition_point(|&child| self.run(child) < run)
    }

    /// Puts a node on the list of what can be evicted, if it can.
    fn list(&mut self, node: NodeId) {
        if let Node { retired: Some(at), ref children, .. } = self.nodes[node.0 as usize]
            && children.is_empty()
        {
            self.evictable.insert((at, node));
        }
    }

    fn unlist(&mut self, node: NodeId) {
        if let Some(at) = self.node(node).retired {
            self.evictable.remove(&(at, node));
        }
    }
}

fn common_prefix(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
impl PrefixIndex {
    /// Checks every node against invariants 3 and 5 and hands `(tenant, path, page)` to `see`; `held` tells whether a
    /// table holds a page.
    pub(super) fn audit(&self, held: impl Fn(PageId) -> bool, mut see: impl FnMut(&str, &[TokenId], PageId)) {
        let (mut n_evictable, mut n_nodes) = (0, self.vacant.len());
        for (name, tenant) in &self.tenants {
            let mut open = vec![(tenant.root, Vec::new(), true)];
            while let Some((id, path, parent_held)) = open.pop() {
                let node = self.node(id);
                n_nodes += 1;
                assert_eq!(
                    node.tenant.as_ref(),
                    (id == tenant.root).then_some(name),
                    "the root tells whose tree it is"
                );
                if id != tenant.root {
                    assert_eq!(self.node_of(node.page), Some(id));
                    assert_eq!(node.retired.is_none(), held(node.page), "retired while held, or the other way round");
                    assert!(parent_held || !held(node.page), "a live node below a retired one");
                    n_evictable += usize::from(node.retired.is_some() && node.children.is_empty());
                    see(name, &path, node.page);
                }
                for pair in node.children.windows(2) {
                    let (a, b) = (self.run(pair[0]), self.run(pair[1]));
                    assert!(a < b && !b.starts_with(a), "siblings {a:?} and {b:?}");
                }
                for &child in &node.children {
                    assert_eq!(self.parent(child), id);
                    let path = [path.as_slice(), self.run(child)].concat();
                    open.push((child, path, id == tenant.root || held(node.page)));
                }
            }
        }
        assert_eq!(n_evictable, self.evictable.len(), "the list of what can be evicted");
        assert_eq!(n_nodes, self.nodes.len(), "every node is in a tree, or vacant once");
    }

    pub(super) fn n_tenants(&self) -> usize {
        self.tenants.len()
    }
}
