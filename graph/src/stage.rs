//! What depends on what. The only file that names petgraph.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

/// A stage's name, as people write it: `hello/30-user`, `hello.ova`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageName(String);

impl StageName {
    /// Takes any text: the names' syntax is the recipe's business.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stage of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(usize);

/// Why stages do not make a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Stages wait for each other.
    #[error("these stages depend on each other: {}", path.iter().map(StageName::as_str).collect::<Vec<_>>().join(" -> "))]
    Cycle {
        /// The way round; the first stage is also the last.
        path: Vec<StageName>,
    },
    /// Two stages have one name.
    #[error("there are two stages named `{0}`")]
    Duplicate(StageName),
}

/// A graph in the making.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: DiGraph<StageName, usize>,
    by_name: HashMap<StageName, StageId>,
}

impl GraphBuilder {
    /// Adds a stage.
    pub fn stage(&mut self, name: StageName) -> Result<StageId, GraphError> {
        let id = StageId(self.graph.add_node(name.clone()).index());
        match self.by_name.insert(name.clone(), id) {
            None => Ok(id),
            Some(_) => Err(GraphError::Duplicate(name)),
        }
    }

    /// Lets `stage` use what `input` makes. Inputs keep the order in which they are declared.
    pub fn input(&mut self, stage: StageId, input: StageId) {
        let stage = NodeIndex::new(stage.0);
        let order = self.graph.edges_directed(stage, petgraph::Incoming).count();
        self.graph.add_edge(NodeIndex::new(input.0), stage, order);
    }

    /// Checks that it can be built.
    pub fn finish(self) -> Result<StageGraph, GraphError> {
        let order = match toposort(&self.graph, None) {
            Ok(order) => order.into_iter().map(|node| StageId(node.index())).collect(),
            Err(cycle) => return Err(GraphError::Cycle { path: self.way_round(cycle.node_id()) }),
        };
        Ok(StageGraph { graph: self.graph, by_name: self.by_name, order })
    }

    /// Follows inputs from a stage on a cycle until it comes by one for the second time.
    fn way_round(&self, start: NodeIndex) -> Vec<StageName> {
        let component = petgraph::algo::tarjan_scc(&self.graph).into_iter().find(|c| c.contains(&start));
        let component = component.unwrap_or_default();
        let mut path = vec![start];
        loop {
            let last = *path.last().expect("the path starts with a stage");
            let mut inputs = self.graph.neighbors_directed(last, petgraph::Incoming);
            let Some(next) = inputs.find(|input| component.contains(input)) else { break };
            let seen = path.iter().position(|node| *node == next);
            path.push(next);
            if let Some(first) = seen {
                path.drain(..first);
                break;
            }
        }
        path.iter().map(|node| self.graph[*node].clone()).collect()
    }
}

/// Stages that can be built: without cycles, each name once.
#[derive(Debug)]
pub struct StageGraph {
    graph: DiGraph<StageName, usize>,
    by_name: HashMap<StageName, StageId>,
    order: Vec<StageId>,
}

impl StageGraph {
    /// A stage by its name.
    pub fn find(&self, name: &StageName) -> Option<StageId> {
        self.by_name.get(name).copied()
    }

    /// A stage's name.
    pub fn name(&self, stage: StageId) -> &StageName {
        &self.graph[NodeIndex::new(stage.0)]
    }

    /// What a stage uses, in the order in which it was declared.
    pub fn inputs(&self, stage: StageId) -> Vec<StageId> {
        let edges = self.graph.edges_directed(NodeIndex::new(stage.0), petgraph::Incoming);
        let ordered: BTreeMap<_, _> =
            edges.map(|edge| (*edge.weight(), StageId(edge.source().index()))).collect();
        ordered.into_values().collect()
    }

    /// Every stage, each after its inputs. Where the graph leaves a choice, the order of declaration decides.
    pub fn in_build_order(&self) -> impl Iterator<Item = StageId> + '_ {
        self.order.iter().copied()
    }

    /// The stages that `targets` need, themselves included, in build order.
    pub fn needed_for(&self, targets: &[StageId]) -> Vec<StageId> {
        let mut needed = vec![false; self.order.len()];
        let mut open = targets.to_vec();
        while let Some(stage) = open.pop() {
            if !std::mem::replace(&mut needed[stage.0], true) {
                open.extend(self.inputs(stage));
            }
        }
        self.order.iter().copied().filter(|stage| needed[stage.0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(edges: &[(&str, &str)]) -> Result<StageGraph, GraphError> {
        let mut builder = GraphBuilder::default();
        let mut ids = HashMap::new();
        for name in edges.iter().flat_map(|(a, b)| [*a, *b]) {
            if !ids.contains_key(name) {
                ids.insert(name, builder.stage(StageName::new(name))?);
            }
        }
        edges.iter().for_each(|(input, stage)| builder.input(ids[stage], ids[input]));
        builder.finish()
    }

    #[test]
    fn a_cycle_is_shown_whole() {
        let error = build(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]).unwrap_err();
        let GraphError::Cycle { path } = &error else { panic!("{error}") };
        assert_eq!(path.first(), path.last());
        assert_eq!(path.len(), 4);
        assert!(error.to_string().starts_with("these stages depend on each other: "));
    }

    #[test]
    fn only_what_is_needed_and_inputs_first() {
        let graph = build(&[("a", "b"), ("b", "c"), ("a", "x"), ("x", "c")]).unwrap();
        let id = |name: &str| graph.find(&StageName::new(name)).unwrap();
        assert_eq!(graph.needed_for(&[id("b")]), [id("a"), id("b")]);
        assert_eq!(graph.needed_for(&[id("c")]).len(), 4);
        assert_eq!(graph.inputs(id("c")), [id("b"), id("x")]);
    }

    #[test]
    fn one_name_one_stage() {
        let mut builder = GraphBuilder::default();
        builder.stage(StageName::new("a")).unwrap();
        assert_eq!(builder.stage(StageName::new("a")), Err(GraphError::Duplicate(StageName::new("a"))));
    }
}
